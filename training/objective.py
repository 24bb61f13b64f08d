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
def weight_table(shift: float = 5.0) -> Tensor:
    """The loss weight `[1000]` of each level: a bell around t = 500, zero at pure noise, of mean 1."""
    y = torch.exp(-2 * (sigma_table(shift) - 0.5) ** 2)
    y = y - y.min()
    return y * STEPS / y.sum()


def noised(latent: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) * latent + sigma * noise; sigma `[B]`."""
    sigma = sigma.view(-1, *[1] * (latent.ndim - 1)).to(latent)
    return (1 - sigma) * latent + sigma * noise


def stream_loss(velocity: Tensor, latent: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch of each sample's weighted mean squared error, in float32; weight `[B]`."""
    error = (velocity.float() - (noise - latent).float()).square().flatten(1).mean(1)
    return (error * weight.to(error)).mean()
