"""What is wrong with a picture by itself."""

from dataclasses import dataclass

from torch import Tensor

from .checks import check_frames
from .events import small

STILL = 1 / 512  # mean change of a pixel: less than half a step of 8 bits, twice


@dataclass(frozen=True)
class PictureQuality:
    """stillness: share of frames that hardly differ from the one before. flicker: mean change of the brightness of the whole
    from frame to frame that the next frame takes back, 0..1. drift: how far the average colours have moved from the first
    picture's at the end, 0..1; jump: mean change of a pixel from the first picture to the second, less that of the next
    frames (a first picture that was given and then left). None: there are too few frames."""

    stillness: float | None
    flicker: float | None
    drift: float | None
    jump: float | None


def picture_quality(frames: Tensor) -> PictureQuality:
    """Measure `frames [T, H, W, C]`, 0..1. Raises ValueError for what is no picture."""
    check_frames(frames, 1)
    picture = small(frames).cpu()
    count = picture.shape[0]
    if count < 2:
        return PictureQuality(None, None, None, None)
    change = (picture[1:] - picture[:-1]).abs().mean((1, 2, 3))
    bright = picture.mean((1, 2, 3))
    flicker = None
    if count > 2:
        first, second = bright[1:-1] - bright[:-2], bright[2:] - bright[1:-1]
        back = (first.abs() + second.abs() - (first + second).abs()) / 2  # the smaller, where the signs differ
        flicker = back.mean().item()
    colours = picture.mean((2, 3))  # [T, C]
    last = colours[-max(1, count // 8) :].mean(0)
    jump = (change[0] - change[1:4].mean()).item() if count > 3 else None
    return PictureQuality(
        stillness=(change < STILL).float().mean().item(),
        flicker=flicker,
        drift=(last - colours[0]).abs().mean().item(),
        jump=jump,
    )
