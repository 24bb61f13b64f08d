"""Resampling, mel spectrograms and loudness against torchaudio's."""

import pytest
import torch

from nava_core import audio

torchaudio = pytest.importorskip("torchaudio")
RATES = [(48000, 16000), (44100, 48000), (44100, 16000), (16000, 44100), (8000, 48000), (11025, 16000), (96000, 48000)]


@pytest.fixture
def noise():
    return torch.randn(2, 3, 20_017, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("rate", "to_rate"), RATES)
def test_resampling_is_torchaudios(noise, rate, to_rate):
    wanted = torchaudio.functional.resample(noise, rate, to_rate)
    found = audio.resample(noise, rate, to_rate)
    assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-6


@pytest.mark.parametrize(("rate", "to_rate"), [(44101, 48000), (48000, 44101), (192_000, 44_099)])
def test_rates_without_a_common_divisor_keep_a_tone(rate, to_rate):
    """Filters for every place between two samples would take gigabytes."""
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(rate) / rate)
    found = audio.resample(tone[None], rate, to_rate)[0]
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(to_rate) / to_rate)
    assert len(found) == to_rate and (found - wanted)[500:-500].abs().max() < 0.01
    assert (audio.resample(tone[None], rate, 48000)[0] - tone[0]).abs().max() <= 2  # nothing left unset


def test_both_ways_of_resampling_agree(noise, monkeypatch):
    usual = audio.resample(noise, 48000, 44100)
    monkeypatch.setattr(audio, "MOST_TAPS", 1000)
    assert (audio.resample(noise, 48000, 44100) - usual).abs().max() < 2e-4


def test_a_filter_made_in_a_node_serves_training():
    with torch.inference_mode():
        audio.resample(torch.zeros(1, 100), 32000, 12000)
    with torch.inference_mode(False):
        sound = torch.ones(1, 100, requires_grad=True)
        audio.resample(sound, 32000, 12000).sum().backward()
        assert sound.grad.abs().max() > 0


@pytest.mark.parametrize("rate", [0, -1, 44100.5])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="sample rate"):
        audio.resample(torch.zeros(1, 10), rate, 16000)


def test_mel_spectrogram_is_torchaudios(noise):
    theirs = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=512, win_length=400, hop_length=160, f_min=20, f_max=7600, n_mels=72,
        window_fn=torch.hamming_window,
    )  # fmt: skip
    ours = audio.MelSpectrogram(16000, size=512, window=400, hop=160, low=20, high=7600, mels=72)
    wanted = theirs(noise)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert (ours(noise) - wanted).abs().max() < 1e-6 * wanted.max()


@pytest.mark.parametrize(("bins", "mels", "rate"), [(257, 64, 16000), (1025, 64, 48000)])
def test_slaneys_filters_are_torchaudios(bins, mels, rate):
    wanted = torchaudio.functional.melscale_fbanks(bins, 0, rate / 2, mels, rate, norm="slaney", mel_scale="slaney")
    assert (audio.mel_filters(bins, 0, rate / 2, mels, rate, slaney=True) - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("level", [0.01, 0.3, 1.5])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_loudness_is_torchaudios(rate, level, channels):
    fade = torch.linspace(0, 1, 3 * rate, dtype=torch.float64)
    sound = level * fade * torch.randn(channels, 3 * rate, generator=torch.Generator().manual_seed(1)).double()
    assert abs(audio.loudness(sound, rate) - torchaudio.functional.loudness(sound, rate)) < 1e-6
