"""Make clips of a prompt list on a real server, measure them, and write a report that plays in a browser.

Every clip has a file of its own in OUT/clips with its scores beside it, so an evaluation goes on where it stopped, and several
machines can share a folder (`--shard 1/4`). `--compare A B` compares two folders over the same prompts and seeds.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import clips
import environment
import report
import tiny
from comfy_server import Server, ServerError, has_accelerator
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
    path = Path(name) if name.endswith(".json") else environment.ROOT / "workflows" / f"{name}.json"
    if not path.is_file():
        raise EvaluationError(f"--workflow {name}: there is no file {path}")
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
    part = path.with_name(path.name + ".part")
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

    def __init__(self, object_info: dict, options: argparse.Namespace):
        self.object_info, self.options, self.made = object_info, options, {}

    def __call__(self, name: str) -> dict:
        if name not in self.made:
            prompt = to_api(load(workflow_file(name)), self.object_info)
            if not self.options.models:
                tiny.shrink(prompt)
            for kind in self.options.through:
                clips.pass_through(prompt, kind, self.object_info)
            for setting in self.options.set:
                clips.change(prompt, setting)
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


def run(options: argparse.Namespace) -> int:
    rows = read(options.prompts)
    wanted = shard(rows, options.shard)
    env = environment.running()
    base = environment.base_folder(env, "evaluate", options.models)
    if not options.models:
        tiny.make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    folder = options.out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    model_folders = [base / "models", *([options.models] if options.models else [])]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    environment.say("Starting ComfyUI …")
    failed = []
    with Server(env.host, base, cpu=not (options.models and has_accelerator())) as server:
        object_info = server.get("/object_info")
        template = Templates(object_info, options)
        jobs = []
        for seed in seeds:
            for row in wanted:  # every graph is made, and every finished clip checked, before the first is queued
                graph = clips.graph(
                    template(workflow_of(row, options.workflow)), row, seed, object_info, base / "input"
                )
                mark = clips.fingerprint(graph, model_folders)
                jobs.append((row, seed, graph, mark, finished(folder, row, seed, mark)))
        to_make = sum(file is None for *_, file in jobs)
        environment.say(f"{len(jobs)} clips, {to_make} to make")
        for n, (row, seed, graph, mark, file) in enumerate(jobs, 1):
            if file is None:
                note = {
                    "row": row.name, "seed": seed, "prompt": row.prompt, "fingerprint": mark,
                    "image": str(row.image) if row.image else None,
                    "voices": [str(v) if v else None for v in row.voices],
                }  # fmt: skip
                try:
                    file = generate(server, graph, folder / f"{row.name}-{seed}", note)
                except ServerError as error:
                    failed.append(f"{row.name}, seed {seed}: {error}")
                    print(f"failed: {failed[-1]}", file=sys.stderr, flush=True)
                    continue
                print(f"{n}/{len(jobs)}  {file.name}", flush=True)
    measure_all(folder, model_folders, options.again)
    summary = report.write(options.out, failed)
    print(f"{summary}\nThe clips play in {options.out / 'index.html'}")
    return 1 if failed else 0


def measure_all(folder: Path, model_folders: list[Path], again: bool) -> None:
    """Measure every clip of a folder that was not measured by these meters yet."""
    import measure

    encoder = measure.voice_encoder(model_folders)
    for note in sorted(folder.glob("*.json")):
        known = json.loads(note.read_text(encoding="utf-8"))
        file = folder / known["file"]
        if file.exists() and (again or known.get("meters") != measure.VERSION):
            spoken = Row(known["row"], known["prompt"]).spoken
            scores, notes = measure.clip(file, spoken, known["voices"], encoder)
            write_json(note, known | {"scores": scores, "notes": notes, "meters": measure.VERSION})


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
    parser.add_argument("--compare", type=Path, nargs=2)
    options = parser.parse_args()
    try:
        if options.compare:
            print(report.compare(*options.compare))
            return 0
        if options.seeds < 1:
            raise EvaluationError(f"--seeds {options.seeds}: at least one")
        return run(options)
    except (EvaluationError, PromptSetError, WorkflowError, ServerError, report.ReportError) as error:
        print(f"The evaluation stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
