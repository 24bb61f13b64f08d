"""What `run.py train CONFIG.toml` runs: picks the training that the config's `kind` names."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from nava_core.text_file import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = {
    "linear": "codecs.linear",  # the code of the video VAE
    "video_vae": "codecs.video",
    "audio_vae": "codecs.audio",
    "vocoder": "codecs.vocoder",
    "voice_encoder": "codecs.voice",
    "pieces": "text_encoder",  # a tokenizer
    "encode": "encode",  # a folder of clips and prompts -> samples
    "samples": "cache",  # scenes of the small world, encoded
    "pick": "pick",  # some of such samples
    "assemble": "assemble",  # files for ComfyUI
    "report": "report",  # how good they are
    "lesson": "lesson",  # clips to teach a LoRA from
    "lora_report": "lora_report",  # what it learnt
    "transformer": "transformer",  # from the start, or a LoRA
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        config = tomllib.loads(read_text(options.config))
    except (OSError, ValueError) as error:
        print(f"{options.config} cannot be read as a config: {error}", file=sys.stderr)
        return 1
    if config.get("kind") not in KINDS:
        print(f"{options.config}: kind is {config.get('kind')!r}; choose one of {', '.join(KINDS)}", file=sys.stderr)
        return 1
    sys.path.insert(0, os.environ["NAVA_HOST"])
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    if config.get("threads"):
        torch.set_num_threads(config["threads"])
    training = importlib.import_module(f"training.{KINDS[config['kind']]}")
    try:
        training.train(config, options.out or Path("runs") / options.config.stem)
    except (ValueError, FileNotFoundError) as error:
        print(f"{options.config}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
