"""Trains a small audio VAE (mel spectrogram to latents and back) in the LTX-2.3 layout on the small world's sounds."""

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..world import RATE, Request
from . import ltx
from .run import Run, scenes


def sounds(first_seed: int, keep: int):
    """An endless, changing collection of scenes for their sound alone: the pictures are thumbnails."""
    return scenes(first_seed, keep, lambda seed: Request(width=32, height=32, frames=(33, 49)[seed % 2]))


def batch(clips, chooser: random.Random, count: int, samples: int) -> Tensor:
    """Random cuts of random clips `[count, 2, samples]` at 48 kHz; channels swapped at random."""
    cuts = []
    for _ in range(count):
        sound = torch.from_numpy(chooser.choice(clips).sound)
        start = chooser.randint(0, sound.shape[1] - samples)
        cut = sound[:, start : start + samples] * chooser.uniform(0.5, 1.0)
        cuts.append(cut.flip(0) if chooser.random() < 0.5 else cut)
    return torch.stack(cuts)


def losses(vae, mel: Tensor, noise: float) -> tuple[Tensor, dict[str, float]]:
    latents = vae.autoencoder.encode(mel)[:, :8]
    shape = (mel.shape[0], 2, latents.shape[2] * 4 - 3, 64)
    made = vae.autoencoder.decode(latents + noise * torch.randn_like(latents), target_shape=shape)
    frames = min(made.shape[2], mel.shape[2])
    error = made[:, :, :frames] - mel[:, :, :frames]
    size = latents.square().mean()
    return error.abs().mean() + 0.1 * error.square().mean() + 0.02 * size, {
        "log_mel": error.abs().mean().item(),
        "size": size.item(),
    }


@torch.no_grad()
def set_statistics(vae, clips) -> None:
    """Per-channel means, and the square roots of per-channel deviations scaled to an overall deviation of one.

    Full whitening would blow up the channels that carry nothing.
    """
    rows = []
    for clip in clips:
        latents = vae.autoencoder.encode(ltx.to_mel(vae, torch.from_numpy(clip.sound)[None], RATE))[:, :8]
        rows.append(latents.transpose(1, 2).flatten(2)[0])
    rows = torch.cat(rows)
    deviation = rows.std(dim=0).clamp(min=1e-3)
    scale = deviation.sqrt()
    scale *= (deviation / scale).square().mean().sqrt()
    statistics = vae.autoencoder.per_channel_statistics
    statistics.get_buffer("mean-of-means").copy_(rows.mean(dim=0))
    statistics.get_buffer("std-of-means").copy_(scale)


def train(config: dict, folder: Path) -> None:
    """config: channels, vocoder_channels, bwe_channels, steps, rate, noise, batch, seed; optional init."""
    torch.manual_seed(config["seed"])
    vae = ltx.build(config)
    if config.get("init"):
        vae.autoencoder.load_state_dict(load_file(config["init"]))
    run = Run(folder, vae.autoencoder, config["steps"], config["rate"])
    chooser = random.Random(config["seed"] + run.step)
    source = sounds(2 * 10**6 + run.step, 256)
    for _ in run:
        clips = next(source)
        mel = ltx.to_mel(vae, batch(clips, chooser, config["batch"], 48000), RATE)
        loss, shown = losses(vae, mel, config["noise"])
        run.learn(loss, shown)
    vae.autoencoder.load_state_dict(run.average)
    set_statistics(vae, next(source))
    part = folder / "autoencoder.part"
    save_file({k: v.contiguous() for k, v in vae.autoencoder.state_dict().items()}, part)
    part.replace(folder / "autoencoder.safetensors")
