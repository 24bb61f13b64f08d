"""All meters on one finished clip."""

import logging
import sys
from dataclasses import asdict, fields
from pathlib import Path

import clips
import torch
from environment import ROOT

sys.path.insert(0, str(ROOT))
from nava_core.checkpoint import CheckpointError
from nava_core.meters.picture import PictureQuality, picture_quality
from nava_core.meters.score import Marks, picture_mark, sound_mark, voice_mark, weighted
from nava_core.meters.sound import SoundQuality, sound_quality
from nava_core.meters.synchrony import synchrony
from nava_core.meters.voices import VoiceScore, line_voices, voice_score
from nava_core.voice import AudioError, load_voice_encoder

sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's

VERSION = 1  # raised when a meter changes: clips measured before are measured again
OFF = ("picture_off", "sound_off")
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


def off(first: Path, second: Path) -> dict[str, float]:
    """How far a clip is from another of the same length: root mean square differences, in per cent.

    picture_off: of the whole range from black to white. sound_off: of the first clip's own loudness.
    """
    pictures, sounds = zip(
        *((frames, sound) for frames, _, sound, _ in map(clips.opened, (first, second))), strict=True
    )
    found = {}
    if all(p is not None for p in pictures):
        found["picture_off"] = 100 * (pictures[1] - pictures[0]).square().mean().sqrt().item()
    if all(s is not None for s in sounds) and sounds[0].any():
        found["sound_off"] = 100 * ((sounds[1] - sounds[0]).square().mean() / sounds[0].square().mean()).sqrt().item()
    return found


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
    owners = [recordings.index(v) if v else None for v in voices]
    owners += [None] * (len(spoken) - len(owners))
    found = line_voices(waveform, rate, encoder, references, owners)
    if found is None:
        return nothing, "voices: not measured, fewer spoken lines are heard than written"
    return {f"voice_{name}": value for name, value in asdict(voice_score(found)).items()}, None


def node_score(scores: dict[str, float | None]) -> float | None:
    """What NavaBestOf, at its default weights, says of a clip with these scores of `clip`."""
    return weighted(marks(scores), Marks(sync=1.0, sound=0.5, picture=0.5, voice=1.0))


def marks(scores: dict[str, float | None]) -> Marks:

    def part(kind, prefix: str):
        names = [f.name for f in fields(kind)]
        if not any(f"{prefix}_{n}" in scores for n in names):
            return None
        return kind(**{n: scores.get(f"{prefix}_{n}") for n in names})

    sound, picture, voice = part(SoundQuality, "sound"), part(PictureQuality, "picture"), part(VoiceScore, "voice")
    return Marks(
        sync=(scores["sync_f1"] or 0.0) if "sync_f1" in scores else None,
        sound=sound and sound_mark(sound),
        picture=picture and picture_mark(picture),
        voice=voice and voice_mark(voice),
    )
