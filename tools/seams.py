"""What is seen and heard where a clip goes on, against everywhere else in it."""

import math
import sys

import torch
from environment import ROOT

sys.path.insert(0, str(ROOT))
from nava_core.sizes import FRAMES_PER_LATENT

sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's

REACH = 0.2  # seconds on either side of a seam, for loudness
FLUX = 1024, 256  # window and step of the spectral flux
SILENCE = 1e-5  # mean square of what counts as silence: -50 dB of full scale, so that steps out of nothing stay finite


def steps_of_loudness(waveform: torch.Tensor, rate: int, times: list[float]) -> list[float]:
    """dB between the mean loudness of the 0.2 s before and after each time, of `waveform [C, N]`."""
    reach, found = round(REACH * rate), []
    for time in times:
        at = round(time * rate)
        parts = waveform[:, max(0, at - reach) : at], waveform[:, at : at + reach]
        before, after = (10 * math.log10(float(p.square().mean()) + SILENCE) for p in parts)
        found.append(abs(after - before))
    return found


def seam(frames: torch.Tensor, fps: float, waveform: torch.Tensor, rate: int, firsts: list[int]) -> dict[str, float]:
    """Means over the seams of a clip `frames [N, H, W, C]`, `waveform [C, M]`; firsts: the frames that follow a seam.

    picture: frame difference across the seam, over the mean of all others; its controls are the 95th percentile of the others,
    and the mean between groups of frames that are parted where the seams are.
    loudness: dB of step; its control the mean of the others. flux: spectral flux, over the 95th percentile of the rest.
    """
    change = (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))
    at = torch.tensor([f - 1 for f in firsts])
    others = torch.ones(len(change), dtype=torch.bool)
    others[at] = False
    edges = torch.arange(len(change)) % FRAMES_PER_LATENT == at[0] % FRAMES_PER_LATENT  # more changes there than within
    usual = change[others].mean().clamp(min=1e-8)
    reach = math.ceil(REACH * fps)
    inside = [f for f in range(reach, len(frames) - reach) if all(abs(f - first) > reach for first in firsts)]
    size, step = FLUX
    spectrum = torch.stft(waveform.mean(0), size, step, window=torch.hann_window(size), return_complex=True).abs()
    flux = (spectrum[:, 1:] - spectrum[:, :-1]).clamp(min=0).sum(0)
    near = torch.zeros(len(flux), dtype=torch.bool)
    for first in firsts:
        place = round(first / fps * rate) // step
        near[max(0, place - 2) : place + 3] = True
    found = {
        "picture": float(change[at].mean() / usual),
        "picture_elsewhere": float(change[others].quantile(0.95) / usual),
        "picture_groups": float(change[others & edges].mean() / usual),
        "loudness": mean(steps_of_loudness(waveform, rate, [f / fps for f in firsts])),
        "flux": float(flux[near].max() / flux[~near].quantile(0.95).clamp(min=1e-8)),
    }
    if inside:
        found["loudness_elsewhere"] = mean(steps_of_loudness(waveform, rate, [f / fps for f in inside]))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(max(float((a - b).square().mean()), 1e-10))
