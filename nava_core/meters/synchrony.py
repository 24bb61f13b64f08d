"""Whether what is heard happens when it is seen: matches of onsets and events, AV-Align (TempoTokens), and the best lag."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_frames, check_waveform
from .events import event_strength, pick_events
from .onsets import STEPS_PER_SECOND, onset_strength, pick_onsets

FRAME = 1 / 24  # seconds: NAVA's frame; the earliest that people notice is about 45 ms (ITU-R BT.1359)
BLUR = 0.02  # seconds, sigma: half a frame, the precision of a picture
MAX_LAG = 1.0
APART = 0.1  # seconds: correlation peaks nearer than that are the same peak
RESOLUTION = STEPS_PER_SECOND


@dataclass(frozen=True)
class Synchrony:
    """All times in seconds. None: cannot be measured, and `notes` says why.

    precision: share of the sounds that have an event; recall: share of the events that have a sound; f1: their harmonic mean;
    av_align: hits / (sounds + events - hits). lag: by how much the sound is late (negative: early); sharpness: 0 when another
    lag fits as well, 1 when no other fits at all. correlation: of both curves as they are, -1 to 1.
    onset_curve, event_curve: both strengths, largest 1, per 5 ms.
    """

    sounds: list[float]
    pictures: list[float]
    pairs: list[tuple[int, int]]
    precision: float | None
    recall: float | None
    f1: float | None
    av_align: float | None
    lag: float | None
    sharpness: float | None
    correlation: float | None
    onset_curve: Tensor
    event_curve: Tensor
    notes: list[str] = field(default_factory=list)


def match(first: list[float], second: list[float], within: float) -> list[tuple[int, int]]:
    """The most one-to-one pairs (index, index) of two sorted lists of seconds that lie no further apart than `within`."""
    pairs, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if abs(first[i] - second[j]) <= within + 1e-4:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    return pairs


def blurred(curve: Tensor) -> Tensor:
    """Smoothed over half a frame, of mean 0 and length 1; all zeros when nothing happens."""
    reach = round(3 * BLUR * RESOLUTION)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / (BLUR * RESOLUTION)) ** 2)
    smooth = F.conv1d(curve[None, None], kernel[None, None] / kernel.sum(), padding=reach)[0, 0]
    smooth = smooth - smooth.mean()
    return smooth / smooth.norm().clamp(min=1e-8)


def best_lag(sound: Tensor, picture: Tensor) -> tuple[float, float]:
    """(seconds by which curve `sound [K]` is late against `picture [K]`, sharpness 0..1); both of `blurred`."""
    reach = min(round(MAX_LAG * RESOLUTION), sound.numel() - 1)
    scores = F.conv1d(F.pad(sound[None, None], (reach, reach)), picture[None, None])[0, 0]
    best = int(scores.argmax())
    peaks = scores >= F.max_pool1d(scores[None], 3, stride=1, padding=1)[0]
    near = (torch.arange(scores.numel()) - best).abs() <= APART * RESOLUTION
    others = scores[peaks & ~near]
    second = max(0.0, others.max().item()) if others.numel() else 0.0
    lag = (best - reach) / RESOLUTION
    return lag, 1 - second / max(scores[best].item(), 1e-8)


def per_step(strength: Tensor, per_second: float, steps: int) -> Tensor:
    """A curve of any rate at this module's, `[steps]`, its largest value 1."""
    at = torch.arange(steps) / RESOLUTION * per_second
    low = at.floor().long().clamp(max=strength.numel() - 1)
    high = (low + 1).clamp(max=strength.numel() - 1)
    curve = torch.lerp(strength[low], strength[high], (at - low).clamp(0, 1))
    curve = torch.where(at > strength.numel(), 0, curve)
    return curve / strength.max().clamp(min=1e-8)


def seen(frames: Tensor, fps: float, steps: int) -> tuple[list[float], Tensor]:
    """Seconds at which something is seen to happen, and how much, `[steps]` at RESOLUTION, largest 1."""
    strength = event_strength(frames, fps)
    return pick_events(strength, fps), per_step(strength, 2 * fps, steps)


def heard(waveform: Tensor, sample_rate: int, steps: int) -> tuple[list[float], Tensor]:
    """Seconds at which sounds begin, and how much, as `seen` has it."""
    strength = onset_strength(waveform, sample_rate)
    return pick_onsets(strength), per_step(strength, STEPS_PER_SECOND, steps)


def synchrony(frames: Tensor, fps: float, waveform: Tensor, sample_rate: int, within: float | None = None) -> Synchrony:
    """Measure `frames [T, H, W, C]` (0..1) at `fps` against `waveform [C, N]` that begins with the first frame.

    within: seconds that a sound may be away from its event; by default one frame, and never less than one of 24 a second.
    Raises ValueError for shapes or rates that are none.
    """
    check_frames(frames, fps)
    check_waveform(waveform, sample_rate)
    within = max(1 / fps, FRAME) if within is None else within
    steps = math.ceil(max(frames.shape[0] / fps, waveform.shape[-1] / sample_rate) * RESOLUTION)
    pictures, event_curve = seen(frames, fps, steps)
    sounds, onset_curve = heard(waveform, sample_rate, steps)
    pairs = match(sounds, pictures, within)
    hits, notes = len(pairs), []
    if frames.shape[0] / fps < 0.25:
        notes.append("the clip is too short for events to be seen in it")
    if not sounds:
        notes.append("no sound begins anywhere" if waveform.abs().max() > 1e-4 else "there is only silence")
    if not pictures:
        notes.append("nothing is seen to happen: the picture is still, or moves evenly")
    lag = sharpness = correlation = None
    if sounds and pictures:
        a, b = blurred(onset_curve), blurred(event_curve)
        (lag, sharpness), correlation = best_lag(a, b), (a * b).sum().item()
    return Synchrony(
        sounds=sounds,
        pictures=pictures,
        pairs=pairs,
        precision=hits / len(sounds) if sounds else None,
        recall=hits / len(pictures) if pictures else None,
        f1=2 * hits / (len(sounds) + len(pictures)) if sounds or pictures else None,
        av_align=hits / (len(sounds) + len(pictures) - hits) if sounds or pictures else None,
        lag=lag,
        sharpness=sharpness,
        correlation=correlation,
        onset_curve=onset_curve,
        event_curve=event_curve,
        notes=notes,
    )


def shift(waveform: Tensor, seconds: float, sample_rate: int) -> Tensor:
    """`waveform [..., N]` later by `seconds` (negative: earlier), its length kept, filled up with silence."""
    samples, length = round(seconds * sample_rate), waveform.shape[-1]
    if samples >= 0:
        return F.pad(waveform, (samples, 0))[..., :length]
    return F.pad(waveform[..., -samples:], (0, min(length, -samples)))
