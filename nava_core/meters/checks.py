"""What every meter needs of its inputs."""

import math

import torch
from torch import Tensor


def check_frames(frames: Tensor, fps: float) -> None:
    """Raise ValueError unless `frames` is `[T, H, W, C]` with something in it and `fps` a rate."""
    if frames.ndim != 4 or 0 in frames.shape:
        raise ValueError(f"the picture must be [frames, height, width, channels], not {tuple(frames.shape)}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"the frame rate is {fps}; it must be above 0")


def check_waveform(waveform: Tensor, sample_rate: int) -> None:
    """Raise ValueError unless `waveform` is `[channels, samples]`, finite, with something in it and `sample_rate` a rate."""
    if waveform.ndim != 2 or 0 in waveform.shape:
        raise ValueError(f"the sound must be [channels, samples], not {tuple(waveform.shape)}")
    if sample_rate < 1:
        raise ValueError(f"the sample rate is {sample_rate}; it must be above 0")
    if not torch.isfinite(waveform).all():
        raise ValueError("the sound contains samples that are not numbers (NaN or infinite)")
