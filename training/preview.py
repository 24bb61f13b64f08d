"""Clips from a training that is under way: fixed prompts, fixed seeds, one mp4 each."""

from pathlib import Path

import av
import torch
from torch import Tensor

from . import generate
from .world import FPS, RATE


def write_clip(frames: Tensor, sound: Tensor, path: Path) -> None:
    """frames `[T, H, W, 3]` uint8, sound `[2, N]` at 48 kHz -> an mp4 that appears only when complete."""
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as media:
        picture = media.add_stream("libx264", rate=FPS, options={"crf": "18"})
        picture.width, picture.height, picture.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        voice = media.add_stream("aac", rate=RATE, layout="stereo")
        for frame in frames.numpy():
            media.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        media.mux(picture.encode())
        samples = av.AudioFrame.from_ndarray(sound.clamp(-1, 1).contiguous().numpy(), format="fltp", layout="stereo")
        samples.sample_rate = RATE
        media.mux(voice.encode(samples))
        media.mux(voice.encode())
    part.replace(path)


class Preview:
    """What a config's `[preview]` asks for: every (steps), prompts, video_vae and audio_vae (files), frames, size, steps."""

    def __init__(self, settings: dict):
        self.every, self.prompts = settings["every"], settings["prompts"]
        self.video, self.audio = (Path(settings[k]) for k in ("video_vae", "audio_vae"))
        self.shape = {
            "size": tuple(settings.get("size", (160, 256))),
            "frames": settings.get("frames", 33),
            "steps": settings.get("steps", 10),
        }

    def make(self, transformer, text, folder: Path, step: int) -> None:
        random = torch.get_rng_state()
        parts = generate.Generator(
            transformer, text, generate.load_video_vae(self.video), generate.load_audio_vae(self.audio)
        )
        clips = parts.clips(self.prompts, list(range(len(self.prompts))), [None] * len(self.prompts), **self.shape)
        for i, (frames, sound) in enumerate(clips):
            write_clip(frames, sound, folder / f"preview_{step:07}_{i}.mp4")
        torch.set_rng_state(random)
