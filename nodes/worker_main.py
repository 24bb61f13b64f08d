"""The script that a worker of NAVA Parallel runs: hears first, imports later, and ends when its input does.

Standard library only up to there: a worker whose driver was killed while it was still importing must end too.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules have the names of others

import os
import queue
import signal
import struct
import threading

LENGTH = struct.Struct("<Q")


def read_frame(stream) -> bytes | None:
    """The next message of a binary stream, or None at its end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    size = LENGTH.unpack(head)[0]
    body = stream.read(size)
    return body if len(body) == size else None


def write_frame(stream, body: bytes) -> None:
    stream.write(LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def hear(inbox: queue.Queue) -> None:
    with os.fdopen(os.dup(0), "rb") as stream:
        while (frame := read_frame(stream)) is not None:
            inbox.put(frame)
    os._exit(0)  # the driver is gone, or done with this worker: whatever is being computed


def main() -> None:
    import importlib
    import json
    import types

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints goes to the log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process; the driver decides
    inbox: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=hear, args=(inbox,), daemon=True).start()
    given = json.loads(inbox.get())
    sys.path.insert(0, given["host"])
    # The pack's modules under the names that they have in the driver, without its nodes, which want a server.
    for name, folder in ((given["package"], given["root"]), (f"{given['package']}.nodes", f"{given['root']}/nodes")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [folder]
    settings = inbox.get()
    from comfy.cli_args import args

    workers = importlib.import_module(f"{given['package']}.nodes.workers")
    vars(args).update(workers.unpacked(settings))  # before anything of the host looks at them
    importlib.import_module(f"{given['package']}.nodes.worker").serve(inbox, answers)


if __name__ == "__main__":
    main()
