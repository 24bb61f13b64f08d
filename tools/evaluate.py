"""Make clips of a prompt list on a real server, measure them, and write a report that plays in a browser.

Every clip has a file of its own in OUT/clips with its scores beside it, so an evaluation goes on where it stopped, and several
machines can share a folder (`--shard 1/4`). `--compare A B` compares two folders over the same prompts and seeds, `--best-of A` says
whether choosing the best seed of each prompt helps.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import clips
import environment
import report
import small_set
import study
import tiny
from comfy_server import Server, ServerError, has_accelerator
from demo import find
from prompt_sets import PromptSetError, Row, read
from workflow import WorkflowError, load, to_api


class EvaluationError(ValueError):
    """The evaluation cannot be made as asked; the message says why."""


def workflow_of(row: Row, chosen: str | None) -> str:
    if chosen:
        return chosen
    if row.sound_only:
        return "nava_text_to_speech"
    return "nava_image_to_av" if row.image is not None else "nava_text_to_av"


def workflow_file(name: str) -> Path:
    path = find(name)
    if path is None:
        raise EvaluationError(f"--workflow {name}: there is no such file, and none of that name in workflows/")
    return path


def shard(rows: list[Row], part: str) -> list[Row]:
    """Every n-th row, beginning with the i-th, for `i/n`."""
    try:
        i, n = (int(x) for x in part.split("/"))
        if not 1 <= i <= n:
            raise ValueError
    except ValueError:
        raise EvaluationError(f"--shard {part}: write 1/4, 2/4, 3/4 and 4/4 for four machines") from None
    return rows[i - 1 :: n]


def write_json(path: Path, content) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # several processes may write one report
    part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def sidecar(folder: Path, row: Row, seed: int) -> Path:
    return folder / f"{row.name}-{seed}.json"


def finished(folder: Path, row: Row, seed: int, fingerprint: str) -> Path | None:
    """The clip, if it was made before. Raises EvaluationError if it was made otherwise."""
    note = sidecar(folder, row, seed)
    if not note.exists():
        return None
    known = json.loads(note.read_text(encoding="utf-8"))
    file = folder / known["file"]
    if not file.exists():
        return None
    if known["fingerprint"] != fingerprint:
        raise EvaluationError(
            f"{file} was made with other settings, models, prompt or workflow. Give another --out, or delete that folder."
        )
    return file


class Templates:
    """The graphs of the workflow files used, with the settings applied, each made once."""

    def __init__(self, object_info: dict, options: argparse.Namespace, folders: list[Path]):
        self.object_info, self.options, self.folders, self.made = object_info, options, folders, {}

    def __call__(self, name: str) -> dict:
        if name not in self.made:
            file = workflow_file(name)
            document = load(file)
            if not self.options.models:
                small_set.chosen().apply(document, self.object_info)
            prompt = to_api(document, self.object_info)
            for kind in self.options.through:
                clips.pass_through(prompt, kind, self.object_info)
            for setting in self.options.set:
                clips.change(prompt, setting)
            if self.options.dtype:
                clips.load_as(prompt, self.options.dtype, self.folders)
            self.made[name] = prompt
        return self.made[name]


def generate(server: Server, graph: dict, target: Path, note: dict) -> Path:
    """Make one clip and keep it as `target` with the ending of what was saved."""
    started = time.monotonic()
    history = server.queue(graph, timeout=24 * 3600)
    files = [f for ending in clips.SAVED for f in server.outputs(history, ending)]
    if len(files) != 1:
        raise ServerError(f"the workflow saved {len(files)} clips; an evaluated workflow saves one")
    file = target.with_name(target.name + files[0].suffix)
    # the note first: a clip that is there is then always known, and never made again
    write_json(
        target.with_name(target.name + ".json"),
        note | {"file": file.name, "seconds_taken": round(time.monotonic() - started, 2)},
    )
    clips.keep(files[0], file)
    files[0].unlink()
    return file


def copied(source: Path, target: Path, note: dict) -> Path:
    """Keep a clip that another part of the study made in the same way, with the time that it took there."""
    known = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
    file = target.with_name(target.name + source.suffix)
    write_json(
        target.with_name(target.name + ".json"), note | {"file": file.name, "seconds_taken": known["seconds_taken"]}
    )
    clips.keep(source, file)
    return file


def make(
    server: Server, rows: list[Row], options: argparse.Namespace, made: dict[str, Path] | None = None
) -> list[str]:
    """Make the clips that are not there yet; what failed, and why. A clip that fails does not stop the others.

    made: clips by fingerprint, which are copied instead, and to which the new ones are added.
    """
    made = {} if made is None else made
    folder = options.out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    object_info = server.get("/object_info")
    folders = model_folders(server.base, options.models)
    template = Templates(object_info, options, folders)
    jobs = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for row in rows:  # every graph is made, and every finished clip checked, before the first is queued
            made_with = template(workflow_of(row, options.workflow))
            graph = clips.graph(made_with, row, seed, object_info, server.base / "input")
            mark = clips.fingerprint(graph, folders)
            file = finished(folder, row, seed, mark)
            if file is None:
                jobs.append((row, seed, graph, mark))
            else:
                made.setdefault(mark, file)
    environment.say(f"{len(rows) * options.seeds} clips, {len(jobs)} to make")
    failed = []
    for n, (row, seed, graph, mark) in enumerate(jobs, 1):
        note = {
            "row": row.name, "seed": seed, "prompt": row.prompt, "fingerprint": mark,
            "image": str(row.image) if row.image else None, "voices": [str(v) if v else None for v in row.voices],
        }  # fmt: skip
        try:
            target = folder / f"{row.name}-{seed}"
            file = copied(made[mark], target, note) if mark in made else generate(server, graph, target, note)
            made[mark] = file
            print(f"{n}/{len(jobs)}  {file.name}", flush=True)
        except ServerError as error:
            failed.append(f"{row.name}, seed {seed}: {error}")
            print(f"{n}/{len(jobs)}  failed: {failed[-1]}", file=sys.stderr, flush=True)
    return failed


def model_folders(base: Path, models: Path | None) -> list[Path]:
    return [base / "models", *([models] if models else [])]


def server_of(name: str, models: Path | None, card: bool = False) -> Callable[[], Server]:
    """Starts a ComfyUI for this tool, with these models or else the small set; base folder and inputs are made at once.

    card: the small set too is computed on the graphics card, which gives other clips than the processor.
    """
    env = environment.running()
    base = environment.base_folder(env, name, models)
    if not models:
        small_set.chosen().make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    environment.say("Starting ComfyUI …")
    return lambda: Server(env.host, base, cpu=not ((models or card) and has_accelerator()))


def run(options: argparse.Namespace) -> int:
    rows = shard(read(options.prompts), options.shard)
    start = server_of("evaluate", options.models, options.card)
    runs = variants(options) if options.study else [options]
    failed, made = {}, {}
    with start() as server:
        for one in runs:
            failed[one.out] = make(server, rows, one, made)
    for one in runs:
        measure_all(one.out / "clips", model_folders(server.base, options.models), options.again)
        if options.study:
            measure_against(runs[0].out / "clips", one.out / "clips", options.again)
        table = report.write(one.out, failed[one.out])
    if options.study:
        table = study.table(options.out, options.only)
        (options.out / "study.md").write_text(table, encoding="utf-8")
    print(table)
    print(f"The clips play in {', '.join(str(one.out / 'index.html') for one in runs)}")
    return 1 if any(failed.values()) else 0


def variants(options: argparse.Namespace) -> list[argparse.Namespace]:
    """The options of each part of a study, each with a folder of its own."""
    return [
        argparse.Namespace(
            **vars(options)
            | {
                "out": options.out / v.name,
                "set": [*options.set, *v.set],
                "through": [*options.through, *v.through],
                "dtype": v.dtype,
            }
        )
        for v in study.variants(options.only)
    ]


def measure_all(folder: Path, models: list[Path], again: bool = False) -> None:
    """Measure every clip of a folder that was not measured by these meters yet."""
    import measure

    encoder = measure.voice_encoder(models)
    for note in sorted(folder.glob("*.json")):
        known = json.loads(note.read_text(encoding="utf-8"))
        file = folder / known["file"]
        if file.exists() and (again or known.get("meters") != measure.VERSION):
            spoken = Row(known["row"], known["prompt"]).spoken
            scores, notes = measure.clip(file, spoken, known["voices"], encoder)
            write_json(note, known | {"scores": scores, "notes": notes, "meters": measure.VERSION})


def measure_against(first: Path, folder: Path, again: bool = False) -> None:
    """How far every clip of a folder is from the one of the same prompt and seed in `first`."""
    import measure

    for note in sorted(folder.glob("*.json")):
        known, other = json.loads(note.read_text(encoding="utf-8")), first / note.name
        if not other.exists() or (not again and any(name in known["scores"] for name in measure.OFF)):
            continue
        files = [first / json.loads(other.read_text(encoding="utf-8"))["file"], folder / known["file"]]
        if all(file.exists() for file in files):
            write_json(note, known | {"scores": known["scores"] | measure.off(*files)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--workflow")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--through", action="append", default=[])
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--study", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--compare", type=Path, nargs=2)
    parser.add_argument("--best-of", type=Path)
    parser.set_defaults(dtype=None)
    options = parser.parse_args()
    try:
        if options.compare:
            print(report.compare(*options.compare))
            return 0
        if options.best_of:
            import selection

            print(selection.table(options.best_of))
            return 0
        if options.only and not options.study:
            raise EvaluationError("--only names parts of a study: add --study")
        if options.seeds < 1:
            raise EvaluationError(f"--seeds {options.seeds}: at least one")
        return run(options)
    except (EvaluationError, study.StudyError, PromptSetError, WorkflowError, ServerError, report.ReportError) as error:
        print(f"The evaluation stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
