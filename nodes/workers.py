"""Processes that compute a model's passes together, and the one that asks them.

A worker is told what to do over its standard input, answers over its standard output, and ends when its input does, so it
outlives this process in no case. Among each other they speak over torch.distributed, on the loopback device alone.
"""

import io
import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .worker_main import read_frame, write_frame

SCRIPT = Path(__file__).with_name("worker_main.py")
POLL = 0.1  # seconds between two looks at whether the user has stopped the run
DOING = {"load": "while it loaded the model", "patch": "while its weights were patched", "velocity": "in a pass"}
LAST_WORDS = 1.0  # seconds in which the end of a worker is noticed that the others complain of


class WorkerError(RuntimeError):
    """A worker ended, failed or did not answer; all of them have been ended, and the next run starts new ones."""


class _Packer(pickle.Pickler):
    def reducer_override(self, thing):
        """Tensors as their own numbers: torch would write all of the memory that a view looks at."""
        if isinstance(thing, Tensor) and type(thing) in (Tensor, torch.nn.Parameter):
            numbers = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            return _tensor, (thing.dtype, tuple(thing.shape), numbers.tobytes())
        return NotImplemented


def _tensor(dtype: torch.dtype, shape: tuple[int, ...], numbers: bytes) -> Tensor:
    if not numbers:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(numbers), dtype=dtype).reshape(shape)


def packed(thing) -> bytes:
    stream = io.BytesIO()
    _Packer(stream, protocol=5).dump(thing)
    return stream.getvalue()


def unpacked(message: bytes):
    """What `packed` wrote. Only for the pipes between this process and the workers that it started, never for a file."""
    return pickle.loads(message)  # noqa: S301


def loopback() -> str:
    """The name of this machine's loopback device."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")


class _Process:
    """One worker. Threads read and write, so that one that hangs makes nobody wait."""

    def __init__(self, rank: int, device: str, answers: queue.Queue):
        self.rank, self.name, self.outbox = rank, f"worker {rank} ({device})", queue.Queue()
        environment = {**os.environ, "PYTHONUTF8": "1"}
        environment |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback())
        self.process = subprocess.Popen(
            [sys.executable, "-s", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        for work, *more in ((self._hear, answers), (self._send,)):
            threading.Thread(target=work, args=more, daemon=True).start()

    def _hear(self, answers: queue.Queue) -> None:
        while (frame := read_frame(self.process.stdout)) is not None:
            answers.put((self.rank, *unpacked(frame)))
        answers.put((self.rank, None, "ended", None))

    def _send(self) -> None:
        try:
            while (frame := self.outbox.get()) is not None:
                write_frame(self.process.stdin, frame)
        except (OSError, ValueError):
            pass  # it has ended: that is told by what is heard

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.outbox.put(None)

    def fate(self) -> str:
        code = self.process.poll()
        if code is None:
            return "has closed its output"
        if code < 0:
            return f"was killed ({signal.Signals(-code).name})"
        return f"ended (exit status {code})"


class Workers:
    """As many processes as `devices` ("cuda:0", "cpu"), each with the model that `load` names; started at the first `begin`.

    load: keyword arguments of `worker.Worker` that are the same for all of them. timeout: seconds that an answer may take.
    between: called while waiting; what it raises ends the waiting, and the workers go on.
    """

    def __init__(self, devices: list[str], load: dict, place: dict, settings: dict, timeout: float, between: Callable):
        self.devices, self.timeout, self.between = devices, timeout, between
        self.load, self.place, self.settings = load, place, settings
        self.processes: list[_Process] = []
        self.ready = False
        self.patched = None  # the mark of the patches that they have
        self.known: set = set()  # contexts that they have
        self.number = 0
        self.meeting: tempfile.TemporaryDirectory | None = None  # where they find each other
        self._at_exit = weakref.finalize(self, _end_all, self.processes)

    def start(self) -> None:
        """Start the processes and have them load the model."""
        self.stop()
        self.answers: queue.Queue = queue.Queue()
        self.meeting = tempfile.TemporaryDirectory(prefix="nava_workers_")
        self.processes += [_Process(rank, device, self.answers) for rank, device in enumerate(self.devices)]
        for process in self.processes:
            process.outbox.put(json.dumps(self.place).encode())
            process.outbox.put(packed(self.settings))
        shared = {**self.load, "ranks": len(self.devices), "meeting": os.path.join(self.meeting.name, "store")}
        self.ask("load", *[{**shared, "rank": rank, "device": device} for rank, device in enumerate(self.devices)])
        self.ready = True

    def stop(self) -> None:
        """End the processes, and with them the memory that they hold."""
        _end_all(self.processes)
        if self.meeting is not None:
            self.meeting.cleanup()
        self.ready, self.patched = False, None
        self.known.clear()

    def begin(self, patches: dict, mark) -> list[str]:
        """Have the model ready, with these patches on its weights. mark: another one for other patches.

        Returns, where they are new, what each worker's patched weights hash to.
        """
        if not self.ready or any(process.process.poll() is not None for process in self.processes):
            self.start()
        mark = mark if patches else None
        if mark == self.patched:
            return []
        try:
            hashes = self.ask("patch", patches)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"NavaParallel, model: a change of weights cannot be handed to other processes ({error}). Take the node that made it off the model."
            ) from error
        if len(set(hashes)) > 1:
            self._fail("the workers disagree on the patched weights")
        self.patched = mark
        return hashes

    def velocity(self, parts: list[Tensor], context: Tensor, key, *rest) -> list[Tensor]:
        """A pass: see `worker.Worker.velocity`. Only the first worker is sent the tensors; the others have them from it."""
        tensors = parts if key in self.known else [*parts, context]
        shapes = [(tuple(t.shape), t.dtype) for t in tensors]
        others = (None, shapes, len(parts), key, *rest)
        found = self.ask("velocity", *[(tensors, *others[1:]), *[others] * (len(self.devices) - 1)])
        if key is not None:
            self.known.add(key)
        return found[0]

    def forget(self) -> None:
        """Drop what is kept for one sampling run; not waited for."""
        self.known.clear()
        if self.ready:
            self._send("forget", [()])

    def ask(self, name: str, *arguments) -> list:
        """What each worker answers. arguments: one for all of them, or one for each."""
        self._send(name, arguments)
        asked, found = list(self.processes), {}  # another thread may end them meanwhile
        deadline = time.monotonic() + self.timeout
        while len(found) < len(asked):
            self.between()
            try:
                rank, number, failure, value = self.answers.get(timeout=POLL)
            except queue.Empty:
                if time.monotonic() > deadline:
                    silent = ", ".join(p.name for p in asked if p.rank not in found)
                    self._fail(f"no answer within {self.timeout:g} s {DOING[name]} from {silent}")
                continue
            if failure is not None:
                self._fail_for(asked, rank, failure, DOING[name])
            if number == self.number:  # else of a pass that the user has stopped
                found[rank] = value
        return [found[rank] for rank in sorted(found)]

    def _send(self, name: str, arguments) -> None:
        self.number += 1
        bodies = {id(a): packed(a) for a in arguments}
        for process in self.processes:
            given = arguments[process.rank if len(arguments) > 1 else 0]
            process.outbox.put(packed((self.number, name, bodies[id(given)])))

    def _fail_for(self, asked: list[_Process], rank: int, failure: str, doing: str) -> None:
        """Say which worker began it: where one ends, the others complain of a lost connection."""
        deadline = time.monotonic() + LAST_WORDS
        while not (dead := [p for p in asked if p.process.poll() is not None]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if dead:
            self._fail(f"{dead[0].name} {dead[0].fate()} {doing}; the log may say why, often memory was short")
        self._fail(f"{asked[rank].name} failed {doing}: {failure}")

    def _fail(self, what: str) -> None:
        self.stop()
        raise WorkerError(f"NavaParallel: {what}. Nothing of this run is kept; queue it again, and new workers start.")


def _end_all(processes: list[_Process]) -> None:
    while processes:
        processes.pop().end()
