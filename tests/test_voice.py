"""Voices: the encoder against the released numbers, and recordings of every kind."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support import DATA

import nava_core
from nava_core import CheckpointError
from nava_core.audio import resample
from nava_core.redimnet import ReDimNet, ReDimNetConfig
from nava_core.voice import AudioError, doubts

TINY = DATA / "redimnet_tiny.pt"
M = {
    "F": 72, "C": 16, "block_1d_type": "att", "block_2d_type": "convnext_like", "group_divisor": 4, "out_channels": None,
    "embed_dim": 192, "hop_length": 160, "pooling_func": "ASTP", "feat_type": "pt",
    "stages_setup": [(s, n, 1, [(3, 3)], r) for s, n, r in ((1, 2, 12), (2, 2, 12), (1, 3, 12), (2, 4, 8), (1, 4, 8), (2, 4, 4))],
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    return nava_core.load_voice_encoder(TINY)


@pytest.fixture(scope="module")
def speech():
    """Four seconds of something voice-like at 48 kHz: a gliding pulse train with syllables."""
    t = torch.arange(4 * 48000) / 48000
    phase = 2 * torch.pi * torch.cumsum(140 * (1 + 0.2 * torch.sin(2 * torch.pi * 0.7 * t)), 0) / 48000
    voice = sum(torch.sin(k * phase) / k for k in range(1, 25))
    return (0.2 * voice * (1.1 + torch.sin(2 * torch.pi * 3 * t)))[None]


@pytest.mark.parametrize("case", ["noise_short", "speechlike"])
def test_parity(encoder, golden, case):
    g = golden("speaker")
    error = (encoder(g[f"{case}.waveform"], 16000) - g[f"{case}.embedding"]).abs().max().item()
    print(f"speaker {case}: max error {error:.1e}")
    assert error < 1e-5


def test_released_model_has_the_manifest():
    network = ReDimNet(ReDimNetConfig.from_dict(M))
    manifest = json.loads((DATA / "redimnet_m_manifest.json").read_text())
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == manifest
    assert sum(p.numel() for p in network.parameters()) == 4_234_193


def test_all_variants_run():
    """Expansion, no reduction, global context and the last norm: the fields that released variants differ in."""
    stages = [(1, 1, 2, [(3, 3)], None), (2, 1, 1, [(3, 3)], 8)]
    config = {**M, "F": 24, "C": 8, "stages_setup": stages, "global_context_att": True, "emb_bn": True}
    network = ReDimNet(ReDimNetConfig.from_dict(config)).eval()
    for parameter in network.parameters():
        parameter.normal_(std=0.05)
    assert torch.isfinite(network(torch.randn(2, 16000))).all()


def test_safetensors_version(tmp_path, encoder, speech):
    content = torch.load(TINY, weights_only=True)
    path = tmp_path / "voice.safetensors"
    save_file(content["state_dict"], path, {"model_config": json.dumps(content["model_config"])})
    assert torch.equal(nava_core.load_voice_encoder(path)(speech, 48000), encoder(speech, 48000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_1d_type": "conv"}, "block_1d_type is 'conv'"),
        ({"pooling_func": "MEAN"}, "pooling_func"),
        ({"stages_setup": [(1, 1, 1, [(7, 7)], 4)]}, "kernels"),
    ],
)
def test_other_architectures_are_refused(tmp_path, change, message):
    content = torch.load(TINY, weights_only=True)
    content["model_config"] |= change
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=message):
        nava_core.load_voice_encoder(tmp_path / "other.pt")


class Harmful:
    def __reduce__(self):
        return (print, ("code ran while loading",))


def test_unsafe_and_broken_files(tmp_path, capsys):
    torch.save({"model_config": Harmful(), "state_dict": {}}, tmp_path / "harmful.pt")
    (tmp_path / "cut.pt").write_bytes(TINY.read_bytes()[:1000])
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("harmful.pt", "cut.pt", "list.pt", "none.pt"):
        with pytest.raises(CheckpointError, match=name) as error:
            nava_core.load_voice_encoder(tmp_path / name)
        print(error.value)
    assert "code ran" not in capsys.readouterr().out.replace(str(error.value), "")


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(encoder, speech, rate, channels):
    resampled = resample(speech, 48000, rate).expand(channels, -1)
    reference, found = encoder(speech, 48000), encoder(resampled, rate)
    cosine = torch.cosine_similarity(reference, found).item()
    print(f"{rate} Hz, {channels} channels: cosine {cosine:.5f}")
    assert found.shape == (1, 192)
    assert cosine > (0.97 if rate < 16000 else 0.999)  # 8 kHz has lost the upper half of the band


@pytest.mark.parametrize("gain", [0.05, 0.3, 3.0])
def test_loudness(encoder, speech, gain):
    cosine = torch.cosine_similarity(encoder(speech, 48000), encoder(speech * gain, 48000)).item()
    print(f"gain {gain}: cosine {cosine:.5f}")
    assert cosine > 0.97  # at a twentieth the floor of the log-mel features begins to show


def test_only_the_first_half_minute_is_heard(encoder, speech):
    long = speech.repeat(1, 10)
    changed = torch.cat([long[:, : 30 * 48000], torch.zeros(1, 48000)], dim=1)
    assert torch.equal(encoder(long, 48000), encoder(changed, 48000))


def test_batches(encoder, speech):
    both = encoder(torch.stack([speech, speech * 0.5]), 48000)
    assert both.shape == (2, 192)
    torch.testing.assert_close(both[:1], encoder(speech, 48000), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(1, 0), "empty"),
        (torch.zeros(0, 16000), "empty"),
        (torch.full((1, 16000), float("nan")), "NaN"),
        (torch.full((2, 16000), float("inf")), "NaN or infinite"),
        (torch.zeros(1, 100), "too short"),
        (torch.zeros(16000), "expected a waveform"),
    ],
)
def test_what_is_no_recording(encoder, waveform, message):
    with pytest.raises(AudioError, match=message):
        encoder(waveform, 16000)


@given(
    st.integers(0, 6), st.integers(0, 40_000), st.sampled_from([8000, 11025, 16000, 44100, 48000, 192000]),
    st.sampled_from([0.0, 1e-4, 1.0, 100.0]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_recording_gives_an_embedding_or_a_clear_error(encoder, channels, samples, rate, gain):
    try:
        assert torch.isfinite(encoder(torch.randn(channels, samples) * gain, rate)).all()
    except AudioError as error:
        assert "recording" in str(error)


def test_doubts(speech):
    assert doubts(speech, 48000) == []
    assert "silent" in doubts(torch.zeros(1, 5 * 16000), 16000)[0]
    assert "clipped" in doubts((speech * 50).clamp(-1, 1), 48000)[0]
    assert "lasts 1.0 s" in doubts(speech[:, :48000], 48000)[0]
    assert "first 30 s" in doubts(speech.repeat(1, 10), 48000)[0]
