"""The flow-matching noise schedule (paper section 4)."""

import torch
from torch import Tensor

FIRST_SIGMA = 0.999


def flow_sigmas(steps: int, shift: float = 5.0) -> Tensor:
    """Noise levels `[steps + 1]` float32 on the CPU, from almost 1 down to exactly 0.

    The shift is applied twice at the top end, as the released sampler does: once to the first level, once to the
    evenly spaced points. The mix of float32 and float64 reproduces the released values bit for bit.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, at least 1 is needed")
    if shift <= 0:
        raise ValueError(f"shift is {shift}, it must be positive")

    def warp(sigma: Tensor) -> Tensor:
        return shift * sigma / (1 + (shift - 1) * sigma)

    first = warp(torch.tensor(FIRST_SIGMA, dtype=torch.float32)).item()
    levels = warp(torch.linspace(first, 0.0, steps + 1, dtype=torch.float64)[:-1])
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)]).float()


def network_timestep(sigma: Tensor) -> Tensor:
    """The timestep that the network is told: floor(1000 * sigma)."""
    return torch.floor(1000 * sigma)
