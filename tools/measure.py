"""All meters on one finished clip."""

import logging
import sys
from dataclasses import asdict
from pathlib import Path

import clips
import torch
from environment import ROOT

sys.path.insert(0, str(ROOT))
from nava_core.checkpoint import CheckpointError
from nava_core.meters.picture import picture_quality
from nava_core.meters.sound import sound_quality
from nava_core.meters.synchrony import synchrony
from nava_core.meters.voices import voice_match, voiced_spans
from nava_core.voice import AudioError, load_voice_encoder

sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's

VERSION = 1  # raised when a meter changes: clips measured before are measured again
NOT_MEASURED = (
    "DeSync and LSE-C/D: not measured (they need the networks of Synchformer and SyncNet)",
    "word error rate: not measured (no local recogniser)",
)


def voice_encoder(model_folders: list[Path]):
    """The first ReDimNet file of the models folders, or None."""
    for folder in model_folders:
        for file in sorted((folder / "audio_encoders").glob("*")):
            if file.suffix in clips.MODEL_ENDINGS:
                try:
                    return load_voice_encoder(file)
                except CheckpointError as error:
                    logging.warning("%s", error)
    return None


@torch.inference_mode()
def clip(file: Path, spoken: list[str], voices: list[str | None], encoder) -> tuple[dict[str, float | None], list[str]]:
    """(scores, notes) of a media file. A score is None where it cannot be measured; the notes say why.

    voices: the recording of each spoken line, in order.
    """
    frames, fps, waveform, rate = clips.opened(file)
    scores, notes = {}, []
    if frames is not None:
        scores |= {f"picture_{k}": v for k, v in asdict(picture_quality(frames)).items()}
    if waveform is not None:
        scores |= {f"sound_{k}": v for k, v in asdict(sound_quality(waveform, rate)).items()}
    if frames is not None and waveform is not None:
        found = synchrony(frames, fps, waveform, rate)
        names = ("f1", "precision", "recall", "av_align", "correlation", "lag", "sharpness")
        scores |= {f"sync_{name}": getattr(found, name) for name in names}
        scores["sync_lag_size"] = None if found.lag is None else abs(found.lag)
        notes += found.notes
    if waveform is not None and any(voices):
        measured, note = voice_scores(waveform, rate, spoken, voices, encoder)
        scores |= measured
        notes += [note] if note else []
    return scores, notes


def voice_scores(waveform, rate, spoken, voices, encoder) -> tuple[dict[str, float | None], str | None]:
    nothing = {"voice_own": None, "voice_other": None, "voice_nearest": None}
    if encoder is None:
        return nothing, "voices: not measured, there is no ReDimNet file in models/audio_encoders"
    recordings = list(dict.fromkeys(v for v in voices if v))
    try:
        references = []
        for recording in recordings:
            _, _, sound, sound_rate = clips.opened(Path(recording))
            if sound is None:
                return nothing, f"voices: not measured, {Path(recording).name} has no sound"
            references.append(encoder(sound, sound_rate)[0])
    except (AudioError, OSError) as error:
        return nothing, f"voices: not measured, {error}"
    spans = as_lines(voiced_spans(waveform, rate), len(spoken))
    if spans is None:
        return nothing, "voices: not measured, fewer spoken lines are heard than written"
    owned = [(span, recordings.index(v)) for span, v in zip(spans, voices, strict=False) if v]
    found = voice_match(waveform, rate, encoder, references, [s for s, _ in owned], [o for _, o in owned])
    found = [s for s in found if s.cosines is not None]
    return {
        "voice_own": mean([s.cosines[s.own] for s in found]),
        "voice_other": mean([c for s in found for i, c in enumerate(s.cosines) if i != s.own]),
        "voice_nearest": mean([float(s.right) for s in found if s.right is not None]),
    }, None


def as_lines(spans: list[tuple[float, float]], count: int) -> list[tuple[float, float]] | None:
    """Voiced spans joined over their shortest pauses until there are `count`; None when there are fewer."""
    if count < 1 or len(spans) < count:
        return None
    joined = list(spans)
    while len(joined) > count:
        i = min(range(len(joined) - 1), key=lambda i: joined[i + 1][0] - joined[i][1])
        joined[i : i + 2] = [(joined[i][0], joined[i + 1][1])]
    return joined


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
