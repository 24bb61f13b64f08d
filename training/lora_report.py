"""What a LoRA taught NAVA-mini: the same prompts and seeds with and without it, measured and shown."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import nava_core

from . import report
from .world import Request, novel, read
from .world.attributes import COLOURS

FIRST = novel.FIRST + 10**5  # seeds of scenes that the LoRA did not learn from


@torch.no_grad()
def merge(transformer: nn.Module, path: Path, strength: float = 1.0) -> None:
    """Adds a LoRA file's products, times `strength`, to the weights."""
    weights = load_file(path)
    for key in [k for k in weights if k.endswith(".lora_down.weight")]:
        name = key.removesuffix(".lora_down.weight")
        down, up = weights[key], weights[f"{name}.lora_up.weight"]
        weight = transformer.get_submodule(name.removeprefix("diffusion_model.")).weight
        weight += (up @ down) * (strength * weights[f"{name}.alpha"] / down.shape[0])


def colour_of(frames: np.ndarray) -> str:
    """The named colour, orange among them, of most of what moves."""
    return read.colour_of(frames, read.moving(frames, rows=True), COLOURS | {"orange": (novel.COLOUR,)})


def train(config: dict, folder: Path) -> None:
    """config: models, lora (files), strengths, clips (how many), steps, guidance (scales), pages (a folder for the page's pictures)."""
    folder.mkdir(parents=True, exist_ok=True)
    models, full = Path(config["models"]), nava_core.Guidance(**config["guidance"])
    new = [novel.clip(FIRST + i, Request()) for i in range(config["clips"])]
    old = report.scenes("bounce", config["clips"])
    classify = report.sound_classes(
        extra={"boing": [novel.clip(FIRST + 10**4 + i, Request(None, 32, 32)) for i in range(10)]}
    )
    figures, rows, sounds = {}, [], []
    for strength in (0.0, *config["strengths"]):
        name = f"at {strength}" if strength else "without"
        parts = report.load(models)
        merge(parts.transformer, Path(config["lora"]), strength)
        maker = report.Maker(parts, None, folder, config["steps"])
        made, kept = maker.clips(f"new_{name}", new, full), maker.clips(f"old_{name}", old, full)
        figures[f"orange, {name}"] = report.interval([colour_of(f) == "orange" for f, _ in made])
        figures[f"boing, {name}"] = report.interval([classify(s) == "boing" for _, s in made])
        figures[f"other prompts: orange, {name}"] = report.interval([colour_of(f) == "orange" for f, _ in kept])
        figures[f"other prompts: boing, {name}"] = report.interval([classify(s) == "boing" for _, s in kept])
        rows += [f for f, _ in made[:3]]
        sounds += [s for _, s in made[:4]]
    figures["orange, true scenes"] = report.interval([colour_of(c.frames) == "orange" for c in new])
    figures["boing, true scenes"] = report.interval([classify(c.sound) == "boing" for c in new])
    pages = Path(config["pages"])
    report.sheet(rows, pages / "mini_lora_frames.jpg")
    report.spectrograms(parts, sounds, pages / "mini_lora_sounds.png")
    report.write(figures, folder)
