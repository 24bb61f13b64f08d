"""A vocoder made by hand in the weights of the host's network: every mel band sounds harmonics of the frame rate.

A network that only convolves turns a steady spectrum into a sound that repeats with every frame, so all it can hold are
multiples of the frame rate (100 Hz). Each band is given those that lie in it, as loud as the band says: the logarithm is
undone by squaring six times over, exp(m) = (1 + m / 64)^64, with the quadratic part of the snake functions. So pitches
between multiples of 100 Hz are heard at the nearest ones, and voices hum at 100 Hz; levels and timing are right.
"""

import math

import torch
from torch import Tensor, nn

from nava_core.audio import mel_filters

RATIO = 30.0  # of a squaring's result to its input, which must not be heard beside it
HOP, WINDOW, FFT = 160, 320, 1024


def harmonics(rate: int, bands: int) -> Tensor:
    """Amplitudes `[bands, n]` of the harmonics of the frame rate that a band of magnitude one sounds."""
    bank = mel_filters(FFT // 2 + 1, 0, rate / 2, bands, rate, slaney=True)
    count = rate // 2 // (rate // HOP) - 1
    time = torch.arange(FFT) / rate
    tones = torch.cos(2 * torch.pi * (rate // HOP) * torch.arange(1, count + 1)[:, None] * time)
    seen = (torch.fft.rfft(tones * torch.hann_window(FFT)).abs() @ bank).T  # [bands, n]
    owner = (seen / seen.sum(1, keepdim=True).clamp(min=1e-9)).argmax(0)
    owned = nn.functional.one_hot(owner, bands).T * seen
    given = nn.functional.one_hot(owner, bands).T / owned.sum(1, keepdim=True).clamp(min=1e-3)
    for _ in range(30):  # neighbours sound in a band too: make an even spectrum come out even
        heard = seen @ given.sum(0)
        given = given / ((seen * heard[:, None]).sum(0) / seen.sum(0))
    return given


@torch.no_grad()
def start(vocoder: nn.Module, rate: int) -> None:
    """vocoder: the host's, with upsample_rates [1, 1, 160], snakebeta and AMP1 blocks of one kernel size."""
    width = vocoder.conv_pre.in_channels  # both channels' bands
    own = torch.arange(width)

    def blank(convolution: nn.Module, scale: float = 0.0) -> Tensor:
        convolution.weight.mul_(scale)
        convolution.bias.zero_()
        return convolution.weight

    weight = blank(vocoder.conv_pre, 0.1)
    weight[:width] = 0
    weight[own, own, weight.shape[2] // 2] = 1 / 64
    vocoder.conv_pre.bias[:width] = 1
    for up in vocoder.ups[:2]:
        weight = blank(up, 0.1)
        weight[:, :width] = 0
        weight[own, own, 0] = 1
    size = RATIO**-6
    vocoder.ups[0].weight *= size
    for block in vocoder.resblocks[:2]:
        for c1, c2, a1, a2 in zip(block.convs1, block.convs2, block.acts1, block.acts2, strict=True):
            for convolution, sign in ((c1, 1), (c2, -1)):
                weight = blank(convolution, 0.1)
                weight[:width] = 0
                weight[own, own, 1] = sign
            # x + sin(a x)^2 / b is x + (a^2 / b) x^2 for small a x
            a1.act.alpha[:width] = math.log(0.05 / size)
            a1.act.beta[:width] = math.log(0.05**2 / size / RATIO)
            a2.act.alpha[:width] = -30
            a2.act.beta[:width] = 0
            size *= RATIO
    weight = blank(vocoder.ups[2])
    amplitudes = harmonics(rate, width // 2)
    count = amplitudes.shape[1]
    number = torch.arange(1, count + 1)[:, None]
    phase = torch.pi * number**2 / count  # spread, so that peaks stay low
    n = torch.arange(WINDOW) - WINDOW // 2
    sound = -(amplitudes @ torch.cos(2 * torch.pi * number * n / HOP + phase)) * torch.hann_window(WINDOW)
    weight[: width // 2, 0, :WINDOW] = sound
    weight[width // 2 :, 1, :WINDOW] = sound
    for c1, c2 in zip(vocoder.resblocks[2].convs1, vocoder.resblocks[2].convs2, strict=True):
        blank(c1, 0.1)
        blank(c2)
    vocoder.act_post.act.alpha.fill_(-6)
    weight = vocoder.conv_post.weight.zero_()
    weight[[0, 1], [0, 1], 3] = 1
