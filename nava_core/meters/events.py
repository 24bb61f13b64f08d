"""Where something happens in a picture: motion that turns back or ends at once, light that goes on."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .peaks import pick

SIDE = 256  # the longer side to which larger pictures are averaged down
SPAN = 1 / 24  # seconds over which motion is compared
BETWEEN = (
    0.7  # a smooth turn between two frames gives twice what it gives on one; this evens it out against an impact's
)
MOTION_NET = 0.15  # what moves brightens as many pixels as it darkens, up to this share of all change
SURROUNDINGS = 0.25  # seconds on either side against which a peak is judged
SUPPRESSION = 0.08  # seconds: nearer peaks are one event
SHARE = 0.12  # of the clip's largest value
ABOVE = 1.6  # times the mean of its surroundings
FLOOR = 2e-4  # mean change of a pixel, 0..1: below it nothing is to be seen


def small(frames: Tensor) -> Tensor:
    """`[T, H, W, C]` -> `[T, C, h, w]` float32, alpha left out, at most 256 on the longer side."""
    frames = frames[..., :3].movedim(-1, 1).float().contiguous()
    longer = max(frames.shape[-2:])
    if longer <= SIDE:
        return frames
    height, width = (max(1, round(n * SIDE / longer)) for n in frames.shape[-2:])
    return F.interpolate(frames, (height, width), mode="area")


def change(picture: Tensor, apart: int) -> Tensor:
    """Mean change of a pixel from each picture to the one `apart` frames later, `[T - apart]`."""
    return (picture[apart:] - picture[:-apart]).abs_().mean((1, 2, 3))


def event_strength(frames: Tensor, fps: float) -> Tensor:
    """How much happens, in half frames: `frames [T, H, W, C]` 0..1 -> `[2T - 1]`, value k for the time k / 2 / fps.

    Motion that turns back: what changed before a moment and after it, less twice what remains changed. Whatever moves on,
    slowly or quickly, remains changed by at least half of it and gives nothing, and neither does noise, by its mean; what
    comes back the way it went gives all it changed. Light that goes on: change that brightens more than it darkens.
    """
    count = frames.shape[0]
    strength = torch.zeros(2 * count - 1)
    picture = small(frames).cpu()
    s = max(1, round(fps * SPAN))
    if count <= s:
        return strength
    moved = change(picture, s)
    bright = picture.mean((1, 2, 3))
    light = 2 * (bright[s:] - bright[:-s] - MOTION_NET * moved).clamp(min=0)
    strength[torch.arange(s, count) * 2 - 1] = light  # it went on between two frames
    for whole in (2 * s, 2 * s + 1):  # around a frame, and between two
        if count <= whole:
            break
        turned = (moved[: count - whole] + moved[whole - s :] - 2 * change(picture, whole)).clamp(min=0)
        at = torch.arange(count - whole) * 2 + whole
        strength[at] = torch.maximum(strength[at], turned * (BETWEEN if whole % 2 else 1))
    return strength


def pick_events(strength: Tensor, fps: float) -> list[float]:
    """Seconds of the peaks of what `event_strength` returns."""
    per_second = 2 * fps
    around, apart = round(SURROUNDINGS * per_second), max(1, round(SUPPRESSION * per_second))
    return [k / per_second for k in pick(strength, around, apart, SHARE, ABOVE, FLOOR)]


def events(frames: Tensor, fps: float) -> list[float]:
    """Seconds at which something happens in `frames [T, H, W, C]`; [] for a still or evenly moving picture."""
    return pick_events(event_strength(frames, fps), fps)
