"""A saved clip: which file the editor means, and its frames and sound, within limits."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import av
import folder_paths
import torch
from aiohttp import web
from torch import Tensor

from ..nava_core.media_file import MediaFile, TooLarge
from ..nava_core.meters.events import small

# What the player plays, by the demuxer that may read it: one that FFmpeg guesses could be a playlist of other files.
FORMATS = {
    ".mp4": "mov", ".mov": "mov", ".m4a": "mov", ".webm": "matroska", ".mkv": "matroska",
    ".flac": "flac", ".mp3": "mp3", ".opus": "ogg", ".ogg": "ogg", ".wav": "wav",
}  # fmt: skip
PLACES = ("output", "temp")
MOST_FRAMES = 720  # half a gigabyte of pictures as the meters see them
MOST_SECONDS = 30.0
MOST_PIXELS = 1 << 25  # of a frame
PATIENCE = 60.0  # seconds that reading may take


@dataclass(frozen=True)
class ClipFile:
    """frames `[T, h, w, 3]` 0..1, at most 256 on the longer side, and waveform `[C, N]`; None for what the file has not.

    cut: the file goes on.
    """

    frames: Tensor | None
    fps: float
    waveform: Tensor | None
    rate: int
    cut: bool

    @property
    def seconds(self) -> float:
        picture = 0.0 if self.frames is None else len(self.frames) / self.fps
        return max(picture, 0.0 if self.waveform is None else self.waveform.shape[-1] / self.rate)


def saved_file(body: dict) -> Path:
    """The file of {filename, subfolder, type}, as the host's /view has it; refuses what is not in the output or temp folder."""
    filename, subfolder, place = (body.get(name) for name in ("filename", "subfolder", "type"))
    if not isinstance(filename, str) or not isinstance(subfolder, str) or place not in PLACES:
        raise web.HTTPBadRequest(text="a clip has a filename, a subfolder, and the type output or temp")
    if not filename or os.path.basename(filename) != filename or "\0" in filename + subfolder:
        raise web.HTTPBadRequest(text="this is no name of a file")
    folder = os.path.abspath(folder_paths.get_directory_by_type(place))
    inside = os.path.abspath(os.path.join(folder, subfolder))
    try:
        leaves = os.path.commonpath((inside, folder)) != folder
    except ValueError:  # another drive
        leaves = True
    if leaves:
        raise web.HTTPForbidden(text="this is not in ComfyUI's output or temp folder")
    file = Path(inside, filename)
    if not file.is_file():
        raise web.HTTPNotFound(text="the clip is no longer there")
    return file


def read_clip(file: Path) -> ClipFile:
    """The beginning of a clip, up to 30 s and 720 frames. Raises ValueError for what is no media, or too large."""
    kind = FORMATS.get(file.suffix.lower())
    try:
        if kind is None:
            raise ValueError
        return decoded(MediaFile(file, kind, MOST_PIXELS))
    except TooLarge:
        raise TooMuch("the picture is too large to be measured") from None
    except TooMuch:
        raise
    except (av.FFmpegError, ValueError):
        raise ValueError("this file is no clip that can be read") from None


class TooMuch(ValueError):
    """The file is within no limit; the message says which."""


def decoded(media: MediaFile) -> ClipFile:
    end = time.monotonic() + PATIENCE

    def in_time() -> None:
        if time.monotonic() > end:
            raise TooMuch("the clip takes too long to read")

    frames, waveform, length = None, None, MOST_SECONDS
    if media.size is not None:
        length = min(MOST_SECONDS, MOST_FRAMES / media.fps)
        most = min(MOST_FRAMES, math.floor(length * media.fps))
        # the size at which the meters look: they see the same of it as of the whole
        parts = [
            part
            for picture, times in media.frames(media.fps, check=in_time, most=most)
            for part in [small(picture[None].float() / 255)] * times
        ]
        frames = torch.cat(parts[:most]).movedim(1, -1)
    if media.sound is not None:
        waveform = media.waveform(seconds=length, check=in_time)
    cut = media.seconds > length + 0.5 / (media.fps or MOST_FRAMES)
    return ClipFile(frames, media.fps or 0.0, waveform, media.rate or 0, cut)
