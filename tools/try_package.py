"""The package in a clean ComfyUI: unzipped and nothing else, every workflow file in it queued, every output opened.

Runs in the pack's virtual environment. Writes the zip, and prints a table.
"""

import argparse
import shutil
import sys
import time
import zipfile
from pathlib import Path

import clips
import environment
import package
import small_set
import tiny
from comfy_server import Server, ServerError, has_accelerator
from PIL import Image
from workflow import WorkflowError, load, set_widgets, to_api

PERSONAL = {"custom_nodes", "input", "models", "output", "temp", "user"}  # ComfyUI's folders for what people put there
NAME = "nava-av"  # the folder that the registry makes
SIZE = {"width": 128, "height": 96, "seconds": 0.7}  # that it runs is asked, not what it shows
MEDIA = {".flac", ".mp3", ".mp4", ".opus", ".wav"}


def clean_host(host: Path, target: Path) -> None:
    """A copy of ComfyUI as it is before anybody put something into it."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {n for n in names if n in PERSONAL or n.startswith((".", "venv"))} if Path(folder) == host else set()

    shutil.copytree(host, target, ignore=left_out)
    for folder in PERSONAL:
        (target / folder).mkdir()
    (target / "extra_model_paths.yaml").write_text("{}\n")


def contents(path: Path) -> str:
    """What a file holds, decoded to its end. Raises OSError or ValueError where it is broken or empty."""
    if path.suffix not in MEDIA:
        with Image.open(path) as picture:
            picture.load()
            return f"{picture.width}×{picture.height}"
    frames, _, sound, rate = clips.opened(path)
    found = [] if frames is None else [f"{len(frames)} frames of {frames.shape[2]}×{frames.shape[1]}"]
    found += [] if sound is None else [f"{sound.shape[1] / rate:.2f} s of sound, {len(sound)} channels"]
    if not found:
        raise ValueError("nothing in it")
    return ", ".join(found)


def tried(server: Server, info: dict, path: Path, chosen: small_set.SmallSet, steps: int) -> tuple[bool, str]:
    """Whether a workflow file runs and what it saved can be opened; and what that is, or what went wrong."""
    try:
        document = load(path)
        chosen.apply(document, info)
        set_widgets(document, info, "NavaScheduler", [{"steps": steps}])
        set_widgets(document, info, "NavaEmptyLatent", [SIZE])
        history = server.queue(to_api(document, info), workflow=document)
        if history["status"]["status_str"] != "success":
            return False, history["status"]["status_str"]
        files = server.outputs(history, "")
        return bool(files), "; ".join(contents(f) for f in files) or "it saved nothing"
    except (OSError, ValueError, ServerError, WorkflowError) as error:  # PyAV's and Pillow's are the first two
        return False, f"{type(error).__name__}: {error}".replace("\n", " ")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    env, chosen = environment.running(), small_set.chosen()
    place = environment.CACHE / "package"
    shutil.rmtree(place, ignore_errors=True)
    clean_host(env.host, place)
    names = package.pack(options.out)
    environment.say(f"{options.out}: {len(names)} files, {options.out.stat().st_size / 1e6:.1f} MB")
    with zipfile.ZipFile(options.out) as file:
        file.extractall(place / "custom_nodes" / NAME)
    chosen.make(env.host, place / "models")
    tiny.make_inputs(place / "input")
    flows, failed = sorted((place / "custom_nodes" / NAME / "workflows").rglob("*.json")), 0
    with Server(place, place, cpu=not has_accelerator()) as server:
        info = server.get("/object_info")
        environment.say(
            f"\nWith {chosen.name}, {options.steps} steps:\n\n| workflow file | seconds | what it saved |\n|---|---|---|"
        )
        for path in flows:
            start = time.monotonic()
            fine, words = tried(server, info, path, chosen, options.steps)
            failed += not fine
            name = path.relative_to(place / "custom_nodes" / NAME / "workflows").as_posix()
            environment.say(f"| {name} | {time.monotonic() - start:.1f} | {'' if fine else '**failed**: '}{words} |")
    environment.say(f"\n{len(flows) - failed} of {len(flows)} workflow files ran, and what they saved was opened.")
    if failed:
        print(f"The server's own words are in {server.log}", file=sys.stderr)
    return 1 if failed or not flows else 0


if __name__ == "__main__":
    sys.exit(main())
