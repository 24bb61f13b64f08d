"""ComfyUI with the pack, for a browser. Runs in the pack's virtual environment."""

import argparse
import socket
import sys
from pathlib import Path

import environment
import tiny
from comfy_server import Server, ServerError, has_accelerator


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    env = environment.running()
    base = environment.base_folder(env, "base", options.models)
    tiny.make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            print(f"Port {options.port} is in use: choose another with --port", file=sys.stderr)
            return 1
    try:
        with Server(env.host, base, cpu=not has_accelerator(), port=options.port) as server:
            print(f"ComfyUI with NAVA: http://{server.address}   (Ctrl-C ends it; its log: {server.log})", flush=True)
            server.wait()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
