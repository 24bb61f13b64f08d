"""The five kinds of scenes. Geometry is in fractions of the shorter side, so that every format shows the same things."""

from dataclasses import dataclass

import numpy as np

from . import captions, draw, sound, speech
from .attributes import COLOURS, FLOORS, SHAPES, SKIES, STRENGTHS, TICKERS, WEATHERS, held_out
from .clip import FPS, RATE, Clip, Speech

KINDS = ("bounce", "talk", "two_faces", "tick", "weather")
GRAVITY = 5.5  # shorter sides a second squared
HIGHEST = 0.3  # that a body falls, in shorter sides
BOUNCE = {"wood": 0.62, "metal": 0.7, "glass": 0.66, "drum": 0.8}


@dataclass(frozen=True)
class Request:
    """What to make. test: only combinations that training never sees, and speakers it never hears."""

    kind: str | None = None  # None: any
    width: int = 256
    height: int = 160
    frames: int = 33
    test: bool = False


def scene(seed: int, request: Request = Request()) -> Clip:
    """The scene of a seed: the same seed and request always give the same clip."""
    rng = np.random.default_rng([seed, request.test])
    kind = request.kind or KINDS[rng.choice(5, p=[0.34, 0.22, 0.14, 0.18, 0.12])]
    return {"bounce": bounce, "talk": talk, "two_faces": two_faces, "tick": tick, "weather": weather}[kind](
        rng, request
    )


def chosen(rng, test: bool, *choices) -> list[str]:
    """One value of each table, held out or not as asked, or any where no combination is held out."""
    for _ in range(200):
        values = [str(rng.choice(list(table))) for table in choices]
        if held_out(*values) == test:
            return values
    return values


def stage(rng, request: Request, sky: str) -> tuple[np.ndarray, np.ndarray]:
    """The sky, and silence."""
    top, bottom = SKIES[sky][:2]
    image = draw.canvas(request.frames, request.height, request.width, top, bottom)
    return image, np.zeros((2, round(request.frames / FPS * RATE)), np.float32)


def finished(image: np.ndarray, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image.clip(0, 255).round().astype(np.uint8), np.clip(audio, -0.99, 0.99).astype(np.float32)


def floor_of(image: np.ndarray, floor: str, level: float) -> None:
    """The floor from `level` pixels down: planks, brushed metal, a pale sheet, or a skin with its rim."""
    y, x = draw.grid(*image.shape[1:3])
    colour = np.array(FLOORS[floor][0], np.float32)
    draw.paint(image, level - y + 0 * x, colour)
    unit = min(image.shape[1:3])
    if floor == "wood":
        for k in range(1, 4):
            draw.paint(image, np.abs(y - level - k * 0.075 * unit) - 0.006 * unit + 0 * x, colour * 0.7)
    elif floor == "metal":
        draw.paint(image, np.abs(y - level - 0.09 * unit) - 0.03 * unit + 0 * x, colour * 1.3)
    elif floor == "glass":
        draw.paint(image, np.abs(y - level - 0.015 * unit) - 0.015 * unit + 0 * x, (240, 252, 252))
    else:
        draw.paint(image, np.abs(y - level - 0.02 * unit) - 0.02 * unit + 0 * x, (110, 40, 35))


def fall(rng, image, audio, floor: str, colour, distance, strike) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """A body falls onto a floor and bounces, in place; returns frames, sound and the seconds of the contacts.

    colour: RGB. distance: the body's shape, as in draw.SHAPES. strike: () -> sound of one contact at full speed.
    """
    height, width = image.shape[1:3]
    unit = min(height, width)
    level = height - 0.27 * unit
    floor_of(image, floor, level)
    # large, and near the middle: what is a few places of hundreds, anywhere, takes a small model far longer to learn
    radius = rng.uniform(0.16, 0.2)
    drop = rng.uniform(0.15, HIGHEST)
    t = np.arange(len(image)) / FPS
    # free flight between contacts; heights and speeds in shorter sides
    contact, speed = np.sqrt(2 * drop / GRAVITY), np.sqrt(2 * drop * GRAVITY)
    high = drop - GRAVITY * t**2 / 2
    events, levels = [], []
    full = np.sqrt(2 * HIGHEST * GRAVITY)
    while contact < t[-1] and speed > 0.12 * full:
        events.append(float(contact))
        levels.append((speed / full) ** 1.2)
        speed *= BOUNCE[floor]
        after = t - contact
        high = np.where(after >= 0, speed * after - GRAVITY * after**2 / 2, high)
        contact += 2 * speed / GRAVITY
    high = np.maximum(high, 0)
    if contact < t[-1]:
        high = np.where(t > contact, 0, high)
    since = np.min(
        [np.where(t - e > -0.02, np.abs(t - e), 9) / (0.3 + v) for e, v in zip(events, levels, strict=True)]
        or [9 + 0 * t],
        axis=0,
    )
    squash = 1 - 0.3 * np.exp(-((since / 0.06) ** 2))
    start, drift = rng.uniform(0.4, 0.6), rng.uniform(-0.12, 0.12)
    across = np.clip(start + drift * t, 0.25, 0.75)
    y, x = draw.grid(height, width)
    ry, rx = radius * unit * squash, radius * unit / squash
    cy = level - high * unit - ry
    draw.paint(
        image,
        draw.ellipse(y, x, level + 0.03 * unit, across * width, 0.02 * unit, rx),
        (30, 25, 25),
        0.45 * np.exp(-high * 4),
    )
    draw.paint(image, distance(y, x, cy, across * width, ry, rx), colour)
    for at, loud in zip(events, levels, strict=True):
        pan = 2 * np.interp(at, t, across) - 1
        sound.add(audio, strike(), at, loud, float(pan) * 0.8)
    return *finished(image, audio), events


def bounce(rng, request: Request) -> Clip:
    colour, shape, floor, sky = chosen(rng, request.test, COLOURS, SHAPES, FLOORS, SKIES)
    image, audio = stage(rng, request, sky)
    frames, audio, events = fall(
        rng, image, audio, floor, COLOURS[colour][0], draw.SHAPES[shape], lambda: sound.struck(floor, rng)
    )
    return Clip(
        "bounce", frames, audio, captions.bounce(rng, colour, shape, floor, sky),
        {"colour": colour, "shape": shape, "floor": floor, "sky": sky, "sound": floor}, events,
    )  # fmt: skip


def tick(rng, request: Request) -> Clip:
    ticker, sky, colour = chosen(rng, request.test, TICKERS, SKIES, COLOURS)
    image, audio = stage(rng, request, sky)
    height, width = image.shape[1:3]
    unit = min(height, width)
    period, phase = rng.uniform(0.32, 0.6), rng.uniform(0.05, 1)
    t = np.arange(request.frames) / FPS
    turns = t / period + phase  # an extreme at every whole number
    first = (np.ceil(phase) - phase) * period
    events = [float(e) for e in np.arange(first, t[-1], period)]
    y, x = draw.grid(height, width)
    rgb = np.array(COLOURS[colour][0], np.float32)
    middle = width / 2 + 0 * t
    if ticker == "lamp":
        since = (turns - np.floor(turns)) * period
        lit = (((since < 0.16) & (turns >= 1)) * 1.0)[:, None]
        draw.paint(image, draw.box(y, x, height - 0.2 * unit, width / 2, 0.2 * unit, 0.06 * unit), (70, 70, 75))
        draw.paint(image, draw.ellipse(y, x, 0.42 * unit, width / 2, 0.3 * unit, 0.3 * unit), rgb, 0.45 * lit[:, 0])
        draw.paint(
            image,
            draw.ellipse(y, x, 0.42 * unit, width / 2, 0.19 * unit, 0.19 * unit),
            rgb * 0.3 + lit * (rgb * 0.7 + 40),
        )
        pans = [0.0 for _ in events]
    else:
        swing = 0.55 * np.cos(np.pi * turns)
        sign = -1 if ticker == "metronome" else 1  # a metronome's pivot is below
        pivot = 0.12 * unit if sign > 0 else height - 0.14 * unit
        length = 0.62 * unit
        px, py = middle + np.sin(swing) * length, pivot + sign * np.cos(swing) * length
        if sign < 0:
            draw.paint(image, draw.box(y, x, height - 0.12 * unit, width / 2, 0.12 * unit, 0.22 * unit), (95, 60, 35))
        draw.paint(image, draw.segment(y, x, pivot, middle, py, px, 0.018 * unit), (60, 60, 65))
        bob = 0.14 * unit
        draw.paint(
            image,
            draw.ellipse(y, x, py, px, bob, bob) if sign > 0 else draw.box(y, x, py, px, bob * 0.7, bob * 0.9),
            rgb,
        )
        pans = [float(np.sign(np.cos(np.pi * round(e / period + phase)))) * 0.5 for e in events]
    for at, pan in zip(events, pans, strict=True):
        sound.add(audio, sound.tick(ticker, rng), at, 0.9, pan)
    frames, audio = finished(image, audio)
    return Clip(
        "tick",
        frames,
        audio,
        captions.tick(rng, ticker, colour, sky),
        {"ticker": ticker, "colour": colour, "sky": sky, "sound": ticker},
        events,
    )


def weather(rng, request: Request) -> Clip:
    kind, strength, sky = chosen(rng, False, WEATHERS, STRENGTHS, SKIES)
    image, audio = stage(rng, request, sky)
    height, width = image.shape[1:3]
    unit = min(height, width)
    t = np.arange(request.frames) / FPS
    y, x = draw.grid(height, width)
    heavy = strength == "heavy"
    size = audio.shape[1]
    fine = np.arange(size) / RATE
    if kind == "rain":
        draw.paint(image, height - 0.15 * unit - y + 0 * x, (55, 75, 60))
        for _ in range(22 if heavy else 8):
            x0, start, speed = rng.uniform(0, width), rng.uniform(0, 1), rng.uniform(1.6, 2.0)
            top = ((start + speed * t) % 1.25 - 0.2) * height
            draw.paint(
                image,
                draw.segment(y, x, top, x0 + 0 * t, top + 0.14 * unit, x0 - 0.02 * unit + 0 * t, 1.4),
                (205, 215, 235),
                0.8,
            )
        hiss = np.stack([sound.filtered_noise(size, 1500, 12000, 0.3, rng) for _ in range(2)])
        audio += hiss * (0.09 if heavy else 0.03)
    elif kind == "wind":
        draw.paint(image, height - 0.2 * unit - y + 0 * x, (85, 130, 60))
        rate, phase = rng.uniform(0.8, 1.6), rng.uniform(0, 6.28)
        gust = lambda s: 0.55 + 0.45 * np.sin(2 * np.pi * rate * s + phase)  # noqa: E731
        bend = gust(t) * (0.3 if heavy else 0.1)
        for k in range(7):
            root = (k + 0.5) / 7 * width
            draw.paint(
                image,
                draw.segment(
                    y,
                    x,
                    height - 0.18 * unit,
                    root + 0 * t,
                    height - (0.5 - 0.2 * bend) * unit,
                    root + bend * unit,
                    0.02 * unit,
                ),
                (40, 95, 40),
            )
        howl = np.stack([sound.filtered_noise(size, 120, 900, 0.9, rng) for _ in range(2)])
        audio += howl * gust(fine).astype(np.float32) * (0.16 if heavy else 0.05)
    else:
        rate, phase = rng.uniform(0.7, 1.2), rng.uniform(0, 6.28)
        swell = lambda s: 0.5 + 0.5 * np.sin(2 * np.pi * rate * s + phase)  # noqa: E731
        rise = (0.12 if heavy else 0.05) * unit
        surface = (
            height
            - 0.38 * unit
            - rise * draw.over_time(swell(t))
            - 0.35 * rise * np.sin(x / unit * 9 + draw.over_time(4 * t))
        )
        draw.paint(image, surface - y, (25, 80, 140))
        draw.paint(image, np.abs(surface - y) - 0.02 * unit, (235, 245, 250), 0.4 + 0.6 * swell(t))
        wash = np.stack([sound.filtered_noise(size, 250, 6000, 0.7, rng) for _ in range(2)])
        audio += wash * (0.25 + 0.75 * swell(fine).astype(np.float32)) * (0.13 if heavy else 0.045)
    frames, audio = finished(image, audio)
    return Clip(
        "weather",
        frames,
        audio,
        captions.weather(rng, kind, strength, sky),
        {"weather": kind, "strength": strength, "sky": sky, "sound": kind},
    )


def face(
    image: np.ndarray, colour: str, cx: float, cy: float, radius: float, opening: np.ndarray
) -> tuple[float, float, float]:
    """A face whose mouth is `opening` (0 to 1 per frame) open; returns the mouth's place."""
    y, x = draw.grid(*image.shape[1:3])
    rgb = np.array(COLOURS[colour][0], np.float32)
    draw.paint(image, draw.ellipse(y, x, cy, cx, radius * 1.1, radius), rgb)
    for side in (-1, 1):
        draw.paint(
            image,
            draw.ellipse(y, x, cy - 0.3 * radius, cx + side * 0.38 * radius, 0.17 * radius, 0.17 * radius),
            (250, 250, 250),
        )
        draw.paint(
            image,
            draw.ellipse(y, x, cy - 0.3 * radius, cx + side * 0.38 * radius, 0.08 * radius, 0.08 * radius),
            (20, 20, 20),
        )
    mouth = cy + 0.48 * radius
    draw.paint(image, draw.ellipse(y, x, mouth, cx, (0.05 + 0.4 * opening) * radius, 0.4 * radius), (70, 10, 20))
    return cx, mouth, 0.5 * radius


def opening_of(voice: np.ndarray, start: float, frames: int) -> np.ndarray:
    """How far a mouth opens, per frame: the voice's loudness around the frame's time."""
    line = np.zeros(round((frames + 2) / FPS * RATE), np.float32)
    first = round(start * RATE)
    part = voice[: line.size - first]
    line[first : first + part.size] = part
    half = round(RATE / FPS / 2)
    power = np.concatenate([np.zeros(half), line.astype(np.float64) ** 2, np.zeros(2 * half)]).cumsum()
    edges = (np.arange(frames) / FPS * RATE).astype(int)
    return np.clip(np.sqrt((power[edges + 2 * half] - power[edges]) / (2 * half)) / 0.16, 0, 1)


def line_of(rng, request: Request, start: float, longest: float) -> tuple[str, int, np.ndarray]:
    """(words, speaker, recording) of a line that fits into `longest` seconds."""
    number = int(rng.integers(speech.SPEAKERS, speech.SPEAKERS + 24) if request.test else rng.integers(speech.SPEAKERS))
    language = str(rng.choice(["en", "zh"]))
    index = int(rng.integers(len(speech.LEXICON[language])))
    return (
        speech.LEXICON[language][index],
        number,
        speech.word(number, language, index, int(rng.integers(3)))[: round(longest * RATE)],
    )


def talk(rng, request: Request) -> Clip:
    colour, sky = chosen(rng, request.test, COLOURS, SKIES)
    image, audio = stage(rng, request, sky)
    height, width = image.shape[1:3]
    unit = min(height, width)
    seconds = request.frames / FPS
    start = float(rng.uniform(0.1, max(0.15, seconds - 0.95)))
    words, number, voice = line_of(rng, request, start, seconds - start)
    opening = opening_of(voice, start, request.frames)
    mouth = face(image, colour, width / 2, 0.5 * height, 0.36 * unit, opening)
    sound.add(audio, voice, start, 1.0, 0.0)
    frames, audio = finished(image, audio)
    said = Speech(words, number, start, min(start + voice.size / RATE, seconds), 0.0)
    return Clip(
        "talk",
        frames,
        audio,
        captions.talk(rng, colour, sky, words),
        {"colour": colour, "sky": sky, "sound": "speech"},
        [start],
        [said],
        [mouth],
    )


def two_faces(rng, request: Request) -> Clip:
    first, second, sky = chosen(rng, request.test, COLOURS, COLOURS, SKIES)
    while second == first:
        second = str(rng.choice(list(COLOURS)))
    image, audio = stage(rng, request, sky)
    height, width = image.shape[1:3]
    unit = min(height, width)
    seconds = request.frames / FPS
    half = seconds / 2
    first_left = bool(rng.random() < 0.5)
    speeches, mouths, start = [], [], float(rng.uniform(0.05, 0.15))
    for i, colour in enumerate((first, second)):
        words, number, voice = line_of(rng, request, start, (half if i == 0 else seconds) - start)
        while speeches and number == speeches[0].speaker:
            words, number, voice = line_of(rng, request, start, seconds - start)
        left = first_left == (i == 0)
        across = width / 2 + (-1 if left else 1) * 0.25 * width
        radius = min(0.3 * unit, 0.22 * width)
        mouths.append(face(image, colour, across, 0.5 * height, radius, opening_of(voice, start, request.frames)))
        sound.add(audio, voice, start, 1.0, -0.7 if left else 0.7)
        speeches.append(Speech(words, number, start, min(start + voice.size / RATE, seconds), -1.0 if left else 1.0))
        start = max(half, start + voice.size / RATE) + float(rng.uniform(0.02, 0.1))
    frames, audio = finished(image, audio)
    text = captions.two_faces(rng, [first, second], sky, [s.words for s in speeches], first_left)
    attributes = {
        "colour": first,
        "second": second,
        "sky": sky,
        "sound": "speech",
        "first": "left" if first_left else "right",
    }
    return Clip("two_faces", frames, audio, text, attributes, [s.start for s in speeches], speeches, mouths)
