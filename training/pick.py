"""Picks samples by what they show, so that a training can go on with more of what it finds hard."""

import random
from pathlib import Path

from .samples import read_shard, write_shard

# words of the small world's captions that tell a scene's kind, looked for in this order
WORDS = {
    "two_faces": ("two faces",),
    "talk": ("<s>",),
    "bounce": ("bounce", "bouncing", "falls", "drops", "lands"),
    "tick": ("pendulum", "metronome", "lamp"),
    "weather": ("",),
}


def kind_of(prompt: str) -> str:
    return next(kind for kind, words in WORDS.items() if any(w in prompt.lower() for w in words))


def train(config: dict, folder: Path) -> None:
    """config: samples (a folder), seed, shares (of each kind, 0..1). Writes shards of the samples it kept into `folder`."""
    chooser, kept = random.Random(config["seed"]), []
    for path in sorted(Path(config["samples"]).glob("*.safetensors")):
        for sample in read_shard(path):
            share = config["shares"].get(kind_of(sample.prompts[0]), 1.0)
            if share >= 1 or chooser.random() < share:
                kept.append(sample)
    chooser.shuffle(kept)
    for start in range(0, len(kept), 40):
        write_shard(folder / f"{start // 40:05}.safetensors", kept[start : start + 40])
    print(f"{len(kept)} samples in {folder}")
