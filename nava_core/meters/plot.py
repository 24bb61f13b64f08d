"""A picture of what the synchrony meter heard and saw."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .synchrony import RESOLUTION, Synchrony

WIDTH, HEIGHT = 768, 256
BACK, LINE, SEEN, HEARD, MATCHED = (24, 26, 30), (70, 74, 82), (240, 180, 60), (90, 180, 250), (90, 220, 120)


def plot(measured: Synchrony) -> Tensor:
    """`[256, 768, 3]` float32 0..1: events seen above (amber), onsets heard below (blue, downwards), matches as green lines."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACK)
    draw = ImageDraw.Draw(image)
    steps = max(1, len(measured.event_curve))
    middle, reach = HEIGHT // 2, HEIGHT // 2 - 20
    draw.line([(0, middle), (WIDTH, middle)], fill=LINE)
    for second in range(steps // RESOLUTION + 1):
        x = second * RESOLUTION / steps * WIDTH
        draw.line([(x, middle - 4), (x, middle + 4)], fill=LINE)
        draw.text((x + 3, middle + 2), f"{second} s", fill=LINE)
    for curve, colour, sign in ((measured.event_curve, SEEN, -1), (measured.onset_curve, HEARD, 1)):
        points = [(k / steps * WIDTH, middle + sign * v * reach) for k, v in enumerate(curve.tolist())]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
    paired = ({s for s, _ in measured.pairs}, {p for _, p in measured.pairs})
    for times, matched, colour, edge in (
        (measured.pictures, paired[1], SEEN, 8),
        (measured.sounds, paired[0], HEARD, HEIGHT - 8),
    ):
        for i, at in enumerate(times):
            x = at * RESOLUTION / steps * WIDTH
            draw.ellipse([x - 4, edge - 4, x + 4, edge + 4], fill=MATCHED if i in matched else None, outline=colour)
    for sound, picture in measured.pairs:
        a, b = (t * RESOLUTION / steps * WIDTH for t in (measured.pictures[picture], measured.sounds[sound]))
        draw.line([(a, 14), (b, HEIGHT - 14)], fill=MATCHED)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
