"""Many speakers and a small lexicon, spoken by espeak-ng and shifted in pitch, rate and formants.

A speaker is a number: the same number always has the same voice. Recordings are kept on disk, since a scene asks for
them again and again.
"""

import functools
import os
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .clip import RATE
from .lexicon import LEXICON, SENTENCES

SPEAKERS = 160  # used in training; numbers from here on are held out
VARIANTS = ["m1", "m3", "m4", "m7", "f1", "f2", "f3", "f4"]
CACHE = Path(os.environ.get("NAVA_SPEECH_CACHE", Path(tempfile.gettempdir()) / "nava_speech"))


@dataclass(frozen=True)
class Speaker:
    variant: str
    pitch: int  # espeak's, 0 to 99
    speed: int  # words a minute
    formant: float  # playback rate: above 1 raises pitch and formants together


@functools.cache
def speaker(number: int) -> Speaker:
    rng = np.random.default_rng([77, number])
    return Speaker(
        VARIANTS[number % len(VARIANTS)],
        int(rng.integers(10, 90)),
        int(rng.integers(150, 200)),
        float(rng.uniform(0.85, 1.2)),
    )


def espeak(text: str, language: str, who: Speaker, speed_factor: float = 1.0) -> np.ndarray:
    """Speech as 48 kHz mono float32, silence at its ends cut off. Raises RuntimeError when espeak-ng is not installed."""
    voice = {"en": "en-us", "zh": "cmn"}[language] + f"+{who.variant}"
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = [
            "espeak-ng",
            "-v",
            voice,
            "-p",
            str(who.pitch),
            "-s",
            str(round(who.speed * speed_factor)),
            "-w",
            file.name,
            text,
        ]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            raise RuntimeError(
                "espeak-ng is not installed: the small world's speakers need it (Debian: apt-get install espeak-ng)"
            ) from None
        with wave.open(file.name) as recording:
            rate = recording.getframerate()
            samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float32) / 32768
    places = np.arange(0, samples.size - 1, rate * who.formant / RATE)
    shifted = np.interp(places, np.arange(samples.size), samples).astype(np.float32)
    loud = np.flatnonzero(np.abs(shifted) > 0.02 * np.abs(shifted).max())
    shifted = shifted[max(loud[0] - 240, 0) : loud[-1] + 960]
    return shifted * (0.12 / max(shifted.std(), 1e-4))


def _kept(name: str, make) -> np.ndarray:
    """A recording from the disk, made the first time; complete or absent, never half."""
    path = CACHE / f"{name}.npy"
    if path.exists():
        return np.load(path).astype(np.float32)
    CACHE.mkdir(parents=True, exist_ok=True)
    sound = make()
    part = path.with_suffix(f".{os.getpid()}.npy")
    np.save(part, sound.astype(np.float16))
    part.replace(path)
    return sound.astype(np.float32)


def word(number: int, language: str, index: int, take: int = 0) -> np.ndarray:
    """A word of the lexicon by a speaker; takes differ in rate."""
    factor = 1.0 + 0.08 * (take % 3 - 1)
    text = LEXICON[language][index]
    return _kept(f"w{number}_{language}{index}_{take % 3}", lambda: espeak(text, language, speaker(number), factor))


def reference(number: int, index: int = 0) -> np.ndarray:
    """A recording of a speaker saying a sentence that no scene contains."""
    language = ("en", "zh")[index % 2]
    text = SENTENCES[language][index // 2 % len(SENTENCES[language])]
    return _kept(f"r{number}_{index % 6}", lambda: espeak(text, language, speaker(number)))
