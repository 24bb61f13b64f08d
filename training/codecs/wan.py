"""The Wan2.2 video VAE of the host, run over whole clips at once.

The host's own encode and decode go through a clip in groups of four frames with caches, to bound memory. On small clips
that is slow, and gradients do not like it; the functions here give the same numbers in one go.
"""

import torch
from comfy.latent_formats import Wan22
from comfy.ldm.wan.vae2_2 import Resample, WanVAE, patchify, unpatchify
from einops import rearrange
from torch import Tensor

SIZES = {"z_dim": 48, "dim_mult": [1, 2, 4, 4], "temperal_downsample": [False, True, True]}


def build(dim: int, dec_dim: int) -> WanVAE:
    """An untrained VAE in the Wan2.2 layout; dim is the encoder's width, dec_dim the decoder's."""
    return WanVAE(dim=dim, dec_dim=dec_dim, **SIZES)


def statistics() -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[1, 48, 1, 1, 1]` by which the host normalises latents."""
    known = Wan22()
    return known.latents_mean, known.latents_std


def _resample(module: Resample, x: Tensor) -> Tensor:
    # the first frame stands alone in time: it is neither averaged with nor doubled as the others are
    if module.mode == "upsample3d" and x.shape[2] > 1:
        later = module.time_conv(x[:, :, 1:])
        later = rearrange(later, "b (two c) t h w -> b c (t two) h w", two=2)
        x = torch.cat([x[:, :, :1], later], dim=2)
    frames = x.shape[2]
    x = module.resample(rearrange(x, "b c t h w -> (b t) c h w"))
    x = rearrange(x, "(b t) c h w -> b c t h w", t=frames)
    if module.mode == "downsample3d" and x.shape[2] > 1:
        x = torch.cat([x[:, :, :1], module.time_conv(x)], dim=2)
    return x


def _walk(modules, x: Tensor) -> Tensor:
    for module in modules:
        x = _resample(module, x) if isinstance(module, Resample) else module(x)
    return x


def encode(vae: WanVAE, frames: Tensor) -> Tensor:
    """`[B, 3, 1 + 4k, H, W]` in -1..1 -> latents `[B, 48, 1 + k, H/16, W/16]`, not normalised."""
    net = vae.encoder
    x = net.conv1(patchify(frames, 2))
    for block in net.downsamples:
        x = _walk(block.downsamples, x) + block.avg_shortcut(x)
    return vae.conv1(_walk([*net.middle, *net.head], x)).chunk(2, dim=1)[0]


def decode(vae: WanVAE, latents: Tensor) -> Tensor:
    """The inverse of `encode`."""
    net = vae.decoder
    x = _walk(net.middle, net.conv1(vae.conv2(latents)))
    for block in net.upsamples:
        main = _walk(block.upsamples, x)
        x = main if block.avg_shortcut is None else main + block.avg_shortcut(x, first_chunk=True)
    return unpatchify(_walk(net.head, x), 2)
