"""Meters: how good a clip is, from its frames `[T, H, W, C]` (0..1) and its sound `[channels, samples]` alone."""

from .events import event_strength, events
from .mouths import mouth_agreement
from .onsets import onset_strength, onsets
from .picture import PictureQuality, picture_quality
from .score import Marks, judge, weighted
from .sound import SoundQuality, sound_quality
from .synchrony import Synchrony, match, synchrony
from .voices import SpanVoice, VoiceScore, line_voices, voice_match, voice_score, voiced_spans
from .words import error_rate

__all__ = [
    "Marks",
    "PictureQuality",
    "SoundQuality",
    "SpanVoice",
    "Synchrony",
    "VoiceScore",
    "error_rate",
    "event_strength",
    "events",
    "judge",
    "line_voices",
    "match",
    "mouth_agreement",
    "onset_strength",
    "onsets",
    "picture_quality",
    "sound_quality",
    "synchrony",
    "voice_match",
    "voice_score",
    "voiced_spans",
    "weighted",
]
