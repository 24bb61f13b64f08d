"""`run.py generate` with workers that are killed at random, against the same jobs undisturbed: is anything lost, or other?

Runs in the pack's virtual environment. Writes soak_generate.json.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import clips
import environment
import psutil
import torch
from evaluate import write_json
from longer import PROMPTS

WORKERS = 2
FLOWS = ("nava_text_to_av", "nava_image_to_av", "nava_sound_effects", "nava_silent_video")
SHORT = {"size": "128x96", "seconds": 0.5, "set": ["NavaScheduler.steps=2"]}


def write_jobs(count: int, path: Path) -> None:
    """Jobs of several workflows, each with a seed of its own."""
    lines = [
        {"workflow": FLOWS[n % len(FLOWS)], "prompt": PROMPTS[n // len(FLOWS) % len(PROMPTS)], "seed": n, **SHORT}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def start(jobs: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, str(environment.ROOT / "tools" / "generate.py"), str(jobs), "--out", str(out)]
    return subprocess.Popen([*command, "--workers", str(WORKERS)], env={**os.environ, "OMP_NUM_THREADS": "1"})


def made(out: Path) -> int:
    return sum(1 for p in (out / ".jobs").glob("*.json") if not p.name.endswith(".failed.json"))


def servers(process: subprocess.Popen) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends just now
            if any(x.endswith("main.py") for x in child.cmdline()):
                found.append(child)
    return found


def kill_some(process: subprocess.Popen, out: Path, jobs: int, count: int, dice: random.Random) -> list[dict]:
    """Kill workers, each once so many jobs were made, and up to 3 s later."""
    killed = []
    for after in sorted(dice.sample(range(1, max(2, round(jobs * 0.9))), count)):
        while made(out) < after and process.poll() is None:
            time.sleep(0.1)
        time.sleep(dice.uniform(0, 3))
        running = [] if process.poll() is not None else servers(process)
        if running:
            victim = dice.choice(running)
            killed.append({"jobs_made": made(out), "age_s": round(time.time() - victim.create_time(), 1)})
            victim.kill()
    return killed


def same(a: Path, b: Path) -> str:
    """How alike two finished files are: in every byte, in every decoded frame and sample, or not."""
    if hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(b.read_bytes()).digest():
        return "same bytes"
    one, two = clips.opened(a), clips.opened(b)
    equal = all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(one, two, strict=True))
    return "same frames and sound" if equal else "different"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jobs, plain, disturbed = options.out / "jobs.jsonl", options.out / "undisturbed", options.out / "disturbed"
    write_jobs(options.jobs, jobs)
    start(jobs, plain).wait()
    process = start(jobs, disturbed)
    killed = kill_some(process, disturbed, options.jobs, options.kills, random.Random(options.seed))
    status = process.wait()
    before = {p: p.stat().st_mtime_ns for p in disturbed.rglob("*.*") if p.suffix in clips.SAVED}
    again = start(jobs, disturbed).wait()
    after = {p: p.stat().st_mtime_ns for p in disturbed.rglob("*.*") if p.suffix in clips.SAVED}
    files = sorted(p.relative_to(plain) for p in plain.rglob("*.*") if p.suffix in clips.SAVED)
    found = {str(f): same(plain / f, disturbed / f) if (disturbed / f).exists() else "missing" for f in files}
    report = json.loads((disturbed / "report.json").read_text(encoding="utf-8"))
    result = {
        "jobs": options.jobs, "seed": options.seed, "killed": killed, "exit_status": status,
        "states": {s: sum(r["state"] == s for r in report) for s in sorted({r["state"] for r in report})},
        "jobs_tried_again": sum(r.get("tries", 1) > 1 for r in report),
        "files": {s: sum(v == s for v in found.values()) for s in sorted(set(found.values()))},
        "files_besides": sorted(str(p.relative_to(disturbed)) for p in set(after) - {disturbed / f for f in files}),
        "part_files_left": sum(1 for _ in disturbed.rglob("*.part")),
        "leases_left": sum(1 for _ in disturbed.rglob("*.lease")),
        "made_again_by_a_second_start": before != after, "exit_status_of_it": again,
    }  # fmt: skip
    write_json(options.out / "soak_generate.json", result)
    print(json.dumps(result, indent=1))
    whole = result["states"] == {"made": options.jobs} and set(result["files"]) == {"same bytes"}
    return 0 if whole and before == after and not result["files_besides"] else 1


if __name__ == "__main__":
    sys.exit(main())
