"""`python run.py bench --gpu`: starts ComfyUI as its own main.py does, then measures inside it (card_bench.py)."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

MINUTES = 8.0


def start_comfyui(*more: str) -> None:
    """The start of main.py in this process: its allocator, dynamic VRAM and fused kernels. Before torch is imported."""
    base = Path(tempfile.mkdtemp(prefix="nava_bench_"))  # nothing is written into the ComfyUI that is measured
    (base / "custom_nodes").mkdir()
    sys.argv = ["main.py", "--base-directory", str(base), "--database-url", "sqlite:///:memory:", *more]
    sys.path.insert(0, os.environ["NAVA_HOST"])
    import main  # noqa: F401  (what it does on import is all that is wanted)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options, until = parser.parse_args(), time.monotonic()
    until += options.minutes * 60
    start_comfyui()
    import card_bench

    return card_bench.run(options.out, until)


if __name__ == "__main__":
    sys.exit(main())
