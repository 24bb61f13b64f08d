"""Where sounds begin: spectral flux (Bello et al. 2005), threshold from its surroundings, 50 ms non-maximum suppression."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio import resample
from .peaks import pick

RATE = 16000
WINDOW = 320  # 20 ms
HOP = 80  # 5 ms
STEPS_PER_SECOND = RATE // HOP
COMPRESSION = 100.0  # of the magnitude's maximum: partials 40 dB below it still count
LATER = 4  # steps: 20 ms
SUPPRESSION = 10  # steps: 50 ms
SURROUNDINGS = 40  # steps on either side, 200 ms, against which a peak is judged
SHARE = 0.12  # of the clip's largest value
ABOVE = 1.6  # times the mean of its surroundings
SILENT = 1e-4  # of full scale; a waveform that never exceeds it (-80 dB) has no onsets


def onset_strength(waveform: Tensor, sample_rate: int) -> Tensor:
    """How much sound begins, per 5 ms: `waveform [C, N]` -> `[K]`, value k for the time k * 5 ms; 0 where silent.

    The same for any loudness, and nearly so for any sample rate of 16 kHz or more.
    """
    peak = waveform.abs().max() if waveform.numel() else 0
    if peak < SILENT:
        return torch.zeros(waveform.shape[-1] * STEPS_PER_SECOND // sample_rate + 1)
    sound = waveform.float().cpu() / peak.float().cpu()
    if sample_rate != RATE:
        sound = resample(sound, sample_rate, RATE)
    window = torch.hann_window(WINDOW)
    # silence before: a sound that begins with the clip begins
    sound = F.pad(sound, (WINDOW, WINDOW))
    magnitude = torch.stft(sound, WINDOW, HOP, window=window, center=False, return_complex=True).abs()
    magnitude = magnitude.square().mean(0).sqrt()  # over channels: opposite phases do not cancel
    level = torch.log1p(COMPRESSION * magnitude / magnitude.max())
    # a rise over 10 ms, against the loudest of neighbouring bins before: a gliding tone is no onset (SuperFlux)
    before = F.max_pool1d(level.T[:, None], 3, stride=1, padding=1)[:, 0].T
    flux = (level[:, 2:] - before[:, :-2]).clamp(min=0).mean(0)
    # the click of a tone cut off spreads over all bins too, but 20 ms later little is left: an end, not a beginning
    whole = F.pad(magnitude.square().sum(0).sqrt(), (0, LATER))
    left = whole[1 + LATER : 1 + LATER + flux.numel()] / whole[: flux.numel()].clamp(min=1e-6)
    flux = flux * ((left - 0.3) / 0.3).clamp(0, 1)
    # flux[j] compares windows whose centres lie at j * HOP +- HOP, counted from half a window before the padding's end
    first = WINDOW // 2 // HOP - 1
    return flux[first : first + waveform.shape[-1] * STEPS_PER_SECOND // sample_rate - WINDOW // HOP // 2]


def pick_onsets(strength: Tensor) -> list[float]:
    """Seconds of the peaks of what `onset_strength` returns."""
    return [k / STEPS_PER_SECOND for k in pick(strength, SURROUNDINGS, SUPPRESSION, SHARE, ABOVE)]


def onsets(waveform: Tensor, sample_rate: int) -> list[float]:
    """Seconds at which a sound begins in `waveform [C, N]`; [] for silence."""
    return pick_onsets(onset_strength(waveform, sample_rate))
