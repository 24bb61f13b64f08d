"""nava_core against the released code's float32 numbers."""

import json

import pytest
import torch
from support import DATA, SAMPLING_CASES, sampling_case, sampling_error

import nava_core


@pytest.fixture(scope="module")
def model():
    return nava_core.load_transformer(DATA / "nava_tiny.safetensors")


SPEAKERS = ("timbre", "timbre_second_zero", "spk_without_pos", "i2v_timbre_masked", "audio_only_timbre")
CASES = (*SPEAKERS, "joint", "masked", "i2v", "video_only", "audio_only")


@pytest.mark.parametrize("case", CASES)
def test_transformer(model, golden, golden_metadata, case, record_property):
    g = golden("transformer")
    arguments = {"joint": "masked" not in case, "clean_first_frame": "i2v" in case}
    if case in SPEAKERS:
        arguments["voices"] = [g["spk_embed_second_zero" if case.endswith("zero") else "spk_embed"]]
        if case != "spk_without_pos":
            arguments["voice_positions"] = [golden_metadata("transformer")["spk_pos"]]
    video = None if case.startswith("audio_only") else g["video"][None]
    audio = None if case == "video_only" else g["audio"][None]
    outputs = model(video, audio, g["timestep"], g["context"][None], **arguments)
    for name, given, found in zip(("video", "audio"), (video, audio), outputs, strict=True):
        if given is None:
            assert found is None
            continue
        error = (found[0] - g[f"{case}.{name}_velocity"]).abs().max().item()
        print(f"{case} {name}: max error {error:.1e}")
        assert error < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 25, 50])
def test_schedule_and_solver(golden, steps):
    g = {k.split(".")[1]: v for k, v in golden("unipc").items() if k.startswith(f"steps{steps}_")}
    sigmas = nava_core.flow_sigmas(steps)
    assert torch.equal(sigmas, g["sigmas"])
    assert torch.equal(nava_core.network_timestep(sigmas[:-1]), g["timesteps"])
    seen = []

    def denoise(x, sigma):
        velocity = torch.tanh(x @ g["w"]) + 0.1 * x * nava_core.network_timestep(sigma) / 1000
        return x - sigma * velocity

    final = nava_core.sample_unipc(denoise, g["noise"], sigmas, lambda step, x0, x, total: seen.append((step, total)))
    error = (final - g["final"]).abs().max().item()
    print(f"unipc {steps} steps: max error {error:.1e}")
    assert error < 1e-5
    assert seen == [(i, steps) for i in range(steps)]


def test_solver_refuses_rising_sigmas():
    with pytest.raises(ValueError, match="fall strictly"):
        nava_core.sample_unipc(lambda x, s: x, torch.zeros(1), torch.tensor([0.5, 0.7, 0.0]))


def test_solver_starts_at_pure_noise_and_stops_early():
    """Schedules of the host begin at exactly 1, and a split one ends above 0; the exact solution is known."""
    noise, x0 = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    for sigmas in ([1.0, 0.7, 0.4, 0.1, 0.0], [1.0, 0.8, 0.5, 0.3]):
        out = nava_core.sample_unipc(lambda x, s: x0, noise, torch.tensor(sigmas))
        torch.testing.assert_close(out, (1 - sigmas[-1]) * x0 + sigmas[-1] * noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLING_CASES)
def test_sampling(model, golden, golden_metadata, name):
    g = golden("sampling")
    arguments = sampling_case(g, golden_metadata("sampling"), name)
    video, audio = nava_core.sample(model, **arguments)
    error = sampling_error(g, name, video, audio, arguments["first_frame"])
    print(f"sampling {name}: max error {error:.1e}")
    assert error < 1e-4


def test_batch_rows_are_independent(model, golden):
    """Two different rows in one call give what each gives alone, voices and odd sizes included."""
    g = golden("transformer")
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(2, 6, 3, 5, 7, generator=generator)
    audio = torch.randn(2, 7, 8, generator=generator)
    context = torch.randn(2, 9, 24, generator=generator)
    t = torch.tensor([637.0, 12.0])
    voices, positions = [g["spk_embed"], g["spk_embed"][:1]], [[2], [0, 5]]
    both = model(video, audio, t, context, voices, positions, clean_first_frame=True)
    assert both[0].shape == video.shape and both[1].shape == audio.shape
    for i in range(2):
        one = slice(i, i + 1)
        alone = model(video[one], audio[one], t[one], context[one], voices[one], positions[one], clean_first_frame=True)
        for a, b in zip(both, alone, strict=True):
            torch.testing.assert_close(a[one], b, atol=1e-5, rtol=1e-5)


def test_released_configuration_has_the_manifest():
    from nava_core.checkpoint import expected_shapes

    manifest = json.loads((DATA / "nava_6b_manifest.json").read_text())
    found = {f"backbone.{k}": list(v) for k, v in expected_shapes(nava_core.NavaConfig()).items()}
    assert found == manifest
    assert len(found) == 1052
    assert sum(torch.Size(s).numel() for s in found.values()) == 6_296_995_520


def test_audio_tokens_are_channel_major():
    latent = torch.arange(8 * 3 * 16).view(1, 8, 3, 16)
    tokens = nava_core.audio_to_tokens(latent)
    assert tokens.shape == (1, 3, 128)
    assert tokens[0, 1, 5 * 16 + 2] == latent[0, 5, 1, 2]
    assert torch.equal(nava_core.tokens_to_audio(tokens), latent)


def test_training_step_after_step(golden, golden_metadata):
    """Gradients reach every weight that voices, text, picture and sound pass, with one text memory given to every step."""
    with torch.inference_mode(False), torch.enable_grad():
        model = nava_core.load_transformer(DATA / "nava_tiny.safetensors").requires_grad_(True)
        g = golden("transformer")
        video, audio, context = (g[k][None].clone() for k in ("video", "audio", "context"))
        positions, memory = [golden_metadata("transformer")["spk_pos"]], {}
        losses = []
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        for _ in range(3):
            embedded = model.embed_context(context, [g["spk_embed_second_zero"].clone()], positions)
            outputs = model.velocity(video, audio, torch.tensor([500.0]), embedded, text_memory=memory)
            loss = sum(out.square().mean() for out in outputs)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            missing = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.any()]
            assert not missing
            optimizer.step()
        assert losses[0] > losses[1] > losses[2]
        assert not memory
