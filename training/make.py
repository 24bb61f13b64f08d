"""`run.py train CONFIG.toml` for the codecs: picks the training that the config's `kind` names."""

import argparse
import importlib
import sys
import tomllib
from pathlib import Path

KINDS = {
    "linear": "codecs.linear", "video_vae": "codecs.video", "audio_vae": "codecs.audio", "vocoder": "codecs.vocoder",
    "voice_encoder": "codecs.voice", "pieces": "text_encoder", "samples": "cache", "transformer": "transformer",
}  # fmt: skip


def main(host: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    config = tomllib.loads(options.config.read_text())
    sys.path.insert(0, host)
    from comfy.cli_args import args

    args.cpu = True
    import torch

    torch.set_num_threads(config.get("threads", 1))
    importlib.import_module(f"training.{KINDS[config['kind']]}").train(config, options.out or Path("runs") / options.config.stem)


if __name__ == "__main__":
    import os

    main(os.environ["NAVA_HOST"])
