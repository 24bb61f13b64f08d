"""Whether a mouth moves as loudly as its voice sounds."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_frames, check_waveform

STILL = 1e-4  # mean change of a pixel: less is no motion
QUIET = 1e-4  # of full scale


def region(frames: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """Cut `box` = (left, top, width, height), fractions of the picture, out of `frames [T, H, W, C]`; at least one pixel.

    Raises ValueError for a box that is not within the picture.
    """
    left, top, width, height = box
    if not all(map(math.isfinite, box)) or min(left, top) < 0 or min(width, height) <= 0:
        raise ValueError(f"the region {box} must be left, top, width, height as fractions of the picture, 0 to 1")
    if left + width > 1.001 or top + height > 1.001:
        raise ValueError(f"the region {box} reaches beyond the picture: left + width and top + height are at most 1")
    rows, columns = frames.shape[1:3]
    y, x = min(int(top * rows), rows - 1), min(int(left * columns), columns - 1)
    return frames[:, y : max(y + 1, round((top + height) * rows)), x : max(x + 1, round((left + width) * columns))]


def loudness_curve(waveform: Tensor, sample_rate: int, fps: float, count: int) -> Tensor:
    """RMS of `waveform [C, N]` around the time of each of `count` frames, `[count]`."""
    power = F.pad(waveform.double().square().mean(0).cumsum(0), (1, 0)).cpu()
    centre = torch.arange(count) / fps * sample_rate
    half = sample_rate / fps / 2
    low, high = ((centre + d).round().long().clamp(0, power.numel() - 1) for d in (-half, half))
    return ((power[high] - power[low]).clamp(min=0) / (2 * half)).sqrt().float()


def opening_curve(frames: Tensor) -> Tensor:
    """How far `frames [T, H, W, C]` depart from how they look when they are stillest, `[T]`: a mouth at rest is closed."""
    picture = frames[..., :3].float().cpu()
    change = (picture[1:] - picture[:-1]).abs().mean((1, 2, 3))
    motion = F.pad(change, (1, 0)) + F.pad(change, (0, 1))
    if len(motion) > 2:  # the ends have one neighbour only
        motion[0], motion[-1] = 2 * motion[0], 2 * motion[-1]
    still = motion.argsort(stable=True)[: max(1, len(motion) // 5)]
    rest = picture[still].median(0).values
    return (picture - rest).abs().mean((1, 2, 3))


def mouth_agreement(
    frames: Tensor, fps: float, waveform: Tensor, sample_rate: int, box: tuple[float, float, float, float]
) -> float | None:
    """Correlation (-1 to 1) of loudness with mouth motion in `box`; None when nothing moves there or nothing is heard."""
    check_frames(frames, fps)
    check_waveform(waveform, sample_rate)
    if frames.shape[0] < 4:
        return None
    opening = opening_curve(region(frames, box))
    loud = loudness_curve(waveform, sample_rate, fps, frames.shape[0])
    if opening.std() < STILL or loud.max() < QUIET:
        return None
    a, b = opening - opening.mean(), loud - loud.mean()
    return ((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)).item()
