"""Icon (400 x 400) and banner (21:9) for the registry, drawn: a ball's bounces over a sound that knocks at each of them.

python tools/make_art.py      (in the pack's virtual environment)
"""

import math

from environment import ROOT
from PIL import Image, ImageDraw, ImageFont

NIGHT, FLOOR, BALL, SOUND, WORDS = "#181c2a", "#2b3147", "#e05a3c", "#3aa0d8", "#f2ede2"
FINE = 4  # drawn so much larger, then shrunk


def height_at(x: float, bounces: int) -> float:
    """Of the ball, 0..1, at a time 0..1; it touches the floor `bounces` times."""
    phase = x * bounces - 0.5
    return 1 - (2 * (phase - math.floor(phase)) - 1) ** 2 if phase >= 0 else 1 - (2 * phase + 1) ** 2


def loudness_at(x: float, bounces: int) -> float:
    """Of the sound: a knock at every contact, which dies away."""
    since = x * bounces - 0.5
    since -= math.floor(since)
    return math.exp(-5 * since) if x * bounces >= 0.5 else 0.03


def scene(width: int, height: int, left: int, bounces: int) -> Image.Image:
    """The bounces from `left` to the right edge, the sound below the floor."""
    image = Image.new("RGB", (width * FINE, height * FINE), NIGHT)
    draw = ImageDraw.Draw(image)
    floor, radius = int(height * 0.58) * FINE, int(height * 0.075) * FINE
    draw.rectangle((0, floor, width * FINE, floor + 3 * FINE), fill=FLOOR)
    room, count = (width - left) * FINE, 10 * bounces
    top = int(height * 0.12) * FINE + radius
    for i in range(count + 1):
        x = i / count
        at = left * FINE + x * room
        y = floor - radius - height_at(x, bounces) * (floor - radius - top)
        last = i == count * (2 * bounces - 1) // (2 * bounces)
        size = radius if last else radius * 0.28
        draw.ellipse((at - size, y - size, at + size, y + size), fill=BALL if last else "#8a4a44")
    bars, middle, most = 24 * bounces, int(height * 0.79) * FINE, height * 0.16 * FINE
    for i in range(bars):
        x = (i + 0.5) / bars
        half = max(2 * FINE, loudness_at(x, bounces) * most * (0.75 + 0.25 * math.sin(i * 2.4)))
        at, thick = left * FINE + x * room, room / bars * 0.28
        draw.rounded_rectangle((at - thick, middle - half, at + thick, middle + half), radius=thick, fill=SOUND)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def main() -> None:
    scene(400, 400, 0, 2).quantize(64).save(ROOT / "assets" / "icon.png", optimize=True)
    banner = scene(1260, 540, 520, 3)
    draw = ImageDraw.Draw(banner)
    draw.text((60, 130), "NAVA", font=ImageFont.load_default(150), fill=WORDS)
    draw.text((68, 350), "Picture and sound,", font=ImageFont.load_default(46), fill=WORDS)
    draw.text((68, 410), "made together", font=ImageFont.load_default(46), fill=WORDS)
    banner.quantize(64).save(ROOT / "assets" / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
