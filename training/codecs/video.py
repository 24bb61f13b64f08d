"""Trains a small video VAE in the Wan2.2 layout on the small world, its two halves apart, on the code of `linear.py`.

The decoder learns to draw from the teacher's code, the encoder to find it. What the transformer sees are latents
normalised with the host's Wan2.2 statistics, and the teacher's code is in those.
"""

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..precision import autocast
from ..world import Request
from . import wan
from .linear import Teacher
from .muon import Muon
from .run import Run, scenes

SMALL = ((4, 5, 64, 64), (2, 9, 64, 96))  # batch, frames, height, width
LARGE = ((2, 9, 96, 128), (1, 5, 160, 256))
PARTS = {"encoder": ("encoder", "conv1"), "decoder": ("decoder", "conv2")}


def initialise(vae: wan.WanVAE) -> None:
    """The host leaves weights unset. Residual branches start quiet, and a quarter of the channels starts constant: the
    RMS norms would otherwise take away how bright things are."""
    for name, parameter in vae.named_parameters():
        if name.endswith("gamma"):
            nn.init.ones_(parameter)
        elif parameter.ndim > 1:
            if parameter.shape[2:].numel() > 1 or "shortcut" in name:
                nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            else:
                nn.init.kaiming_uniform_(parameter, a=5**0.5)
            if "residual.6" in name or ".resample.1." in name or "time_conv" in name:
                parameter.data *= 0.3
        else:
            nn.init.zeros_(parameter)
    with torch.no_grad():
        for bias in (vae.encoder.conv1.bias, vae.decoder.conv1.bias):
            bias[-bias.shape[0] // 4 :] = 1.5
        for module in vae.modules():
            if hasattr(module, "time_conv"):  # starts by keeping, or doubling, frames
                weight = module.time_conv.weight
                for row in range(weight.shape[0]):
                    weight[row, row % weight.shape[1], -1] += 1
        for convolution in (vae.conv1, vae.conv2):
            count = convolution.weight.shape[0]
            convolution.weight.copy_(torch.eye(count).view(count, count, 1, 1, 1))


def batch(clips, chooser: random.Random, crops) -> Tensor:
    """Random crops of random clips, `[B, 3, T, H, W]` in -1..1."""
    count, *size = chooser.choice(crops)
    taken = []
    for _ in range(count):
        pixels = chooser.choice(clips).frames
        if pixels.shape[1] < size[1] or pixels.shape[2] < size[2]:
            pixels = pixels.swapaxes(1, 2)
        a, b, c = (chooser.randint(0, have - need) for have, need in zip(pixels.shape[:3], size, strict=True))
        taken.append(torch.from_numpy(pixels[a : a + size[0], b : b + size[1], c : c + size[2]].copy()))
    return torch.stack(taken).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def decoder_loss(vae, teacher: Teacher, frames: Tensor, noise: float) -> tuple[Tensor, dict[str, float]]:
    mean, std = wan.statistics()
    with torch.no_grad():
        code = teacher.encode(frames)
    with autocast("cpu"):
        made = wan.decode(vae, (code + noise * torch.randn_like(code)) * std + mean).float()
    error = made - frames
    mse = error.square().mean()
    return error.abs().mean() + 4 * mse, {"psnr": 10 * torch.log10(4 / mse).item()}


def encoder_loss(vae, teacher: Teacher, frames: Tensor, _: float) -> tuple[Tensor, dict[str, float]]:
    mean, std = wan.statistics()
    with torch.no_grad():
        code = teacher.encode(frames)
    with autocast("cpu"):
        found = (wan.encode(vae, frames).float() - mean) / std
    error = (found - code).square().mean()
    return error + (found - code).abs().mean(), {"error": error.item(), "size": code.square().mean().item()}


def train(config: dict, folder: Path) -> None:
    """config: part (encoder, decoder), dim, dec_dim, teacher (a file), steps, rate, noise, seed; optional init (a file)."""
    torch.manual_seed(config["seed"])
    vae = wan.build(config["dim"], config["dec_dim"])
    initialise(vae)
    if config.get("init"):
        vae.load_state_dict({k: v.float() for k, v in load_file(config["init"]).items()}, strict=False)
    teacher = Teacher.load(config["teacher"])
    half = nn.ModuleDict({name: vae.get_submodule(name) for name in PARTS[config["part"]]})
    run = Run(folder, half, config["steps"], config["rate"], optimiser=Muon(half, config["rate"]))
    chooser = random.Random(config["seed"] + run.step)
    source = scenes(
        10**6 + run.step, 64, lambda seed: Request(width=(256, 160)[seed % 4 == 3], height=(160, 256)[seed % 4 == 3])
    )
    loss_of = {"encoder": encoder_loss, "decoder": decoder_loss}[config["part"]]
    for step in run:
        crops = SMALL if step < config["steps"] // 2 else SMALL + LARGE
        loss, shown = loss_of(vae, teacher, batch(next(source), chooser, crops), config["noise"])
        run.learn(loss, shown)
    part = folder / "half.part"
    save_file({k: v.contiguous() for k, v in run.average.items()}, part)
    part.replace(folder / f"{config['part']}.safetensors")


def join(encoder: Path, decoder: Path, target: Path) -> None:
    """One file in the released layout out of two halves, in float16; either may be a whole file, of which it is one half."""
    weights = {
        k: v
        for half, path in (("encoder", encoder), ("decoder", decoder))
        for k, v in load_file(path).items()
        if k.startswith(tuple(f"{module}." for module in PARTS[half]))
    }
    part = target.with_suffix(".part")
    save_file({k: v.half().contiguous() for k, v in weights.items()}, part)
    part.replace(target)
