"""A training's log as a picture: one curve per loss, on a logarithmic scale."""

import csv
import math
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = ((200, 60, 50), (40, 90, 200), (40, 150, 80), (150, 90, 190))
SKIPPED = {"step", "seconds_a_step"}
WIDTH, HEIGHT, EDGE = 720, 360, 48


def draw(log: Path, picture: Path) -> None:
    """log: a CSV with the column `step`; every other number becomes a curve. Does nothing for fewer than two rows."""
    with open(log, newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    names = [n for n in (rows[0] if rows else {}) if n not in SKIPPED]
    values = [row[n] for row in rows for n in names if math.isfinite(row[n]) and row[n] > 0]
    if len(rows) < 2 or not values:
        return
    low, high = math.log(min(values)), math.log(max(values)) + 1e-6
    last = rows[-1]["step"]

    def place(step: float, value: float) -> tuple[float, float]:
        along, up = step / last, (math.log(value) - low) / (high - low)
        return EDGE + along * (WIDTH - 2 * EDGE), HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE)

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((EDGE, EDGE, WIDTH - EDGE, HEIGHT - EDGE), outline=(180, 180, 180))
    for value in (math.exp(low), math.exp((low + high) / 2), math.exp(high)):
        pen.text((4, place(0, value)[1] - 6), f"{value:.3g}", fill=(60, 60, 60))
    pen.text((WIDTH - EDGE - 40, HEIGHT - EDGE + 6), f"step {last:.0f}", fill=(60, 60, 60))
    for i, name in enumerate(names):
        points = [place(r["step"], r[name]) for r in rows if math.isfinite(r[name]) and r[name] > 0]
        colour = COLOURS[i % len(COLOURS)]
        if len(points) > 1:
            pen.line(points, fill=colour, width=2)
        pen.text((EDGE + 8 + 110 * i, 16), name, fill=colour)
    part = picture.with_suffix(".part.png")
    image.save(part)
    part.replace(picture)
