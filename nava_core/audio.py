"""Sound as numbers: another sample rate, mel spectrograms, loudness. Equal to torchaudio's, which newer ComfyUI do not install."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from scipy.signal import lfilter
from torch import Tensor, nn

ZEROS = 6  # of the sinc on either side of its middle
MOST_TAPS = 4_000_000  # of all filters together; above it they are computed for each sample
ROLLOFF = 0.99  # of the lower Nyquist frequency: where the filter ends
BLOCK, OVERLAP = 0.4, 0.75  # of the gate of ITU-R BS.1770-4: seconds, share
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, and LU below what passed the first
SURROUND_GAIN = 1.41  # BS.1770-4, table 3: of the two channels beside or behind
MINUS_3_DB = 0.5**0.5  # ITU-R BS.775-3, table 2: of centre and surround in a mix to two channels
CANCELLED = 0.1  # power of the mix to one channel by that of the louder channel, under which they cancel each other out
# Places by number of channels, in the order in which FFmpeg gives them; three are taken as left, right, centre.
PLACES = {
    1: ["FC"], 2: ["FL", "FR"], 3: ["FL", "FR", "FC"], 4: ["FL", "FR", "FC", "BC"], 5: ["FL", "FR", "FC", "BL", "BR"],
    6: ["FL", "FR", "FC", "LFE", "BL", "BR"], 7: ["FL", "FR", "FC", "LFE", "BC", "SL", "SR"],
    8: ["FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"],
}  # fmt: skip


def fold(waveform: Tensor, places: list[str] | None = None) -> Tensor:
    """`[..., C, N]` -> stereo `[..., 2, N]` by ITU-R BS.775: centre and surrounds at -3 dB, the effects channel left out.

    places: FFmpeg's names of the channels (FL, FR, FC, LFE, BL, ...), else by their number. One channel is doubled, two stay.
    Is made quieter only where the mix would be louder than full scale and no channel is.
    """
    count = waveform.shape[-2]
    if count == 1:
        return waveform.expand(*waveform.shape[:-2], 2, waveform.shape[-1]).contiguous()
    places = PLACES.get(count) if places is None or len(places) != count else places
    if count == 2 and (places is None or set(places) <= {"FL", "FR"} or not set(places) & {"FC", "LFE"}):
        return waveform
    if places is None:  # more channels than have names: all are heard alike
        return waveform.mean(-2, keepdim=True).expand(*waveform.shape[:-2], 2, waveform.shape[-1]).contiguous()
    gains = torch.tensor([channel_gains(p) for p in places], dtype=waveform.dtype, device=waveform.device)
    mix = torch.einsum("...cn,ck->...kn", waveform, gains)
    if mix.numel() == 0:
        return mix
    most = mix.abs().amax((-2, -1), keepdim=True)
    return mix * (waveform.abs().amax((-2, -1), keepdim=True).clamp(min=1) / most.clamp(min=1e-9)).clamp(max=1)


def channel_gains(place: str) -> tuple[float, float]:
    """How loud a channel is on the left and on the right."""
    if place.startswith("LFE"):
        return (0.0, 0.0)
    if place in ("FL", "FLC", "DL", "FR", "FRC", "DR"):
        return (1.0, 0.0) if "L" in place else (0.0, 1.0)
    if place == "BC":  # one channel behind: half of its power to either side, at -3 dB as every surround
        return (0.5, 0.5)
    if place.endswith("C") or ("L" not in place and "R" not in place):
        return (MINUS_3_DB, MINUS_3_DB)
    return (MINUS_3_DB, 0.0) if "L" in place else (0.0, MINUS_3_DB)


def one_channel(waveform: Tensor) -> Tensor:
    """What is heard of `[..., C, N]`, `[..., N]`: the mean of both sides, or the louder side where they cancel each other out."""
    sides = fold(waveform)
    middle = sides.mean(-2)
    if 0 in waveform.shape or waveform.shape[-2] == 1:
        return middle
    louder = sides.square().mean(-1).argmax(-1)[..., None, None].expand(*sides.shape[:-2], 1, sides.shape[-1])
    return torch.where(cancels(sides)[..., None], sides.gather(-2, louder).squeeze(-2), middle)


def cancels(waveform: Tensor) -> Tensor:
    """`[...]` bool: left and right of `[..., C, N]` nearly extinguish each other in a mix to one channel."""
    sides = fold(waveform)
    sides = sides - sides.mean(-1, keepdim=True)
    return sides.mean(-2).square().mean(-1) < CANCELLED * sides.square().mean(-1).amax(-1)


def resample(waveform: Tensor, rate: int, to_rate: int) -> Tensor:
    """`[..., N]` at `rate` Hz -> `[..., ceil(N * to_rate / rate)]` at `to_rate`, by a sinc with a Hann window. float, any device.

    Raises ValueError for rates that are no positive whole numbers.
    """
    if int(rate) != rate or int(to_rate) != to_rate or rate < 1 or to_rate < 1:
        raise ValueError(f"a sample rate is a positive whole number of Hz, not {rate} or {to_rate}")
    common = math.gcd(int(rate), int(to_rate))
    before, after = int(rate) // common, int(to_rate) // common
    if before == after or 0 in waveform.shape:
        return waveform
    length = waveform.shape[-1]
    count = -(-length * after // before)
    rows = waveform.reshape(-1, length)
    if before * after > MOST_TAPS:
        return interpolated(rows, before, after, count).reshape(*waveform.shape[:-1], count)
    kernel, reach = sinc_kernel(before, after, waveform.dtype)
    rows = F.pad(rows[:, None], (reach, reach + before))
    phases = F.conv1d(rows, kernel.to(waveform.device), stride=before)  # [rows, after, N / before]
    return phases.transpose(1, 2).reshape(*waveform.shape[:-1], -1)[..., :count]


def interpolated(rows: Tensor, before: int, after: int, count: int) -> Tensor:
    """As the filters of `sinc_kernel`, sample by sample: rates without a common divisor would need billions of taps."""
    cutoff = min(before, after) / before * ROLLOFF
    reach = math.ceil(ZEROS / cutoff)
    padded = F.pad(rows, (reach, reach + 1))
    offsets = torch.arange(-reach, reach + 1, device=rows.device)
    out = rows.new_empty(len(rows), count)
    step = max(1, MOST_TAPS // len(offsets) // len(rows))
    for first in range(0, count, step):
        wanted = torch.arange(first, min(first + step, count), device=rows.device)
        nearest = wanted * before // after
        rest = (wanted * before - nearest * after).double() / after
        time = ((offsets - rest[:, None]) * cutoff).clamp(-ZEROS, ZEROS)
        taps = torch.sinc(time) * torch.cos(time * math.pi / ZEROS / 2).square() * cutoff
        heard = padded[:, nearest[:, None] + offsets + reach]  # [rows, wanted, taps]
        out[:, first : first + len(wanted)] = (heard * taps.to(rows.dtype)).sum(-1)
    return out


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # a kernel first made inside a node serves training too
def sinc_kernel(before: int, after: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """(filters `[after, 1, taps]`, one for each place between two old samples; how far they reach to either side)."""
    cutoff = min(before, after) * ROLLOFF
    reach = math.ceil(ZEROS * before / cutoff)
    # in the sound's own precision: what torchaudio rounds, and with it the released voices, is rounded here too
    taps = torch.arange(-reach, reach + before, dtype=dtype) / before
    places = torch.arange(0, -after, -1, dtype=dtype)[:, None, None] / after
    time = ((places + taps) * cutoff).clamp(-ZEROS, ZEROS)
    window = torch.cos(time * math.pi / ZEROS / 2).square()
    return torch.sinc(time) * window * (cutoff / before), reach


def mel_filters(bins: int, low: float, high: float, mels: int, rate: int, slaney: bool = False) -> Tensor:
    """`[bins, mels]` float32: triangles that are even on the mel scale, over the bins of a spectrum up to `rate / 2` Hz.

    slaney: the scale that is linear up to 1 kHz, and triangles of the same area; else HTK's, and triangles of height 1.
    """
    to_mel, to_hz = (slaney_mel, slaney_hz) if slaney else (htk_mel, htk_hz)
    frequencies = torch.linspace(0, rate // 2, bins)
    corners = to_hz(torch.linspace(to_mel(low), to_mel(high), mels + 2))
    slopes = corners[None] - frequencies[:, None]  # [bins, mels + 2]
    width = corners.diff()
    triangles = torch.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]).clamp(min=0)
    return triangles * (2 / (corners[2:] - corners[:-2])) if slaney else triangles


def htk_mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def htk_hz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)


def slaney_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def slaney_hz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))


class MelSpectrogram(nn.Module):
    """Power in mel bands: `[..., N]` -> `[..., mels, 1 + N // hop]`. Its buffers have torchaudio's names, which checkpoints hold."""

    def __init__(self, rate: int, size: int, window: int, hop: int, low: float, high: float, mels: int):
        """size: samples of a transform, of which a Hamming window covers `window`; hop: samples between two; low, high: Hz."""
        super().__init__()
        self.size, self.hop, self.length = size, hop, window
        self.spectrogram, self.mel_scale = nn.Module(), nn.Module()
        self.spectrogram.register_buffer("window", torch.hamming_window(window))
        self.mel_scale.register_buffer("fb", mel_filters(size // 2 + 1, low, high, mels, rate))

    def forward(self, waveform: Tensor) -> Tensor:
        rows = waveform.reshape(-1, waveform.shape[-1])
        spectrum = torch.stft(
            rows,
            self.size,
            self.hop,
            self.length,
            self.spectrogram.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.abs().square().reshape(*waveform.shape[:-1], *spectrum.shape[-2:])
        return (power.transpose(-1, -2) @ self.mel_scale.fb).transpose(-1, -2)


def loudness(waveform: Tensor, rate: int) -> Tensor:
    """Integrated loudness of `[..., C, N]` in LUFS, ITU-R BS.1770-4: `[...]` float64; -inf or NaN where nothing passes the gates.

    As torchaudio's, its filter coefficients included, which lie 0.3 LU low at 1 kHz. At most five channels.
    """
    sound = waveform.double().cpu()
    if sound.shape[-2] > 5:
        raise ValueError(f"loudness is defined for at most 5 channels, there are {sound.shape[-2]}")
    sound = filtered(filtered(sound, *shelf(rate, 4.0, 1500.0, 0.5**0.5)), *high_pass(rate, 38.0, 0.5))
    length = round(BLOCK * rate)
    blocks = sound.unfold(-1, length, round(BLOCK * rate * (1 - OVERLAP)))
    weights = torch.tensor([1.0, 1.0, 1.0, SURROUND_GAIN, SURROUND_GAIN], dtype=sound.dtype)[: sound.shape[-2]]
    energy = blocks.square().mean(-1)  # [..., C, blocks]

    def level(energies: Tensor) -> Tensor:
        return -0.691 + 10 * torch.log10((weights[:, None] * energies).sum(-2))

    def mean_of(kept: Tensor) -> Tensor:
        return ((kept[..., None, :] * energy).sum(-1) / kept.sum(-1, keepdim=True))[..., None]

    kept = level(energy) > ABSOLUTE_GATE
    kept = kept & (level(energy) > level(mean_of(kept)) + RELATIVE_GATE)
    return level(mean_of(kept))[..., 0]


def filtered(sound: Tensor, b: list[float], a: list[float]) -> Tensor:
    """`[..., N]` through a recursive filter, float64 on the CPU; limited to full scale as torchaudio does it."""
    return torch.from_numpy(lfilter(b, a, sound.numpy())).clamp(-1, 1)


def shelf(rate: int, gain: float, centre: float, q: float) -> tuple[list[float], list[float]]:
    """A biquad (b, a) that lifts what lies above `centre` Hz by `gain` dB."""
    w, amplitude = 2 * math.pi * centre / rate, math.exp(gain / 40 * math.log(10))
    alpha, c = math.sin(w) / 2 / q, math.cos(w)
    root = 2 * math.sqrt(amplitude) * alpha
    more, less = amplitude + 1, amplitude - 1
    b = [amplitude * (more + less * c + root), -2 * amplitude * (less + more * c), amplitude * (more + less * c - root)]
    return b, [more - less * c + root, 2 * (less - more * c), more - less * c - root]


def high_pass(rate: int, cutoff: float, q: float) -> tuple[list[float], list[float]]:
    """A biquad (b, a) that keeps what lies above `cutoff` Hz."""
    w = 2 * math.pi * cutoff / rate
    alpha, c = math.sin(w) / 2 / q, math.cos(w)
    return [(1 + c) / 2, -1 - c, (1 + c) / 2], [1 + alpha, -2 * c, 1 - alpha]
