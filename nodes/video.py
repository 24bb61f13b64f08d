"""A VIDEO by its own time stamps: what Get Video Components spreads evenly, and whose sound it moves to the beginning."""

import torch
from comfy_api.latest._input_impl import VideoFromFile

from ..nava_core.media_file import MediaError, MediaFile, all_frames
from ..nava_core.sizes import FPS


def media_of(video, where: str) -> tuple[MediaFile | None, float, float | None]:
    """(the file behind a VIDEO, from which second, how many seconds); no file where a node made it of frames and sound."""
    if not isinstance(video, VideoFromFile):
        return None, 0.0, None
    start, seconds = video.get_active_trim_window()
    try:
        return MediaFile(video.get_stream_source()), start, seconds or None
    except MediaError as error:
        raise ValueError(f"{where}: {error}. Load another file.") from None


def frames_of(video, where: str) -> tuple[torch.Tensor | None, float]:
    """(frames `[T, H, W, C]` 0..1, frame rate) of a VIDEO; None where it has no picture."""
    media, start, seconds = media_of(video, where)
    if media is None:
        parts = video.get_components()
        return parts.images, float(parts.frame_rate)
    if media.size is None:
        return None, float(FPS)
    most = None if seconds is None else max(1, round(seconds * FPS))
    try:
        return all_frames(media, FPS, start=start, most=most).float() / 255, float(FPS)
    except MediaError as error:
        raise ValueError(f"{where}: {error}. Load another file.") from None


def audio_of(video, where: str) -> dict | None:
    """The AUDIO of a VIDEO, beginning with its picture, stereo; None where it has no sound."""
    media, start, seconds = media_of(video, where)
    if media is None:
        return video.get_components().audio
    if media.sound is None:
        return None
    try:
        return {"waveform": media.stereo(start, seconds)[None], "sample_rate": media.rate}
    except MediaError as error:
        raise ValueError(f"{where}: {error}. Load another file.") from None
