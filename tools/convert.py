"""Convert a checkpoint from the command line. Runs in the pack's virtual environment, or with ComfyUI's Python."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from nava_core.checkpoint import CheckpointError
from nava_core.convert import convert


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--dtype", required=True)
    options = parser.parse_args()

    def progress(done: int, total: int) -> None:
        if done == total or done % 20 == 0:
            print(f"\r{done}/{total} tensors", end="", flush=True)

    try:
        lossless = convert(options.source, options.target, options.dtype, progress)
    except CheckpointError as error:
        print(f"Nothing was written: {error}", file=sys.stderr)
        return 1
    print(f"\nWrote {options.target} ({'every value kept exactly' if lossless else 'values were rounded'})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
