"""Clips whose truth is known: a dot that turns back, and clicks, at given times."""

import itertools
import math

import torch


def positions(times, events, speed=0.8):
    """Where a dot is that moves at `speed` and turns back at each event."""
    corners, at, sign = [(0.0, 0.3)], 0.3, 1
    for a, b in zip([0.0, *events], [*events, times[-1] + 1], strict=True):
        at, sign = at + sign * speed * (b - a), -sign
        corners.append((b, at))
    return [
        next(p + (q - p) * (t - a) / (b - a) for (a, p), (b, q) in itertools.pairwise(corners) if t <= b) for t in times
    ]


def dot(events, seconds, fps=24.0, width=128, height=80, front=(0.9, 0.2, 0.2), back=(0.2, 0.3, 0.4)):
    """Frames `[T, H, W, 3]` of a dot that turns back at each event."""
    times = [i / fps for i in range(round(seconds * fps))]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    frames = []
    for at in positions(times, events):
        away = ((x - at * width).square() + (y - height / 2).square()).sqrt()
        inside = (0.14 * height - away + 0.5).clamp(0, 1)[..., None]
        frames.append(torch.tensor(front) * inside + torch.tensor(back) * (1 - inside))
    return torch.stack(frames)


def clicks(events, seconds, rate=48000, level=0.5, channels=2):
    """Sound `[channels, N]` with a decaying tone at each event."""
    sound = torch.zeros(round(seconds * rate))
    for at in events:
        start = round(at * rate)
        t = torch.arange(min(round(0.2 * rate), len(sound) - start)) / rate
        tone = torch.sin(2 * math.pi * 900 * t) + 0.6 * torch.sin(2 * math.pi * 2300 * t)
        sound[start : start + len(t)] += level * 0.6 * torch.exp(-t / 0.04) * tone
    return sound.expand(channels, -1)


def shifted(sound, seconds, rate=48000):
    """The same sound later, its end cut off."""
    return torch.nn.functional.pad(sound, (round(seconds * rate), 0))[:, : sound.shape[-1]]


def voice(pitch, formants, seconds, rate=16000, seed=0):
    """Something voice-like `[1, N]`: harmonics of a pitch under formants, in syllables."""
    t = torch.arange(round(seconds * rate)) / rate
    generator = torch.Generator().manual_seed(seed)
    drift = 1 + 0.03 * torch.sin(2 * math.pi * (2 + torch.rand(1, generator=generator)) * t)
    phase = 2 * math.pi * torch.cumsum(pitch * drift, 0) / rate
    sound = torch.zeros_like(t)
    for n in range(1, int(rate / 2 / pitch)):
        gain = sum(math.exp(-(((n * pitch - f) / 120) ** 2)) for f in formants) + 0.02
        sound += gain * torch.sin(n * phase)
    return (0.2 * sound / sound.abs().max() * (0.6 + 0.4 * torch.sin(2 * math.pi * 4 * t)))[None]
