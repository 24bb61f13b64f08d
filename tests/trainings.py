"""Trainings as `run.py train` starts them, each a process of its own, in one import of torch and the host.

Run as a script it is the process that has imported what trainings import, and that forks for each line on its standard input.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT, HOST = Path(__file__).resolve().parent.parent, Path(os.environ["NAVA_HOST"])


class Training:
    """A process that trains: its `pid`, what it printed, and how it ended."""

    def __init__(self, pid: int, log: Path):
        self.pid, self.log = pid, log

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 500) -> int:
        """Until it ends; its exit status as Popen's."""
        ended, deadline = self.log.with_suffix(".ended"), time.monotonic() + timeout
        while not ended.exists():
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.02)
        return int(ended.read_text())


class Trainings:
    """start(config, folder) -> Training; many of them one after the other or at once."""

    def __init__(self, logs: Path):
        self.logs, self.count = logs, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def start(self, config: Path, out: Path) -> Training:
        self.count += 1
        log = self.logs / f"{self.count}.log"
        self.process.stdin.write(json.dumps([str(config), "--out", str(out), str(log)]) + "\n")
        self.process.stdin.flush()
        return Training(int(self.process.stdout.readline()), log)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def train(arguments: list[str], log: int) -> int:
    """What `python -m training.make` does with these arguments; the exit status."""
    import traceback

    from training import make

    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["training.make", *arguments]
    try:
        return make.main()
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def main() -> None:
    sys.path[0:1] = [str(ROOT)]  # as `python -m` begins, and the host goes before it, as training.make puts it
    sys.path.insert(0, str(HOST))
    from comfy.cli_args import args

    args.cpu = True
    import training.encode
    import training.transformer  # noqa: F401

    for line in sys.stdin:
        *arguments, log = json.loads(line)
        written = os.open(log, os.O_WRONLY | os.O_CREAT)
        if os.fork():
            os.wait()
            continue
        # it waits for the training and notes its end, while the next line is read; nobody waits for it in turn
        if os.fork():
            os._exit(0)
        training_process = os.fork()
        if training_process == 0:
            os._exit(train(arguments, written))
        os.write(1, f"{training_process}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(training_process, 0)[1])
        part = Path(log).with_suffix(".part")
        part.write_text(str(status))
        part.replace(Path(log).with_suffix(".ended"))
        os._exit(0)


if __name__ == "__main__":
    main()
