"""What is wrong with a sound by itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..audio import loudness as integrated
from .checks import check_waveform

CLIPPED = 0.999
QUIET_DB = -60.0  # of full scale, over 20 ms: silence
BAND_DB = 60.0  # below the spectrum's maximum: nothing is there any more
SHORTEST_LOUDNESS = 0.4  # seconds: the block of ITU-R BS.1770


@dataclass(frozen=True)
class SoundQuality:
    """None: cannot be measured (silence, too short, or mono where two channels are needed).

    clipped: share of samples at full scale. loudness: integrated, LUFS (ITU-R BS.1770-4 see `audio.loudness`, 0.3 low at 1 kHz). silence: share of 20 ms steps below
    -60 dBFS. dc: largest mean of a channel, of full scale. balance: -1 all left, 0 centre, 1 all right, by power.
    bandwidth: Hz up to which anything within 60 dB of the loudest is heard.
    """

    clipped: float
    loudness: float | None
    silence: float
    dc: float
    balance: float | None
    bandwidth: float | None


def sound_quality(waveform: Tensor, sample_rate: int) -> SoundQuality:
    """Measure `waveform [C, N]`. Raises ValueError for what is no sound."""
    check_waveform(waveform, sample_rate)
    sound = waveform.float().cpu()
    step = max(1, sample_rate // 50)
    blocks = sound[:, : max(1, sound.shape[-1] // step) * step].unfold(-1, min(step, sound.shape[-1]), step)
    level = blocks.square().mean((0, 2)).clamp(min=1e-12).log10() * 10
    power = sound.square().mean(-1)
    silent = sound.abs().max() < 1e-6
    loudness = None
    if not silent and sound.shape[-1] >= SHORTEST_LOUDNESS * sample_rate:
        value = integrated(sound[:5], sample_rate).item()
        loudness = value if value > -70 else None  # the standard's gate: nothing is left, or NaN
    balance = None
    if sound.shape[0] == 2 and not silent:
        balance = ((power[1] - power[0]) / power.sum()).item()
    return SoundQuality(
        clipped=(sound.abs() >= CLIPPED).float().mean().item(),
        loudness=loudness,
        silence=(level < QUIET_DB).float().mean().item(),
        dc=sound.mean(-1).abs().max().item(),
        balance=balance,
        bandwidth=None if silent else bandwidth(sound, sample_rate),
    )


def bandwidth(sound: Tensor, sample_rate: int) -> float:
    """Hz below which all of `sound [C, N]` lies that is within 60 dB of the loudest part of its long-term spectrum."""
    size = min(2048, sound.shape[-1])
    window = torch.blackman_window(size)  # its side lobes lie below what is looked for
    parts = sound.unfold(-1, size, max(1, size // 2)) * window
    spectrum = torch.fft.rfft(parts).abs().square().mean((0, 1)).clamp(min=1e-20).log10() * 10
    heard = (spectrum > spectrum.max() - BAND_DB).nonzero().max().item()
    return min(heard * sample_rate / size, sample_rate / 2)
