"""Anti-aliased shapes over whole clips: every function works on `[T, H, W]` at once, in pixels, y downwards."""

import numpy as np

Canvas = np.ndarray  # [T, H, W, 3] float32, 0..255


def canvas(frames: int, height: int, width: int, top, bottom) -> Canvas:
    """A vertical gradient."""
    ramp = np.linspace(0, 1, height, dtype=np.float32)[None, :, None, None]
    colours = np.array(top, np.float32) * (1 - ramp) + np.array(bottom, np.float32) * ramp
    return np.broadcast_to(colours, (frames, height, width, 3)).copy()


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres: y `[1, H, 1]`, x `[1, 1, W]`."""
    y = np.arange(height, dtype=np.float32)[None, :, None] + 0.5
    x = np.arange(width, dtype=np.float32)[None, None, :] + 0.5
    return y, x


def over_time(value) -> np.ndarray:
    """A number or one per frame, as `[T or 1, 1, 1]`."""
    return np.atleast_1d(np.asarray(value, np.float32))[:, None, None]


def paint(image: Canvas, distance: np.ndarray, colour, opacity=1.0) -> None:
    """Fill where the signed distance `[T or 1, H, W]` is negative, with an edge one pixel and a half wide."""
    cover = np.clip(0.5 - distance / 1.5, 0, 1) * over_time(opacity)
    colour = np.asarray(colour, np.float32)
    colour = colour[:, None, None, :] if colour.ndim == 2 else colour
    image += cover[..., None] * (colour - image)


def ellipse(y, x, cy, cx, ry, rx) -> np.ndarray:
    ry, rx = over_time(ry), over_time(rx)
    dy, dx = (y - over_time(cy)) / ry, (x - over_time(cx)) / rx
    return (np.sqrt(dy * dy + dx * dx) - 1) * np.minimum(ry, rx)


def box(y, x, cy, cx, ry, rx) -> np.ndarray:
    dy, dx = np.abs(y - over_time(cy)) - over_time(ry), np.abs(x - over_time(cx)) - over_time(rx)
    return np.maximum(dy, dx)


def star(y, x, cy, cx, ry, rx) -> np.ndarray:
    """Five points, the first one up."""
    dy, dx = (y - over_time(cy)) / over_time(ry), (x - over_time(cx)) / over_time(rx)
    turn = 2 * np.pi / 5
    angle = np.abs((np.arctan2(dx, -dy) + turn / 2) % turn - turn / 2)
    radius = np.sqrt(dy * dy + dx * dx)
    # distance to the edge from the tip (radius 1.15, angle 0) to the notch (radius 0.5, half a turn on)
    tip, notch = np.array([1.15, 0.0]), 0.5 * np.array([np.cos(turn / 2), np.sin(turn / 2)])
    normal = np.array([tip[1] - notch[1], notch[0] - tip[0]])
    normal /= -np.linalg.norm(normal)
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    return ((px - tip[0]) * normal[0] + (py - tip[1]) * normal[1]) * np.minimum(over_time(ry), over_time(rx))


def triangle(y, x, cy, cx, ry, rx) -> np.ndarray:
    """Standing on its base."""
    dy, dx = (y - over_time(cy)) / over_time(ry), np.abs(x - over_time(cx)) / over_time(rx)
    return np.maximum(dy - 1, (2 * dx - dy - 1) / 5**0.5) * np.minimum(over_time(ry), over_time(rx))


def segment(y, x, y0, x0, y1, x1, half) -> np.ndarray:
    """A thick line between two points, each fixed or moving."""
    y0, x0, y1, x1 = map(over_time, (y0, x0, y1, x1))
    vy, vx = y1 - y0, x1 - x0
    along = np.clip(((y - y0) * vy + (x - x0) * vx) / np.maximum(vy * vy + vx * vx, 1e-6), 0, 1)
    return np.sqrt((y - y0 - along * vy) ** 2 + (x - x0 - along * vx) ** 2) - half


SHAPES = {"ball": ellipse, "cube": box, "star": star}
