"""ComfyUI with the pack, for a browser. Runs in the pack's virtual environment."""

import argparse
import signal
import socket
import sys
from pathlib import Path

import environment
import small_set
import tiny
from comfy_server import Server, ServerError, has_accelerator


def stop(*_) -> None:
    """What a service manager or `kill` asks for ends as Ctrl-C does, and ComfyUI with it."""
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    env = environment.running()
    base = environment.base_folder(env, "base", options.models)
    small_set.chosen().make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            print(f"Port {options.port} is in use: choose another with --port", file=sys.stderr)
            return 1
    signal.signal(signal.SIGTERM, stop)
    try:
        with Server(env.host, base, cpu=not has_accelerator(), port=options.port) as server:
            print(f"ComfyUI with NAVA: http://{server.address}   (Ctrl-C ends it; its log: {server.log})", flush=True)
            code = server.wait()
            print(
                f"ComfyUI ended by itself (exit status {code}); the end of its log:\n{server.log_tail()}",
                file=sys.stderr,
            )
            return 1
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
