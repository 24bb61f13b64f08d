"""Trains a small ReDimNet speaker encoder on the small world's speakers: whose recording is it?

A cosine classifier with an additive margin (arXiv 1801.05599) over the training speakers; only the encoder is kept.
"""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nava_core.audio import resample
from nava_core.redimnet import SAMPLE_RATE, ReDimNet, ReDimNetConfig

from ..world import RATE, speech
from .run import Run

STAGES = [(1, 1, 1, [(3, 3)], 12), (2, 1, 1, [(3, 3)], 12), (2, 1, 1, [(3, 3)], 8), (2, 1, 1, [(3, 3)], 4)]


def model_config(config: dict) -> dict:
    """As a released checkpoint says its architecture."""
    return {
        "F": config["mels"], "C": config["channels"], "block_1d_type": "att", "block_2d_type": "convnext_like",
        "group_divisor": 4, "stages_setup": STAGES, "out_channels": None, "embed_dim": 192, "hop_length": 160,
        "pooling_func": "ASTP", "global_context_att": True, "emb_bn": False, "feat_type": "pt",
    }  # fmt: skip


def initialise(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if name.endswith(".w") or "fin_wght1d" in name:
            nn.init.zeros_(parameter)


def recording(number: int, chooser: random.Random, samples: int) -> Tensor:
    """Some speech of a speaker at 16 kHz, `[samples]`: a few words, or a part of a sentence."""
    if chooser.random() < 0.5:
        line = speech.reference(number, chooser.randrange(4))
    else:
        words = []
        for _ in range(3):
            language = chooser.choice(("en", "zh"))
            words.append(speech.word(number, language, chooser.randrange(6), chooser.randrange(3)))
        line = np.concatenate(words)
    need = samples * RATE // SAMPLE_RATE
    line = np.tile(line, need // line.size + 1) if line.size < need else line
    start = chooser.randrange(line.size - need + 1)
    part = resample(torch.from_numpy(line[start : start + need]), RATE, SAMPLE_RATE)
    return part[:samples] * 10 ** chooser.uniform(-1, 0.3) + 10 ** chooser.uniform(-4.5, -2.5) * torch.randn(samples)


class Classifier(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.network = ReDimNet(ReDimNetConfig.from_dict(model_config(config)))
        initialise(self.network)
        self.speakers = nn.Parameter(torch.randn(speech.SPEAKERS, 192))

    def forward(
        self, sound: Tensor, numbers: Tensor, margin: float = 0.15, scale: float = 24.0
    ) -> tuple[Tensor, Tensor]:
        """(loss, share of right answers)."""
        likeness = F.normalize(self.network(sound)) @ F.normalize(self.speakers).T
        right = (likeness.argmax(dim=1) == numbers).float().mean()
        likeness = likeness - margin * F.one_hot(numbers, likeness.shape[1])
        return F.cross_entropy(scale * likeness, numbers), right


def train(config: dict, folder: Path) -> None:
    """config: mels, channels, steps, rate, batch, seconds, seed."""
    torch.manual_seed(config["seed"])
    model = Classifier(config).train()
    run = Run(folder, model, config["steps"], config["rate"])
    chooser = random.Random(config["seed"] + run.step)
    samples = round(config["seconds"] * SAMPLE_RATE)
    for _ in run:
        numbers = [chooser.randrange(speech.SPEAKERS) for _ in range(config["batch"])]
        sound = torch.stack([recording(n, chooser, samples) for n in numbers])
        loss, right = model(sound, torch.tensor(numbers))
        run.learn(loss, {"loss": loss.item(), "right": right.item()})
    weights = {k.removeprefix("network."): v.contiguous() for k, v in run.average.items() if k.startswith("network.")}
    part = folder / "redimnet.part"
    torch.save({"model_config": model_config(config), "state_dict": weights}, part)
    part.replace(folder / "redimnet.pt")
