"""Queue a workflow on a real server and say what came out. Runs in the pack's virtual environment."""

import argparse
import sys
import time
from pathlib import Path

import environment
import small_set
import tiny
from comfy_server import Server, ServerError, has_accelerator
from shipped import ALL
from workflow import WorkflowError, load, to_api


class ProgressBar:
    """Shows the running node and its steps on one line."""

    def __init__(self, prompt: dict):
        self.titles = {k: v["_meta"]["title"] for k, v in prompt.items()}
        self.started = time.monotonic()
        self.interactive = sys.stdout.isatty()

    def __call__(self, kind: str, data) -> None:
        if kind == "executing" and data.get("node"):
            self.show(self.titles.get(data["node"], data["node"]), "")
        elif kind == "progress":
            done = round(24 * data["value"] / data["max"])
            bar = "█" * done + "·" * (24 - done)
            self.show(self.titles.get(data["node"], ""), f"{bar} {data['value']}/{data['max']}")

    def show(self, what: str, bar: str) -> None:
        line = f"{time.monotonic() - self.started:6.1f} s  {what:28.28} {bar}"
        print(f"\r{line:75}" if self.interactive else line, end="" if self.interactive else "\n", flush=True)

    def end(self) -> None:
        if self.interactive:
            print()


def describe(path: Path) -> str:
    """Duration, streams and size of a media file."""
    import av

    lines = [str(path)]
    with av.open(str(path)) as media:
        for stream in media.streams:
            if stream.type == "video":
                lines.append(
                    f"  picture  {stream.codec.name}, {stream.width}x{stream.height}, {float(stream.average_rate):g} fps"
                )
            else:
                lines.append(f"  sound    {stream.codec.name}, {stream.rate} Hz, {stream.layout.name}")
        lines.append(f"  length   {media.duration / 1e6:.2f} s, {path.stat().st_size / 1024:.0f} KB")
    return "\n".join(lines)


def find(name: str) -> Path | None:
    """A workflow by its name, with or without ending, by its short name, or by its path."""
    folder = environment.ROOT / "workflows"
    short = (f.file for f in ALL if f.key == name.removesuffix(".json"))
    tries = [Path(name), folder / name, *(folder / f"{n}.json" for n in (name, *short))]
    return next((path for path in tries if path.is_file() and path.suffix == ".json"), None)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("workflow")
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    path = find(options.workflow)
    if path is None:
        known = ", ".join(f.key for f in ALL)
        print(f"There is no workflow {options.workflow}; give a path, or one of: {known}", file=sys.stderr)
        return 1
    chosen = small_set.chosen()
    env = environment.running()
    base = environment.base_folder(env, "demo", options.models)
    if not options.models:
        environment.say(f"Preparing {chosen.name} …")
        chosen.make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    environment.say("Starting ComfyUI …")
    try:
        document = load(path)
        with Server(env.host, base, cpu=not (options.models and has_accelerator())) as server:
            info = server.get("/object_info")
            if not options.models:
                chosen.apply(document, info)
            prompt = to_api(document, info)
            bar = ProgressBar(prompt)
            history = server.queue(prompt, bar, timeout=24 * 3600, workflow=document)
            bar.end()
            files = [f for ending in (".mp4", ".flac") for f in server.outputs(history, ending)]
    except (ServerError, WorkflowError, ValueError) as error:
        print(f"\nThe demo failed: {error}\nThe server's own words are in {base / 'server.log'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    for file in files:
        print(describe(file))
    if not options.models:
        print(chosen.words(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
