"""One number a clip, for choosing among several: what the meters say, as marks from 0 to 1, and their weighted mean."""

from dataclasses import asdict, dataclass

from torch import Tensor

from .picture import PictureQuality, picture_quality
from .sound import SoundQuality, sound_quality
from .synchrony import Synchrony, synchrony
from .voices import VoiceScore

CLIPPED = 0.01  # share of samples at full scale that makes a sound worthless
SILENT = 0.5  # share of silence that is no fault; speech and single sounds need pauses
DC = 0.05  # of full scale
FLICKER = 0.05  # mean change of brightness that goes back and forth: worthless
JUMP = 0.1  # mean change after the first picture beyond that of the next ones


@dataclass(frozen=True)
class Marks:
    """Each 0 to 1, more is better. None: does not apply; what applies and cannot be measured (silence, a still picture,
    a line that is not heard) is 0."""

    sync: float | None = None
    sound: float | None = None
    picture: float | None = None
    voice: float | None = None


def falling(value: float | None, worthless: float) -> float:
    """1 at 0 (or when it was not measured), 0 at `worthless` and beyond."""
    return 1.0 if value is None else min(1.0, max(0.0, 1 - value / worthless))


def sync_mark(measured: Synchrony) -> float:
    """F1 of onsets and events."""
    return measured.f1 or 0.0


def sound_mark(measured: SoundQuality) -> float:
    """1 for a sound without fault; less by clipping, DC, and silence over half of the clip."""
    silence = max(0.0, measured.silence - SILENT)
    return falling(measured.clipped, CLIPPED) * falling(measured.dc, DC) * falling(silence, 1 - SILENT)


def picture_mark(measured: PictureQuality) -> float:
    """1 for a picture without fault; less by frames that stand still, flicker, and a jump after the first picture."""
    return falling(measured.stillness, 1.0) * falling(measured.flicker, FLICKER) * falling(measured.jump, JUMP)


def voice_mark(measured: VoiceScore) -> float:
    """Cosine of the lines to their own voices, times the share that is nearest to its own."""
    if measured.own is None:
        return 0.0
    return min(1.0, max(0.0, measured.own)) * (1.0 if measured.nearest is None else measured.nearest)


def judge(
    frames: Tensor | None, fps: float, waveform: Tensor | None, sample_rate: int, voices: VoiceScore | None = None
) -> Marks:
    """Marks of `frames [T, H, W, C]` (0..1), `waveform [C, N]`, or both. Raises ValueError for shapes or rates that are none."""
    both = frames is not None and waveform is not None
    return Marks(
        sync=sync_mark(synchrony(frames, fps, waveform, sample_rate)) if both else None,
        sound=None if waveform is None else sound_mark(sound_quality(waveform, sample_rate)),
        picture=None if frames is None else picture_mark(picture_quality(frames)),
        voice=None if voices is None else voice_mark(voices),
    )


def weighted(marks: Marks, weights: Marks) -> float | None:
    """Mean of the marks that apply by their weights (None: 0); None when no weight is on what applies."""
    pairs = [
        (m, w) for m, w in zip(asdict(marks).values(), asdict(weights).values(), strict=True) if m is not None and w
    ]
    total = sum(w for _, w in pairs)
    return sum(m * w for m, w in pairs) / total if total > 0 else None
