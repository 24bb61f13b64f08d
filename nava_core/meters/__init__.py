"""Meters: how good a clip is, from its frames `[T, H, W, C]` (0..1) and its sound `[channels, samples]` alone."""

from .events import event_strength, events
from .onsets import onset_strength, onsets
from .synchrony import Synchrony, match, synchrony

__all__ = ["Synchrony", "event_strength", "events", "match", "onset_strength", "onsets", "synchrony"]
