"""Reading a clip of the small world back: what is seen and heard in it, by plain means that know the world.

Works on true clips (the control of every figure) and on generated ones alike. frames `[T, H, W, 3]` uint8 at 24 fps, sound
`[2, N]` float32 at 48 kHz.
"""

import itertools
from functools import cache

import numpy as np
from scipy import ndimage

from .attributes import COLOURS, FLOORS, SKIES
from .clip import FPS, RATE
from .draw import grid

HOP = RATE // 200  # 5 ms


def nearest(colour: np.ndarray, table: dict) -> str:
    names = list(table)
    return names[int(np.argmin([np.abs(np.asarray(table[n], float) - colour).sum() for n in names]))]


def background(frames: np.ndarray) -> np.ndarray:
    return np.median(frames, axis=0)


def sky_of(frames: np.ndarray) -> str:
    """By the colours of the topmost and the middle rows at the sides."""
    back = background(frames)
    height, width = back.shape[:2]
    sides = np.concatenate([back[:, : width // 12], back[:, -width // 12 :]], axis=1).mean(axis=1)
    top = sides[: height // 10].mean(axis=0)
    return nearest(top, {k: v[0] for k, v in SKIES.items()})


def floor_of(frames: np.ndarray) -> str:
    back = background(frames)
    return nearest(np.median(back[-back.shape[0] // 9 :], axis=(0, 1)), {k: v[0] for k, v in FLOORS.items()})


def moving(frames: np.ndarray, threshold: float = 45, rows: bool = False) -> np.ndarray:
    """Where something is that is not the background, `[T, H, W]` bool.

    rows: the background is the same across each row, as behind a bouncing body, which may rest in its place for most of a clip.
    """
    behind = np.median(frames, axis=(0, 2), keepdims=True) if rows else background(frames)
    return np.abs(frames.astype(np.float32) - behind).sum(axis=-1) > threshold


def colour_of(frames: np.ndarray, mask: np.ndarray, colours: dict[str, tuple] = COLOURS) -> str:
    """The most frequent of the named colours (each an RGB first) within the mask."""
    pixels = frames[mask]
    if not len(pixels):
        return "none"
    names = list(colours)
    away = np.abs(pixels[:, None].astype(np.float32) - np.array([colours[n][0] for n in names], np.float32)).sum(-1)
    near = away.min(1) < 150
    return names[int(np.bincount(away.argmin(1)[near], minlength=len(names)).argmax())] if near.any() else "none"


def body(frames: np.ndarray, colour: str) -> np.ndarray:
    """The largest patch of a colour in every frame, above the floor's lower part, `[T, H, W]`."""
    close = np.abs(frames.astype(np.float32) - np.asarray(COLOURS[colour][0], np.float32)).sum(-1) < 130
    close[:, -frames.shape[1] // 8 :] = False
    kept = np.zeros_like(close)
    for frame, out in zip(close, kept, strict=True):
        labels, _ = ndimage.label(frame)
        best = 0
        for k, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            tall, wide = rows.stop - rows.start, columns.stop - columns.start
            part = labels[rows, columns] == k
            if 0.4 < tall / wide < 2 and part.sum() > best:  # not a floor's edge
                best = part.sum()
                out[:] = False
                out[rows, columns] = part
    return kept


def place(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, x, area) of a mask's centre per frame; NaN where there is nothing."""
    y, x = grid(*mask.shape[1:])
    area = mask.sum((1, 2)).astype(float)
    safe = np.where(area > 12, area, np.nan)
    return (mask * y).sum((1, 2)) / safe, (mask * x).sum((1, 2)) / safe, area


def shape_of(mask: np.ndarray) -> str:
    """By how much of its box a body fills: all of it, a circle's part, or a star's."""
    fills = []
    for frame in mask:
        rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
        if frame.sum() >= 60:
            cut = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            if 0.75 < cut.shape[0] / cut.shape[1] < 1.33:
                fills.append(cut.mean())
    if not fills:
        return "none"
    fill = np.median(fills)
    return "cube" if fill > 0.89 else "ball" if fill > 0.6 else "star"


def contacts(mask: np.ndarray) -> list[float]:
    """Seconds at which a bouncing body is lowest: its motion turns from down to up."""
    y, _, _ = place(mask)
    good = ~np.isnan(y)
    if good.sum() < 5:
        return []
    y = np.interp(np.arange(y.size), np.flatnonzero(good), y[good])
    height = y.max() - y.min()
    found = []
    for t in range(1, y.size - 1):
        if (
            y[t] >= y[t - 1]
            and y[t] > y[t + 1]
            and y[t] > y.min() + 0.6 * height
            and y[t] - y[max(0, t - 4) : t + 5].min() > 0.12 * height
        ):
            # three points' parabola, a fraction of a frame
            bend = y[t - 1] - 2 * y[t] + y[t + 1]
            found.append((t + (0.5 * (y[t - 1] - y[t + 1]) / bend if bend < 0 else 0)) / FPS)
    return found


def turns(frames: np.ndarray, ticker: str) -> list[float]:
    """Seconds at which a pendulum or metronome turns, or a lamp goes on."""
    if ticker == "lamp":
        height, width = frames.shape[1:3]
        unit = min(height, width)
        y, x = round(0.42 * unit), width // 2
        level = frames[:, y - 8 : y + 9, x - 8 : x + 9].mean((1, 2, 3))
        rise = np.diff(level)
        return [(t + 1) / FPS for t in range(rise.size) if rise[t] > 0.5 * np.ptp(level) and np.ptp(level) > 25]
    mask = moving(frames)
    _, x, _ = place(mask)
    good = ~np.isnan(x)
    if good.sum() < 5:
        return []
    x = np.interp(np.arange(x.size), np.flatnonzero(good), x[good])
    x = np.convolve(np.pad(x, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    found = []
    for sign in (1, -1):
        s = x * sign
        for t in range(1, s.size - 1):
            if s[t] >= s[t - 1] and s[t] > s[t + 1] and s[t] - s[max(0, t - 6) : t + 7].min() > 0.25 * np.ptp(x):
                found.append(t / FPS)
    return sorted(found)


def onsets(sound: np.ndarray, floor: float = 0.008) -> list[float]:
    """Seconds at which a sound begins: energy in 5 ms steps rises fivefold over what was before, and is heard."""
    mono = np.sqrt((sound.astype(np.float64) ** 2).mean(0))
    steps = mono.size // HOP
    level = np.sqrt((mono[: steps * HOP].reshape(steps, HOP) ** 2).mean(1))
    bright = np.abs(np.diff(sound.mean(0), prepend=0))[: steps * HOP].reshape(steps, HOP).mean(1) * 4
    found: list[float] = []
    for signal in (level, bright):
        for k in range(1, steps - 2):
            before = signal[max(0, k - 6) : k].mean() + 1e-3
            after = signal[k : k + 3].max()
            if after > max(floor, 0.12 * signal.max()) and after > 2.2 * before:
                at = k * HOP / RATE
                if all(abs(at - f) > 0.08 for f in found):
                    found.append(at)
    return sorted(found)


def matched(first: list[float], second: list[float], within: float = 1.01 / FPS) -> int:
    """Largest number of one-to-one pairs no further apart than `within` seconds (both lists sorted)."""
    i = j = count = 0
    while i < len(first) and j < len(second):
        if abs(first[i] - second[j]) <= within:
            i, j, count = i + 1, j + 1, count + 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    return count


@cache
def bands() -> np.ndarray:
    """40 bands from 60 Hz to 16 kHz over a spectrum of 2048 points, `[40, 1025]`."""
    edges = np.geomspace(60, 16000, 41)
    f = np.fft.rfftfreq(2048, 1 / RATE)
    return np.stack([((f >= a) & (f < max(b, a + 24))) for a, b in itertools.pairwise(edges)]).astype(float)


def hearing(sound: np.ndarray) -> np.ndarray:
    """What a sound is like, `[84]`: its spectrum where it is loud, how long that lasts, how steady it is."""
    mono = sound.mean(0)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(mono, 1024), 2048)[::480] * np.hanning(2048)
    power = bands() @ (np.abs(np.fft.rfft(frames, axis=1)) ** 2).T + 1e-6
    total = power.sum(0)
    loud = total > 0.1 * total.max()
    spectrum = np.log(power[:, loud].mean(1))
    after = np.log(power.mean(1)) - spectrum
    share = [
        loud.mean() * 4,
        np.log(total.max() / np.median(total)) * 0.5,
        np.log(total.max() / (total.mean())) * 1.0,
        0,
    ]
    return np.concatenate([spectrum - spectrum.mean(), after, share])


def opening(frames: np.ndarray, mouth: tuple[float, float, float]) -> np.ndarray:
    """How far a mouth is open per frame: the share of dark red pixels in its surroundings."""
    x, y, r = mouth
    part = frames[:, max(0, int(y - r)) : int(y + r), max(0, int(x - r)) : int(x + r)].astype(np.float32)
    return (np.abs(part - np.array([70, 10, 20], np.float32)).sum(-1) < 110).mean((1, 2))


def loudness(sound: np.ndarray, frames: int) -> np.ndarray:
    """RMS around each frame's time, `[frames]`."""
    power = np.concatenate([np.zeros(1), (sound.astype(np.float64) ** 2).mean(0).cumsum()])
    half = RATE // FPS // 2
    centre = np.arange(frames) * RATE // FPS
    low, high = np.clip(centre - half, 0, power.size - 1), np.clip(centre + half, 0, power.size - 1)
    return np.sqrt(np.maximum(power[high] - power[low], 0) / (2 * half))
