"""The sound that is heard while it forms."""

import base64
import io
import wave

import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced


@pytest.fixture
def latent():
    return torch.randn(1, 8, 40, 16, generator=torch.Generator().manual_seed(1))


def samples_of(data):
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        return torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16).float() / 32767


def test_what_is_heard_is_what_is_decoded(nava, files, latent):
    listening = nava("live_sound").LiveSound(files["audio_vae"])
    assert listening.hear(latent, 1000.0) is None and listening.probes == 1  # it learns what the whole takes
    heard = samples_of(listening.hear(latent[:, :, None], 1000.0))  # as stock samplers reshape a lone sound
    whole, rate = nava("sound").decode_sound(latent, files["audio_vae"])
    expected = whole[0].mean(0)[: len(heard) * 2].unflatten(0, (-1, 2)).mean(1).clamp(-1, 1)
    assert rate == 48000 and abs(len(heard) * 2 - whole.shape[-1]) < 2
    assert (heard - expected).abs().max() < 1e-4 and heard.std() > 0


def test_it_keeps_to_its_share(nava, files, latent, monkeypatch):
    """Two short probes at most where the whole does not fit; none where memory would have to be freed."""
    listening = nava("live_sound").LiveSound(files["audio_vae"])
    lengths = []
    decode = nava("sound").decode_sound
    monkeypatch.setattr(nava("live_sound"), "decode_sound", lambda x, vae: lengths.append(x.shape[2]) or decode(x, vae))
    assert all(listening.hear(latent, budget) is None for budget in (1e-6, 2e-6, listening.spent, 1e-5, 1e-5))
    assert lengths == [10]
    assert listening.hear(latent, listening.spent + 1e-6) is None and lengths == [10, 10]
    assert listening.hear(latent, listening.spent + 1e-6) is None and lengths == [10, 10]
    assert listening.hear(latent, 1000.0) is not None and lengths == [10, 10, 40]
    monkeypatch.setattr(files["audio_vae"].patcher, "load_device", torch.device("meta"))
    monkeypatch.setattr(nava("live_sound").comfy.model_management, "get_free_memory", lambda device: 2**20)
    assert listening.hear(latent, 1000.0) is None and lengths == [10, 10, 40]


def test_live_view_sends_it(nava, files, monkeypatch):
    """Sampling with an audio VAE on the guider: events carry sound, and the result stays the same."""
    text = nava("text").NavaTextEncode.execute(files["clip"], "a", "b").args
    latent = nava("latent").NavaEmptyLatent.execute("audio + video", 64, 64, 0.5, 1)[0]
    sigmas = nava("sample").NavaScheduler.execute(files["model"], 4, 5.0, 1.0)[0]
    sampler = nava("sample").NavaSamplerSelect.execute("unipc")[0]
    live, sent = nava("live"), []

    class Watching(live.LiveView):
        def __init__(self, *given):
            super().__init__(*given)
            self.server = type("Server", (), {"last_node_id": "1", "last_prompt_id": "1", "client_id": "1"})()
            self.server.send_sync = lambda kind, event, client: sent.append(event)

    monkeypatch.setattr(nava("host"), "LiveView", Watching)
    monkeypatch.setattr(live, "SHARE", 1000.0)
    results = []
    for vae in (files["audio_vae"], None):
        guider = nava("guide").NavaGuider.execute(files["model"], *text, 3.0, 3.0, 2.0, 2.0, 3.0, audio_vae=vae)[0]
        out = SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, sampler, sigmas, latent)[0]
        results.append((out["samples"].unbind(), sent.copy()))
        sent.clear()
    assert [e["heard"] is not None for e in results[0][1]] == [False, True, True, False]
    assert len(samples_of(results[0][1][1]["heard"])) > 0.4 * 24000
    assert all(e["heard"] is None for e in results[1][1])
    assert all(torch.equal(a, b) for a, b in zip(results[0][0], results[1][0], strict=True))
    with pytest.raises(ValueError, match="NavaGuider, audio_vae: this is the video VAE"):
        nava("guide").NavaGuider.execute(files["model"], *text, 3.0, 3.0, 2.0, 2.0, 3.0, audio_vae=files["video_vae"])
