"""Sounds from arithmetic, 48 kHz: `[N]` float32 unless said otherwise."""

import numpy as np

from .clip import RATE


def times(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE), dtype=np.float32) / RATE


def ring(partials, decays, levels, seconds: float, attack: float = 0.001) -> np.ndarray:
    """A struck body: decaying partials (Hz), each with its own time constant (s)."""
    t = times(seconds)
    tone = sum(a * np.exp(-t / d) * np.sin(2 * np.pi * f * t) for f, d, a in zip(partials, decays, levels, strict=True))
    return (tone * np.clip(t / attack, 0, 1)).astype(np.float32)


def struck(floor: str, rng: np.random.Generator) -> np.ndarray:
    """The sound of one contact at full speed, with a little variation."""
    k = rng.uniform(0.94, 1.06)
    if floor == "wood":
        body = ring(np.array([320, 610, 1150]) * k, [0.05, 0.035, 0.02], [1, 0.7, 0.5], 0.4)
    elif floor == "metal":
        body = ring(
            np.array([540, 1310, 2290, 3610, 5200]) * k, [0.5, 0.45, 0.35, 0.25, 0.2], [0.7, 0.8, 0.6, 0.4, 0.3], 1.5
        )
    elif floor == "glass":
        body = ring(np.array([2100, 3900, 5900]) * k, [0.22, 0.16, 0.1], [1, 0.7, 0.5], 0.9)
    else:
        t = times(0.6)
        phase = 2 * np.pi * np.cumsum(90 * k * (1 + 0.8 * np.exp(-t / 0.03))) / RATE
        body = (np.exp(-t / 0.14) * np.sin(phase)).astype(np.float32) * 1.5
    click = rng.normal(size=round(0.006 * RATE)).astype(np.float32) * np.linspace(1, 0, round(0.006 * RATE)) * 0.25
    body[: click.size] += click
    return body * 0.4


def tick(kind: str, rng: np.random.Generator) -> np.ndarray:
    k = rng.uniform(0.97, 1.03)
    if kind == "pendulum":
        return ring(np.array([2600, 4100]) * k, [0.012, 0.008], [0.8, 0.6], 0.12) * 0.5
    if kind == "metronome":
        return ring(np.array([880, 1460]) * k, [0.03, 0.02], [1, 0.5], 0.25) * 0.5
    t = times(0.12)
    return (np.sin(2 * np.pi * 1000 * k * t) * np.clip(np.minimum(t, 0.12 - t) / 0.004, 0, 1)).astype(np.float32) * 0.3


def add(sound: np.ndarray, what: np.ndarray, at: float, level: float, pan: float) -> None:
    """Mix `what` into stereo `sound [2, N]` at a time, panned from -1 (left) to 1 (right) at equal power."""
    start = round(at * RATE)
    if start >= sound.shape[1]:
        return
    what = what[: sound.shape[1] - start] * level
    angle = (pan + 1) * np.pi / 4
    sound[0, start : start + what.size] += what * np.cos(angle)
    sound[1, start : start + what.size] += what * np.sin(angle)


def filtered_noise(size: int, low: float, high: float, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise between two frequencies, falling with frequency to the power `slope`, of RMS 1."""
    spectrum = np.fft.rfft(rng.normal(size=size))
    f = np.fft.rfftfreq(size, 1 / RATE)
    shape = np.where((f > low) & (f < high), np.maximum(f, low) ** -slope, 0)
    noise = np.fft.irfft(spectrum * shape, size)
    return (noise / noise.std()).astype(np.float32)
