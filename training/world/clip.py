"""What a scene of the small world is."""

from dataclasses import dataclass, field

import numpy as np

FPS = 24
RATE = 48000


@dataclass(frozen=True)
class Speech:
    """One spoken line: its words, who speaks, when (seconds), and where the face is (-1 left to 1 right)."""

    words: str
    speaker: int
    start: float
    end: float
    side: float


@dataclass(frozen=True)
class Clip:
    """frames `[T, H, W, 3]` uint8 at 24 fps; sound `[2, N]` float32 at 48 kHz, as long as the frames.

    captions: {"en": several wordings, "zh": several wordings}, each a whole prompt. events: seconds at which something
    is seen and heard to happen. mouths: per face (x, y, radius) in pixels. attributes: what the prompt must bring about.
    """

    kind: str
    frames: np.ndarray
    sound: np.ndarray
    captions: dict[str, list[str]]
    attributes: dict[str, str]
    events: list[float] = field(default_factory=list)
    speech: list[Speech] = field(default_factory=list)
    mouths: list[tuple[float, float, float]] = field(default_factory=list)
