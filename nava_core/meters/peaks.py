"""Peaks of a curve."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pick(
    strength: Tensor, surroundings: int, suppression: int, share: float, above: float, floor: float = 0.0
) -> list[int]:
    """Steps at which `strength [K]`, >= 0, peaks: nothing larger within `suppression` steps, more than `above` times the mean
    of `surroundings` steps on either side, more than `share` of the largest value, and more than `floor`."""
    if strength.numel() == 0 or strength.max() <= floor:
        return []
    padded = F.pad(strength[None], (surroundings, surroundings))[0]
    local = padded.unfold(0, 2 * surroundings + 1, 1).mean(1)
    threshold = torch.maximum(above * local, (share * strength.max()).clamp(min=floor))
    highest = F.max_pool1d(strength[None], 2 * suppression + 1, stride=1, padding=suppression)[0]
    found: list[int] = []
    for k in ((strength >= highest) & (strength > threshold)).nonzero().flatten().tolist():
        if not found or k - found[-1] > suppression:  # the first of equals
            found.append(k)
    return found
