"""Finished sound: fitted to the picture's length, and joined from clip to clip."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_length(waveform: Tensor, samples: int) -> Tensor:
    """Cut `waveform [..., N]` to `samples`, or fill it up with silence."""
    return F.pad(waveform[..., :samples], (0, max(0, samples - waveform.shape[-1])))


def join_sound(first: Tensor, second: Tensor, overlap: int, equal_power: bool = True) -> Tensor:
    """Append two waveforms `[B, C, N]` whose last and first `overlap` samples coincide, with a crossfade.

    equal_power keeps the loudness of different sounds; without it amplitudes add up to one, for sounds that are the same.
    """
    if overlap < 0 or overlap > min(first.shape[-1], second.shape[-1]):
        raise ValueError(f"cannot crossfade over {overlap} samples of {first.shape[-1]} and {second.shape[-1]}")
    if overlap == 0:
        return torch.cat([first, second], dim=-1)
    angle = (torch.arange(overlap, dtype=first.dtype, device=first.device) + 0.5) * (math.pi / 2 / overlap)
    out, in_ = (angle.cos(), angle.sin()) if equal_power else (angle.cos().square(), angle.sin().square())
    blend = first[..., -overlap:] * out + second[..., :overlap] * in_
    return torch.cat([first[..., :-overlap], blend, second[..., overlap:]], dim=-1)
