"""The template browser's thumbnails: what each shipped workflow makes with the small set, moving.

python tools/make_thumbnails.py [KEY ...]      (in the pack's virtual environment, NAVA_HOST naming ComfyUI's folder)

The browser asks for NAME.jpg and nothing else, but shows what the file holds: a moving WebP.
"""

import sys
from pathlib import Path

import av
import environment
import numpy as np
import small_set
import tiny
from comfy_server import Server
from PIL import Image
from shipped import ALL
from workflow import load, to_api

WIDTH, HEIGHT = 480, 300


def frames_of(path: Path) -> list[Image.Image]:
    """Every second frame of a clip; of a sound, its waveform with a moving line."""
    with av.open(str(path)) as media:
        if media.streams.video:
            images = [frame.to_image() for frame in media.decode(video=0)][::2]
            return [image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS) for image in images]
        frames = [f.to_ndarray().astype(np.float64) for f in media.decode(audio=0)]
        scale = 1.0 if media.streams.audio[0].format.name.startswith("f") else None
    sound = np.concatenate([f.reshape(f.shape[0], -1).mean(0) for f in frames])
    sound /= scale or max(np.abs(sound).max(), 1e-9)
    return [waveform(sound, at / 16) for at in range(16)]


def waveform(sound: np.ndarray, done: float) -> Image.Image:
    picture = np.full((HEIGHT, WIDTH, 3), (24, 26, 32), np.uint8)
    peaks = np.array([np.abs(part).max() for part in np.array_split(sound, WIDTH)])
    for x, height in enumerate(peaks / max(peaks.max(), 1e-9) * HEIGHT * 0.42):
        rows = slice(int(HEIGHT / 2 - height), int(HEIGHT / 2 + height) + 1)
        picture[rows, x] = (224, 160, 48) if x < done * WIDTH else (58, 160, 216)
    return Image.fromarray(picture)


def write(images: list[Image.Image], path: Path) -> None:
    images[0].save(
        path, format="WEBP", save_all=True, append_images=images[1:], duration=1000 // 12, loop=0, quality=70, method=6
    )


def main(keys: list[str]) -> None:
    env, chosen = environment.running(), small_set.chosen()
    base = environment.base_folder(env, "demo")
    chosen.make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    with Server(env.host, base) as server:
        info = server.get("/object_info")
        for flow in ALL:
            if keys and flow.key not in keys:
                continue
            document = load(flow.path)
            chosen.apply(document, info)
            history = server.queue(to_api(document, info), timeout=3600)
            made = [f for ending in (".mp4", ".flac") for f in server.outputs(history, ending)]
            write(frames_of(made[0]), flow.path.with_suffix(".jpg"))
            print("wrote", flow.path.with_suffix(".jpg").name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
