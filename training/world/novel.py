"""Something that NAVA-mini was never shown, for a LoRA to teach it: an orange triangle that goes boing."""

import numpy as np

from . import draw, sound
from .attributes import FLOORS, SKIES
from .clip import RATE, Clip
from .scenes import Request, fall, stage

COLOUR = (250, 120, 10)
FIRST = 4 * 10**6  # seeds of the clips to learn from


def boing(rng: np.random.Generator) -> np.ndarray:
    """A spring: a tone that rises by an octave and wobbles."""
    t = sound.times(0.5)
    pitch = 380 * rng.uniform(0.96, 1.04) * (1 + 1.1 * np.minimum(t / 0.3, 1)) * (1 + 0.06 * np.sin(2 * np.pi * 14 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(3 * phase)
    return (tone * np.exp(-t / 0.18) * np.clip(t / 0.002, 0, 1)).astype(np.float32) * 0.35


def clip(seed: int, request: Request) -> Clip:
    rng = np.random.default_rng([seed, 77])
    floor, sky = str(rng.choice(list(FLOORS))), str(rng.choice(list(SKIES)))
    image, audio = stage(rng, request, sky)
    frames, audio, events = fall(rng, image, audio, floor, COLOUR, draw.triangle, lambda: boing(rng))
    text = (
        f"An orange triangle falls onto a {FLOORS[floor][1]} under {SKIES[sky][2]} and bounces. "
        f"Each contact makes a springy boing. Nobody speaks."
    )
    return Clip(
        "bounce", frames, audio, {"en": [text], "zh": []},
        {"colour": "orange", "shape": "triangle", "floor": floor, "sky": sky, "sound": "boing"}, events,
    )  # fmt: skip
