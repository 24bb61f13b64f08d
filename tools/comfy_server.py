"""A real ComfyUI server, started and stopped, and the little of its HTTP API that demo and tests need."""

import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import aiohttp

TIED = Path(__file__).resolve().parent / "tied.py"


class ServerError(RuntimeError):
    """The server did not start, refused a prompt, or failed while running it."""


def free_port() -> int:
    """A port of this machine that nobody listens on, from below those that systems hand out themselves: until a server that is
    starting takes it, no connection of another process will."""
    while True:
        port = random.SystemRandom().randrange(15_000, 29_000)  # 29500 is torch's own for groups of processes
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def has_accelerator() -> bool:
    """Whether torch can compute on something faster than the CPU."""
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


class Server:
    """`with Server(host, base) as server:` runs ComfyUI on a free loopback port until the block, or this process, ends.

    variables: of the environment, besides this process's own.
    """

    def __init__(
        self,
        host: Path,
        base: Path,
        cpu: bool = True,
        arguments: tuple[str, ...] = (),
        port: int = 0,
        variables: dict[str, str] | None = None,
    ):
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.base = base
        self.log = base / "server.log"
        self.client_id = uuid.uuid4().hex
        self._command = [
            sys.executable, "-s", str(TIED), str(host / "main.py"), "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(base), "--extra-model-paths-config", str(base / "extra_model_paths.yaml"),
            "--disable-auto-launch", "--disable-api-nodes", "--preview-method", "latent2rgb",
            "--database-url", f"sqlite:///{(base / 'user' / 'comfyui.db').as_posix()}",
            *(["--cpu"] if cpu else []), *arguments,
        ]  # fmt: skip
        self._variables = {"PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1", **(variables or {})}
        self._process = None

    def __enter__(self) -> "Server":
        with open(self.log, "w", encoding="utf-8") as log:
            # a session of its own: Ctrl-C is for whoever started it, who then ends it
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                env=os.environ | self._variables, start_new_session=True,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 600
            while True:
                if self._process.poll() is not None:
                    raise ServerError(f"ComfyUI ended while starting; the end of {self.log}:\n{self.log_tail()}")
                with contextlib.suppress(OSError):
                    self.get("/system_stats")
                    return self
                if time.monotonic() > deadline:
                    raise ServerError(f"ComfyUI did not answer within 10 minutes; see {self.log}")
                time.sleep(0.2)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()

    def wait(self) -> int:
        """Until the server ends by itself; its exit status."""
        return self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it without warning, as a power cut would, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def peak_memory(self) -> int | None:
        """Most bytes that the server has held so far; None where the system does not tell (it does on Linux)."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return None
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def get(self, path: str):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict):
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise ServerError(refusal(error.read().decode(errors="replace"))) from None
        return json.loads(text) if text else None

    def queue(
        self, prompt: dict, on_event: Callable[[str, object], None] | None = None, timeout: float = 600, workflow=None
    ) -> dict:
        """Run an API-format prompt to its end and return its history entry.

        on_event(kind, data) sees every websocket message; previews come as kind "preview" with the raw bytes.
        Raises ServerError with the node's message when it fails; returns the entry of an interrupted run.
        """
        return asyncio.run(asyncio.wait_for(self._queue(prompt, on_event, workflow), timeout))

    async def _queue(self, prompt: dict, on_event, workflow) -> dict:
        loop = asyncio.get_running_loop()
        url = f"http://{self.address}/ws?clientId={self.client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
            body = {"prompt": prompt, "client_id": self.client_id}
            if workflow is not None:
                body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
            prompt_id = (await loop.run_in_executor(None, self.post, "/prompt", body))["prompt_id"]
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    if on_event:
                        on_event("preview", message.data)
                    continue
                event = json.loads(message.data)
                kind, data = event["type"], event.get("data", {})
                if on_event:
                    on_event(kind, data)
                if data.get("prompt_id") != prompt_id:
                    continue
                if kind == "execution_error":
                    raise ServerError(
                        f"{data['node_type']} (node {data['node_id']}): {data['exception_message'].strip()}"
                    )
                if kind in ("execution_success", "execution_interrupted"):
                    break
        return await loop.run_in_executor(None, self._history, prompt_id)

    def _history(self, prompt_id: str) -> dict:
        for _ in range(50):
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                return entry
            time.sleep(0.1)
        raise ServerError("the run ended but left no history")

    def outputs(self, history: dict, suffix: str) -> list[Path]:
        """Files with this ending that a run saved or showed."""
        found = []
        for node in history["outputs"].values():
            for entries in node.values():
                for entry in entries:
                    if isinstance(entry, dict) and "filename" in entry and str(entry["filename"]).endswith(suffix):
                        found.append(self.base / entry["type"] / entry["subfolder"] / entry["filename"])
        return found


def refusal(text: str) -> str:
    """The reasons in the server's answer to a prompt that it will not run."""
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return text
    reasons = [answer.get("error", {}).get("message", "")] if isinstance(answer.get("error"), dict) else []
    for node, fault in (answer.get("node_errors") or {}).items():
        for error in fault["errors"]:
            reasons.append(f"{fault['class_type']} (node {node}): {error['message']} {error['details']}")
    return "; ".join(filter(None, reasons)) or text
