"""The training objective as released: noise levels, weights, the loss of each stream (`velocity = noise - latent`)."""

from functools import cache

import torch
from torch import Tensor

STEPS = 1000


@cache
def sigma_table(shift: float = 5.0) -> Tensor:
    """The noise levels `[1000]` that training draws from, from 1 down to about 0.02."""
    u = torch.linspace(1, 0.003 / 1.002, STEPS + 1, dtype=torch.float64)[:-1]
    return shift * u / (1 + (shift - 1) * u)


@cache
def weight_table(shift: float = 5.0, least: float = 0.0) -> Tensor:
    """The loss weight `[1000]` of each level: a bell around t = 500, zero at pure noise, of mean 1.

    least: what lower weights are raised to. Near pure noise it is decided where a small body will be.
    """
    y = torch.exp(-2 * (sigma_table(shift) - 0.5) ** 2)
    y = y - y.min()
    return (y * STEPS / y.sum()).clamp(min=least)


def noised(latent: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) * latent + sigma * noise; sigma `[B]`."""
    sigma = sigma.view(-1, *[1] * (latent.ndim - 1)).to(latent)
    return (1 - sigma) * latent + sigma * noise


def stream_loss(
    velocity: Tensor, latent: Tensor, noise: Tensor, weight: Tensor, places: Tensor | None = None
) -> Tensor:
    """Mean over the batch of each sample's weighted mean squared error, in float32; weight `[B]`, places as the latent."""
    error = (velocity.float() - (noise - latent).float()).square()
    if places is not None:
        error = error * places
    return (error.flatten(1).mean(1) * weight.to(error)).mean()


def moving_places(latent: Tensor, extra: float) -> Tensor:
    """Weights `[B, 1, T, h, w]` of mean 1: places that differ from the clip's still picture count up to 1 + extra times.

    A small body that moves is a few places of hundreds; left to the plain mean it is learnt long after all else.
    """
    latent = latent.float()
    apart = (latent - latent.median(dim=2, keepdim=True).values).square().mean(1, keepdim=True)
    moves = apart / (apart + 2 * apart.mean((2, 3, 4), keepdim=True) + 1e-6)
    places = 1 + extra * moves
    return places / places.mean((2, 3, 4), keepdim=True)
