"""Jobs of a JSONL file: what a line may set, what tells one job from another, and the graph that makes it.

A line is an object. Everything in it is optional; what it does not set is as the workflow says.

- `workflow`: a shipped workflow by name, or a file, for this line only
- `prompt`; `seed` (further noises of the same graph take the next numbers)
- `picture`: a file; `voices`: a list of recordings in the order of the spoken lines (null for none), or {name: recording} for `<S:name>`
- `size`: "1280x704"; `seconds`
- `set`: a list of `Node.input=value`, Node being a kind, an id or a title; a file for a Load node is given to ComfyUI
- `prefix`: how the names of the outputs begin, with folders if wanted

Files are looked for beside the JSONL.
"""

import copy
import functools
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import clips
from demo import find
from prompt_sets import PromptSetError, Row, file_of, json_of, lines_of, read_text
from workflow import WorkflowError

KEYS = ("prompt", "seed", "picture", "voices", "size", "seconds", "prefix", "workflow", "set")
SIZE = re.compile(r"(\d{2,4})\s*[x×]\s*(\d{2,4})")
PREFIX = re.compile(r"[\w-][\w .-]*(/[\w-][\w .-]*)*")
LOADED = ("image", "audio", "file", "video")  # inputs of Load nodes that name a file
LAST_SEED = 2**64 - 1
MODEL_FILE = re.compile(r'[^"=]+(?:{})(?=")'.format("|".join(map(re.escape, clips.MODEL_ENDINGS))), re.IGNORECASE)


class JobError(ValueError):
    """Lines that cannot be made, each named with its number."""


@dataclass(frozen=True)
class Job:
    line: int
    workflow: Path
    prompt: str | None = None
    seed: int | None = None
    picture: Path | None = None
    voices: tuple[tuple[str, Path | None], ...] = ()  # name (or "") and recording
    size: tuple[int, int] | None = None
    seconds: float | None = None
    set: tuple[tuple[str, Path | None], ...] = ()  # Node.input=value, and the file if the value is one
    prefix: str = "nava"

    def identity(self, models: str) -> str:
        """16 hexadecimal digits: two jobs that have them in common make the same. models: says which model files."""
        content = {
            "workflow": digest(self.workflow), "models": models, "prompt": self.prompt, "seed": self.seed,
            "picture": digest(self.picture), "voices": [(name, digest(file)) for name, file in self.voices],
            "size": self.size, "seconds": self.seconds, "set": [(s, digest(file)) for s, file in self.set], "prefix": self.prefix,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def digest(file: Path | None) -> str | None:
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def read(path: Path, workflow: str) -> list[Job]:
    """The jobs of a file; raises JobError that names every line that cannot be one."""
    try:
        lines = lines_of(read_text(path))
    except (OSError, ValueError) as error:
        raise JobError(f"{path} cannot be read: {error}") from error
    jobs, faults = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            jobs.append(job_of(line, number, path, workflow))
        except PromptSetError as error:
            faults.append(str(error))
    if faults:
        raise JobError("\n".join(faults))
    if not jobs:
        raise JobError(f"{path}: it holds no jobs")
    return jobs


def job_of(line: str, number: int, path: Path, workflow: str) -> Job:
    where = f"line {number}"
    item = json_of(line, where)
    if not isinstance(item, dict):
        raise PromptSetError(f'{where}: expected an object such as {{"prompt": "Rain.", "seed": 1}}')
    unknown = sorted(set(item) - set(KEYS))
    if unknown:
        raise PromptSetError(f"{where}: nothing is called {', '.join(unknown)}; a line may set {', '.join(KEYS)}")
    given = {key: value for key, value in item.items() if value is not None}

    def take(key: str, good: Callable, wanted: str, default=None):
        value = given.get(key, default)
        if key in given and not good(value):
            raise PromptSetError(f"{where}, {key}: {value!r} is not {wanted}")
        return value

    prompt = take("prompt", lambda v: isinstance(v, str) and v.strip(), "a text")
    size = take("size", lambda v: isinstance(v, str) and SIZE.fullmatch(v.strip()), 'a size such as "1280x704"')
    name = take("workflow", lambda v: isinstance(v, str), "a workflow's name or file", workflow)
    beside = path.parent / name
    flow = beside if "workflow" in given and beside.is_file() else find(name)
    if flow is None:
        raise PromptSetError(f"{where}, workflow: there is no file {name}, and none of that name in workflows/")
    seconds = take("seconds", lambda v: number_of(v) and 0 < v <= 30, "a number of seconds up to 30")
    return Job(
        number,
        flow.resolve(),
        prompt,
        take("seed", lambda v: type(v) is int and 0 <= v <= LAST_SEED, f"a whole number from 0 to {LAST_SEED}"),
        file_of(given.get("picture"), path, f"{where}, picture"),
        voices_of(given.get("voices") or [], prompt, path, f"{where}, voices"),
        tuple(map(int, SIZE.fullmatch(size.strip()).groups())) if size else None,
        None if seconds is None else float(seconds),
        settings_of(given.get("set") or [], path, f"{where}, set"),
        take("prefix", lambda v: isinstance(v, str) and PREFIX.fullmatch(v), "a name, or folders and a name", "nava"),
    )


def number_of(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def voices_of(given, prompt: str | None, path: Path, where: str) -> tuple[tuple[str, Path | None], ...]:
    if given and prompt is None:
        raise PromptSetError(f"{where}: they are for a prompt of the same line, and it has none")
    if isinstance(given, dict):
        found = tuple((name, file_of(file, path, where)) for name, file in given.items())
        if any(file is None for _, file in found):
            raise PromptSetError(f"{where}: every name needs a recording")
        return found
    if not isinstance(given, list):
        raise PromptSetError(f"{where}: expected a list of files, or an object of names and files, got {given!r}")
    spoken = len(Row("", prompt or "").spoken)
    if len(given) > spoken:
        raise PromptSetError(f"{where}: {len(given)} recordings for {spoken} spoken lines (<S>…<E>)")
    return tuple(("", file_of(file, path, where)) for file in given)


def settings_of(given, path: Path, where: str) -> tuple[tuple[str, Path | None], ...]:
    if not isinstance(given, list) or not all(isinstance(s, str) and "=" in s for s in given):
        raise PromptSetError(f'{where}: expected a list such as ["NavaScheduler.steps=30"], got {given!r}')
    found = []
    for setting in given:
        place, _, value = setting.partition("=")
        file = path.parent / value
        is_file = place.rpartition(".")[2] in LOADED and 0 < len(value) < 1000 and file.is_file()
        found.append((setting, file.resolve() if is_file else None))
    return tuple(found)


def graph(template: dict, job: Job, object_info: dict, lend: Callable[[Path], str]) -> dict:
    """The graph of one job: the workflow's, with what the job sets. lend(file): its name in ComfyUI's input folder.

    Raises WorkflowError for what the workflow has no place for.
    """
    prompt = copy.deepcopy(template)
    if job.prompt is not None:
        text = only(prompt, "NavaTextEncode", "prompt")
        in_order = [file for name, file in job.voices if not name]
        text["prompt"] = Row("", job.prompt, voices=tuple(in_order)).tagged if in_order else job.prompt
        if job.voices:
            clips.speak(prompt, text, [(name, lend(file)) for name, file in job.voices if file], object_info)
    if job.picture is not None:
        only(prompt, "LoadImage", "picture")["image"] = lend(job.picture)
    sizes = dict(zip(("width", "height"), job.size, strict=True)) if job.size else {}
    if job.seconds is not None:
        sizes["seconds"] = job.seconds
    if sizes:
        only(prompt, "NavaEmptyLatent", "size or seconds").update(sizes)
    if job.seed is not None:
        places = seeds_of(prompt)
        if not places:
            raise WorkflowError("seed: the workflow has no node with a seed")
        for k, (inputs, name) in enumerate(places):
            inputs[name] = (job.seed + k) % (LAST_SEED + 1)
    for setting, file in job.set:
        clips.change(prompt, f"{setting.partition('=')[0]}={json.dumps(lend(file))}" if file else setting)
    return prompt


def only(prompt: dict, kind: str, what: str) -> dict:
    """The inputs of the one node of a kind."""
    found = [key for key, node in prompt.items() if node["class_type"] == kind]
    if len(found) == 1:
        return prompt[found[0]]["inputs"]
    if not found:
        raise WorkflowError(f"{what}: the workflow has no {kind}; set what it has instead, as Node.input=value")
    raise WorkflowError(
        f"{what}: the workflow has {len(found)} nodes {kind}; say which with set, as {found[0]}.input=value"
        f" ({', '.join(found)})"
    )


def seeds_of(prompt: dict) -> list[tuple[dict, str]]:
    """Every seed of a graph that no other node gives: its node's inputs, and its name there."""
    return [
        (node["inputs"], name)
        for node in prompt.values()
        for name in ("noise_seed", "seed")
        if type(node["inputs"].get(name)) is int
    ]


def save_as(prompt: dict, prefix: str) -> None:
    """Let every node that saves begin its files' names with this."""
    for node in prompt.values():
        if "filename_prefix" in node["inputs"]:
            node["inputs"]["filename_prefix"] = prefix


def models_of(job: Job, names: tuple[str, ...], folders: list[Path]) -> str:
    """Says which model files a job takes: `names`, and what its workflow and settings name, by content where they are there."""
    text = read_text(job.workflow) + json.dumps([s for s, _ in job.set], ensure_ascii=False)
    found = hashlib.sha256()
    for name in sorted({*names, *MODEL_FILE.findall(text)}):
        found.update(name.encode())
        if file := clips.model_file(name, folders):
            found.update(model_identity(file))
    return found.hexdigest()


model_identity = functools.cache(clips.identity)
