"""A real server under a seeded mix of everything, for minutes or hours: does it grow, and is what it saved whole?

Runs in the pack's virtual environment. Writes soak.json (every sample) and soak.svg, and says the slopes.
"""

import argparse
import json
import random
import statistics
import sys
import threading
import time
from pathlib import Path

import av
import environment
import psutil
import safetensors
import small_set
import tiny
from comfy_server import Server, ServerError, has_accelerator
from shipped import ALL, BY_KEY
from workflow import load, set_inputs, to_api

ACTIONS = {"run": 70, "interrupt": 10, "cancel": 6, "bad file": 8, "free": 6}  # of a hundred
WARM_UP = 0.34  # of the prompts, left out of the slopes
STEPS, SIZE = 2, {"width": 128, "height": 96, "seconds": 0.7}  # many prompts, and short ones
WATCHED = {"rss_mb": "resident memory, MB", "files": "open files", "threads": "threads", "temp_files": "files in temp"}


class Soak:
    def __init__(self, server: Server, base: Path, small: small_set.SmallSet, seed: int):
        self.server, self.base, self.random = server, base, random.Random(seed)
        self.info = server.get("/object_info")
        self.process = psutil.Process(server.pid)
        self.small, self.samples, self.prompts, self.surprises = small, [], 0, []
        self.deck: list[str] = []

    def prompt(self) -> tuple[str, dict]:
        """The next workflow of a shuffled deck of all of them."""
        if not self.deck:
            self.deck = [flow.key for flow in ALL]
            self.random.shuffle(self.deck)
        key = self.deck.pop()
        return key, self.short(key)

    def short(self, key: str) -> dict:
        """One workflow, short and with a new seed."""
        document = load(BY_KEY[key].path)
        self.small.apply(document, self.info)
        prompt = to_api(document, self.info)
        set_inputs(prompt, "NavaScheduler", steps=STEPS)
        set_inputs(prompt, "NavaEmptyLatent", **SIZE)
        set_inputs(prompt, "RandomNoise", noise_seed=self.random.randrange(2**32))
        return prompt

    def run(self, prompt: dict, on_event=None) -> str:
        self.prompts += 1
        try:
            return self.server.queue(prompt, on_event)["status"]["status_str"]
        except ServerError as error:
            return f"refused: {error}"

    def act(self) -> dict:
        action = self.random.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        key, prompt = self.prompt()
        if action == "free":
            self.server.post("/free", {"unload_models": True, "free_memory": True})
        if action in ("run", "free"):
            result, expected = self.run(prompt), result_is("success")
        elif action == "interrupt":
            timer = threading.Timer(self.random.uniform(0.05, 4), self.server.post, ("/interrupt", {}))
            timer.start()
            result, expected = self.run(prompt), result_is("success", "error")
            timer.join()
        elif action == "cancel":
            ids = []
            for _ in range(3):
                self.prompts += 1
                ids.append(self.server.post("/prompt", {"prompt": self.prompt()[1]})["prompt_id"])
            self.server.post("/queue", {"delete": ids[1:]})
            result, expected = self.run(prompt), result_is("success")
        else:
            set_inputs(prompt, "NavaModelLoader", model_name="broken.safetensors")
            result, expected = self.run(prompt), lambda r: r.startswith("refused: NavaModelLoader")
        if not expected(result):
            self.surprises.append({"action": action, "workflow": key, "result": result[:300]})
        return {"action": action, "workflow": key}

    def sample(self, started: float, **more) -> None:
        temp = [p for p in (self.base / "temp").rglob("*") if p.is_file()]
        self.samples.append({
            "seconds": round(time.monotonic() - started, 1), "prompts": self.prompts,
            "rss_mb": round(self.process.memory_info().rss / 1e6, 1), "files": len(self.process.open_files()),
            "threads": self.process.num_threads(), "temp_files": len(temp),
            "parts": sum(1 for p in self.base.rglob("*.part") if p.is_file()), **more,
        })  # fmt: skip


def result_is(*allowed: str):
    return lambda result: result in allowed


def slope(samples: list[dict], key: str) -> float:
    """Least squares, per 100 prompts, after the warm-up."""
    rest = samples[int(len(samples) * WARM_UP) :]
    x, y = [s["prompts"] for s in rest], [s[key] for s in rest]
    return 100 * statistics.linear_regression(x, y).slope if len(set(x)) > 1 else float("nan")


def plot(samples: list[dict]) -> str:
    """One curve each of what is watched, over prompts."""
    width, high = 720, 110
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{high * len(WATCHED) + 20}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    last = max(s["prompts"] for s in samples) or 1
    for row, (key, title) in enumerate(WATCHED.items()):
        values, top = [s[key] for s in samples], row * high + 30
        low, most = min(values), max(values)
        points = " ".join(
            f"{20 + s['prompts'] / last * (width - 40):.1f},{top + 70 * (1 - (s[key] - low) / ((most - low) or 1)):.1f}"
            for s in samples
        )
        parts.append(
            f'<text x="20" y="{top - 8}">{title}: {low:g} to {most:g}</text><polyline points="{points}" fill="none" stroke="#2f7d6d"/>'
        )
    parts.append(f'<text x="20" y="{high * len(WATCHED) + 14}">0 to {last} prompts</text></svg>')
    return "\n".join(parts) + "\n"


def broken_files(base: Path) -> list[str]:
    """Files under a final name that cannot be read to their end."""
    found = []
    for path in sorted(p for folder in ("output", "user") for p in (base / folder).rglob("*") if p.is_file()):
        try:
            if path.suffix == ".safetensors":
                with safetensors.safe_open(path, framework="pt") as file:
                    for key in file.keys():
                        file.get_tensor(key)
            elif path.suffix in (".mp4", ".flac"):
                with av.open(str(path)) as media:
                    if not sum(1 for _ in media.decode()):
                        raise ValueError("nothing in it")
        except (OSError, ValueError, safetensors.SafetensorError) as error:  # PyAV's errors are both
            found.append(f"{path.relative_to(base)}: {error}")
    return found


def kill_once(base: Path, env: environment.Environment, small: small_set.SmallSet, dice: random.Random) -> dict:
    """Start, queue a storyboard and a cast that save, kill without warning at a random moment; what is broken then."""
    with Server(env.host, base, cpu=not has_accelerator()) as server:
        prompt = Soak(server, base, small, dice.randrange(2**32)).short("nava_storyboard")
        set_inputs(prompt, "NavaStoryboard", name=f"killed{dice.randrange(10**9)}")
        prompt["cast"] = {
            "class_type": "NavaCast",
            "inputs": {"characters": f"Anna: {'a' * dice.randrange(9, 500)}", "file": "none", "save_as": "killed", "keep_recordings": False},
        }  # fmt: skip
        server.post("/prompt", {"prompt": prompt})
        after = dice.uniform(0, 25)
        time.sleep(after)
        done = not server.get("/queue")["queue_running"]
        server.kill()
    return {"after_s": round(after, 2), "had_finished": done, "broken": broken_files(base)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    env, small = environment.running(), small_set.chosen()
    environment.clear(environment.CACHE / "soak")
    base = environment.base_folder(env, "soak")
    small.make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    whole = base / "models" / "diffusion_models" / small.files["diffusion_models"]
    (whole.parent / "broken.safetensors").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict = {"small_set": small.name, "seed": options.seed, "steps": STEPS, "size": SIZE}

    def keep() -> None:
        (options.out / "soak.json").write_text(json.dumps(report, indent=1), encoding="utf-8")

    with Server(env.host, base, cpu=not has_accelerator()) as server:
        soak, started = Soak(server, base, small, options.seed), time.monotonic()
        while time.monotonic() - started < options.minutes * 60:
            soak.sample(started, **soak.act())
            # the host keeps the last 10,000 prompts with all they showed; that growth is not looked for here
            server.post("/history", {"clear": True})
            report |= {"samples": soak.samples, "surprises": soak.surprises}
            if len(soak.samples) % 10 == 0:
                keep()
        log = server.log.read_text(encoding="utf-8", errors="replace")
    if soak.samples:
        report["slopes_per_100_prompts"] = {k: round(slope(soak.samples, k), 3) for k in WATCHED}
        report["left_parts"] = soak.samples[-1]["parts"]
        report["mentions_of_memory_errors"] = log.count("MemoryError")
        (options.out / "soak.svg").write_text(plot(soak.samples), encoding="utf-8")
    report["broken_files"] = broken_files(base)
    keep()
    dice = random.Random(options.seed)
    report["kills"] = []
    for _ in range(options.kills):
        report["kills"].append(kill_once(base, env, small, dice))
        keep()
    for name in ("slopes_per_100_prompts", "surprises", "broken_files", "kills"):
        print(f"{name}: {report.get(name)}")
    bad = (
        report["surprises"]
        or report["broken_files"]
        or [b for k in report["kills"] for b in k["broken"] if "nava_" in b]
    )
    print(f"Wrote {options.out / 'soak.json'} and soak.svg, {soak.prompts} prompts")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
