"""Run a script that ends with the process that started it, even when that one is killed. Standard library only.

`python tied.py SCRIPT ARGUMENTS`, with a pipe as standard input that nobody writes to: it closes with whoever holds its other end.
"""

import os
import runpy
import sys
import threading
from pathlib import Path


def end_with_parent() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the script ends
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)  # as if Python had been given the script itself
    runpy.run_path(sys.argv[0], run_name="__main__")
