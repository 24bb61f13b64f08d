"""A linear teacher for the video VAE: the best 48 numbers for a block of 4 frames by 16 by 16 pixels.

A narrow encoder and decoder that must agree on a code of their own learn slowly. Here the code is settled first, by
principal components, and both are taught it apart from each other; the transformer can be trained on it meanwhile.
Three of the 48 directions are the ones that the host's preview reads, and hold the block's mean colour, so the preview is
right by construction. The others are scaled by the square root of their deviation: full whitening would turn components
that hardly matter into full-strength noise.
"""

from pathlib import Path

import torch
from comfy.latent_formats import Wan22
from einops import rearrange, repeat
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..world import Request, scene

COLOURS = 3


def blocks_of(frames: Tensor) -> Tensor:
    """`[B, 3, 1 + 4k, H, W]` -> `[B, 1 + k, H/16, W/16, 3072]`; the first frame counts as four equal ones."""
    first = repeat(frames[:, :, :1], "b c 1 h w -> b c f h w", f=4)
    return rearrange(
        torch.cat([first, frames[:, :, 1:]], dim=2), "b c (t f) (h p) (w q) -> b t h w (f p q c)", f=4, p=16, q=16
    )


class Teacher:
    """code = mean colour and components of the rest, as normalised latents `[B, 48, T, H/16, W/16]`."""

    def __init__(self, weights: dict[str, Tensor]):
        self.weights = weights

    @staticmethod
    def load(path: Path) -> "Teacher":
        return Teacher(load_file(path))

    def encode(self, frames: Tensor) -> Tensor:
        w = self.weights
        blocks = blocks_of(frames)
        colour = blocks.unflatten(-1, (-1, 3)).mean(-2)
        code = (blocks - w["mean"]) @ w["encode"] + colour @ w["colour"] + w["offset"]
        return code.permute(0, 4, 1, 2, 3)

    def decode(self, code: Tensor) -> Tensor:
        """The best linear reconstruction, `[B, 3, 1 + 4k, H, W]`."""
        w = self.weights
        code = code.permute(0, 2, 3, 4, 1)
        colour = code @ w["preview"] + w["preview_offset"]
        blocks = code @ w["decode"] + w["mean"] + colour.repeat(*[1] * (code.ndim - 1), 1024)
        frames = rearrange(blocks, "b t h w (f p q c) -> b c (t f) (h p) (w q)", f=4, p=16, q=16)
        return torch.cat([frames[:, :, :4].mean(2, keepdim=True), frames[:, :, 4:]], dim=2)


def fit(blocks: Tensor) -> Teacher:
    """The teacher of `[n, 3072]` blocks of the world."""
    host = Wan22()
    preview, bias = torch.tensor(host.latent_rgb_factors), torch.tensor(host.latent_rgb_factors_bias)
    to_code = torch.linalg.pinv(preview)  # [3, 48]
    null = torch.linalg.svd(preview.T, full_matrices=True)[2][COLOURS:]  # [45, 48]
    colour = blocks.unflatten(-1, (-1, 3)).mean(-2)
    rest = blocks - colour.repeat(1, 1024)
    mean = rest.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((rest - mean).T))
    values, vectors = values.flip(0)[:45], vectors.flip(1)[:, :45]
    scale = values.clamp(min=1e-6) ** 0.25  # of the deviation's square root
    used = ((colour - bias) @ to_code).square().sum(-1).mean()
    total = (values / scale.square()).sum()
    gain = ((48 - used).clamp(min=12) / total).sqrt() / scale
    return Teacher(
        {
            "mean": mean,
            "encode": (vectors * gain) @ null,
            "decode": null.T @ (vectors / gain).T,
            # the blocks' own mean colour is taken out of them before, so it must not be seen by `encode`
            "colour": to_code - torch.eye(3).repeat(1, 1024) @ (vectors * gain) @ null,
            "offset": -bias @ to_code,
            "preview": preview,
            "preview_offset": bias,
        }
    )


def train(config: dict, folder: Path) -> None:
    """config: clips, seed. Writes linear.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    generator = torch.Generator().manual_seed(config["seed"])
    for seed in range(config["clips"]):
        frames = (
            torch.from_numpy(scene(4 * 10**6 + seed, Request(frames=33)).frames).permute(3, 0, 1, 2)[None].float()
            / 127.5
            - 1
        )
        blocks = blocks_of(frames)[:, 1:].flatten(0, 3)
        rows.append(blocks[torch.randperm(len(blocks), generator=generator)[:150]])
    teacher = fit(torch.cat(rows))
    held = torch.from_numpy(scene(1, Request("bounce", test=True)).frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    code = teacher.encode(held)
    error = (teacher.decode(code) - held).square().mean()
    print(
        f"linear: {10 * torch.log10(4 / error):.1f} dB on an unseen scene, mean square of the code {code.square().mean():.2f}"
    )
    save_file({k: v.contiguous() for k, v in teacher.weights.items()}, folder / "linear.safetensors")
