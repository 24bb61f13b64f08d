"""How long, how large: frames, audio steps and picture shapes that the model was trained on."""

import itertools
import math
from dataclasses import dataclass

FPS = 24
AUDIO_RATE = 25  # audio latent steps a second
PIXELS = 16  # per latent value
STEP = 32  # sizes are multiples of this: two latent values make a patch
FRAMES_PER_LATENT = 4
TRAINED_SECONDS = 10.0
MAX_SECONDS = 30.0

# Short x long side in latent values, from square to 2:5.
TRAINED_SHAPES = ((60, 60), (54, 66), (52, 68), (46, 74), (44, 80), (42, 84), (38, 96))
NAMED_RATIOS = (1 / 1, 4 / 5, 3 / 4, 2 / 3, 9 / 16, 1 / 2, 2 / 5)


@dataclass(frozen=True)
class ClipLength:
    """One length in all its units."""

    latent_frames: int

    @property
    def frames(self) -> int:
        return FRAMES_PER_LATENT * (self.latent_frames - 1) + 1

    @property
    def seconds(self) -> float:
        return self.frames / FPS

    @property
    def audio_steps(self) -> int:
        return math.ceil(self.frames * AUDIO_RATE / FPS)

    @classmethod
    def nearest(cls, frames: float) -> "ClipLength":
        """The length closest to `frames`, at least one frame."""
        return cls(max(1, round((frames - 1) / FRAMES_PER_LATENT) + 1))


def latent_frames_more(seconds: float) -> int:
    """Latent frames by which a clip that goes on becomes longer: whole groups of four frames, at least one."""
    return max(1, round(seconds * FPS / FRAMES_PER_LATENT))


def check_side(pixels: int, name: str) -> int:
    """Latent values along a side of `pixels`; raises ValueError when it is not a positive multiple of 32."""
    if pixels < STEP or pixels % STEP:
        low = max(STEP, pixels // STEP * STEP)
        raise ValueError(f"{name} is {pixels}, NAVA needs a multiple of {STEP}: use {low} or {low + STEP}")
    return pixels // PIXELS


def nearest_trained_shape(width: int, height: int) -> tuple[int, int]:
    """The trained (width, height) in pixels whose aspect is nearest to a picture's.

    Between two neighbouring shapes the border is the mean of their named ratios (short side over long side).
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width}x{height} pixels has no shape")
    ratio = min(width, height) / max(width, height)
    index = sum(ratio < (a + b) / 2 for a, b in itertools.pairwise(NAMED_RATIOS))
    short, long = (side * PIXELS for side in TRAINED_SHAPES[index])
    return (long, short) if width >= height else (short, long)


def far_from_trained(width: int, height: int) -> bool:
    """Whether a picture has less than half or more than twice the pixels of the trained shapes, or is longer than they."""
    short, long = TRAINED_SHAPES[0]
    area = short * long * PIXELS**2
    return (
        not area / 2 <= width * height <= area * 2 or min(width, height) / max(width, height) < NAMED_RATIOS[-1] * 0.95
    )
