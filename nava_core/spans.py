"""Spans of time as people write them, and the latent frames and audio steps that lie within them."""

import itertools
import math
import re
import unicodedata

from .sizes import AUDIO_RATE, FPS, FRAMES_PER_LATENT, ClipLength

Span = tuple[float, float]
SPAN = re.compile(r"(\d*\.?\d*)\s*[-‐-―−~〜]\s*(\d*\.?\d*)")
SLACK = 1e-3  # seconds: 0.042 means a frame


def parse_spans(text: str, seconds: float) -> list[Span]:
    """`"0-2, 5.5-"` -> [(0, 2), (5.5, seconds)]; an empty text is the whole clip.

    seconds: the clip's length. Raises ValueError for what is no span, lies beyond the end, or overlaps another.
    """
    text = unicodedata.normalize("NFKC", text)  # full-width digits and commas
    parts = [p.strip() for p in re.split(r"[,;、\n]", text) if p.strip()]
    found = []
    for part in parts:
        match = SPAN.fullmatch(part)
        if match is None or not part.strip("-‐‑‒–—―−~〜"):
            raise ValueError(f"{part!r} is no span of time. Write seconds as 0-2, or 5.5- for all from there on")
        try:
            start, end = float(match[1] or 0), float(match[2] or math.inf)
        except ValueError:
            raise ValueError(f"{part!r} is no span of time. Write seconds as 0-2") from None
        if start >= seconds or (end != math.inf and end > seconds + 1 / AUDIO_RATE):
            raise ValueError(f"{part} lies beyond the clip's end at {seconds:.2f} s")
        if end <= start:
            raise ValueError(f"{part} ends before it begins")
        found.append((start, min(end, seconds)))
    found = sorted(found) or [(0.0, seconds)]
    for (a, b), (c, d) in itertools.pairwise(found):
        if c < b - SLACK:
            raise ValueError(f"{a:g}-{b:g} and {c:g}-{d:g} overlap. Write them as one span")
    return found


def frame_span(latent_frame: int) -> Span:
    """Seconds that a latent frame lasts: the first one frame, each other one four."""
    first = 0 if latent_frame == 0 else FRAMES_PER_LATENT * (latent_frame - 1) + 1
    return first / FPS, (FRAMES_PER_LATENT * latent_frame + 1) / FPS


def runs(kept: list[bool]) -> list[tuple[int, int]]:
    """(first, last) of each run of what is kept."""
    found = []
    for value, group in itertools.groupby(enumerate(kept), key=lambda item: item[1]):
        places = [i for i, _ in group]
        if value:
            found.append((places[0], places[-1]))
    return found


def frames_within(spans: list[Span], latent_frames: int) -> list[int]:
    """Latent frames of which every frame lies within a span."""
    return [i for i in range(latent_frames) if within(*frame_span(i), spans)]


def steps_within(spans: list[Span], steps: int, seconds: float) -> list[int]:
    """Audio steps that lie within a span; the last one may last beyond the clip of `seconds`."""
    return [i for i in range(steps) if within(i / AUDIO_RATE, min((i + 1) / AUDIO_RATE, seconds), spans)]


def within(start: float, end: float, spans: list[Span]) -> bool:
    return any(a - SLACK <= start and end <= b + SLACK for a, b in spans)


def latent_frame_at(second: float) -> int:
    """The latent frame that shows `second`."""
    frame = round(second * FPS)
    return 0 if frame <= 0 else (frame - 1) // FRAMES_PER_LATENT + 1


def clip_seconds(latent_frames: int | None, audio_steps: int) -> float:
    """How long a clip lasts: as its picture, without one as its sound."""
    return audio_steps / AUDIO_RATE if latent_frames is None else ClipLength(latent_frames).seconds
