"""The ComfyUI path (loader, guider, SamplerCustomAdvanced) against the same golden loops as nava_core.sample."""

import pytest
import torch
from support import DATA, SAMPLING_CASES, sampling_case, sampling_error

import nava_core


@pytest.fixture(scope="module")
def model(nava):
    return nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")


@pytest.fixture(scope="module")
def wide_model(nava, base):
    """48 and 8 channels, as released."""
    return nava("load").load_model(str(base / "models/diffusion_models/nava_tiny.safetensors"), "fp32")


class GivenNoise:
    """A NOISE that is already there."""

    seed = 0

    def __init__(self, noise):
        self.noise = noise

    def generate_noise(self, latent):
        return self.noise


def nested(parts):
    from comfy.nested_tensor import NestedTensor

    return NestedTensor(parts)


def run(nava, model, arguments, sampler=None):
    """Sample through the nodes; returns (video, audio tokens)."""
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    host = nava("host")
    video, audio = arguments["noise_video"], nava_core.tokens_to_audio(arguments["noise_audio"])
    parts = [p for p in (video, audio) if p is not None]
    latent = {"samples": nested([torch.zeros_like(p) for p in parts])}
    if arguments["first_frame"] is not None:
        latent["samples"].tensors[0][:, :, :1] = arguments["first_frame"]
        mask = torch.ones_like(video[:, :1])
        mask[:, :, :1] = 0
        latent["noise_mask"] = nested([mask, torch.ones_like(audio[:, :1])])
    extra = {}
    if arguments["voices"] is not None:
        extra = {host.VOICES: arguments["voices"][0], host.VOICE_POSITIONS: arguments["voice_positions"][0]}
    g = arguments["guidance"]
    guider = nava("guide").NavaGuider.execute(
        model, [[arguments["positive"], extra]], [[arguments["negative"], {}]],
        g.video_text, g.video_align, g.audio_text, g.audio_align, g.audio_timbre,
    )[0]  # fmt: skip
    steps = len(arguments["sigmas"]) - 1
    sigmas = nava("sample").NavaScheduler.execute(model, steps, 5.0, 1.0)[0]
    assert torch.equal(sigmas, arguments["sigmas"])
    sampler = sampler or nava("sample").NavaSamplerSelect.execute("unipc")[0]
    out, denoised = SamplerCustomAdvanced.execute(GivenNoise(nested(parts)), guider, sampler, sigmas, latent).args
    for result in (out, denoised):
        parts = result["samples"].unbind() if result["samples"].is_nested else [result["samples"]]
        assert len(parts) == 1 + (video is not None)
    parts = out["samples"].unbind() if out["samples"].is_nested else [out["samples"]]
    return (None if video is None else parts[0]), nava_core.audio_to_tokens(parts[-1])


@pytest.mark.parametrize("name", SAMPLING_CASES)
def test_golden_loops(nava, model, golden, golden_metadata, name):
    g = golden("sampling")
    arguments = sampling_case(g, golden_metadata("sampling"), name)
    video, audio = run(nava, model, arguments)
    error = sampling_error(g, name, video, audio, arguments["first_frame"])
    reference = nava_core.sample(nava_core.load_transformer(DATA / "nava_tiny.safetensors"), **arguments)
    against_core = max(
        (a - b).abs().max().item() for a, b in zip((video, audio), reference, strict=True) if a is not None
    )
    print(f"host {name}: max error {error:.1e} to golden, {against_core:.1e} to nava_core.sample")
    assert error < 1e-4 and against_core < 1e-4


def test_latents_with_wan_statistics(wide_model):
    """48 channels: the picture is normalised on the way in and out, the sound is not, packed or alone."""
    model = wide_model.model
    video, audio = torch.randn(1, 48, 2, 4, 4), torch.randn(1, 8, 3, 16)
    inside = model.process_latent_in(nested([video, audio])).unbind()
    torch.testing.assert_close(inside[0], model.latent_format.process_in(video))
    assert not torch.allclose(inside[0], video) and torch.equal(inside[1], audio)
    assert torch.equal(model.process_latent_in(audio), audio)
    back = model.process_latent_out(nested(inside)).unbind()
    torch.testing.assert_close(back[0], video, atol=1e-5, rtol=1e-5)


def sample_stock(model, latent, sampler="euler", positive=None, cfg=1.0, steps=3):
    import comfy.sample

    text = torch.randn(1, 9, model.model.nava_config.text_dim, generator=torch.Generator().manual_seed(3))
    positive = positive or [[text, {}]]
    noise = comfy.sample.prepare_noise(latent, 5)
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, "simple", positive, [[-text, {}]], latent, disable_pbar=True, seed=5
    )


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc_bh2", "euler_ancestral"])
def test_stock_samplers(model, sampler):
    out = sample_stock(model, nested([torch.zeros(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)]), sampler, cfg=3.0)
    video, audio = out.unbind()
    assert video.shape == (1, 6, 3, 4, 6) and audio.shape == (1, 8, 7, 1)
    assert torch.isfinite(video).all() and torch.isfinite(audio).all()


def test_video_alone_through_a_stock_sampler(model):
    out = sample_stock(model, torch.zeros(2, 6, 3, 4, 6))
    assert out.shape == (2, 6, 3, 4, 6) and torch.isfinite(out).all()


def test_audio_alone_through_a_stock_sampler(model):
    out = sample_stock(model, nested([torch.zeros(1, 8, 7, 1)]))
    assert out.shape == (1, 8, 7, 1) and torch.isfinite(out).all()


def test_shift_node(model):
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    shifted = ModelSamplingSD3().patch(model, 2.0)[0]
    latent = nested([torch.zeros(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)])
    assert not torch.allclose(sample_stock(shifted, latent).tensors[0], sample_stock(model, latent).tensors[0])


def test_lora(model, tmp_path):
    """A LoRA with the usual key names changes the result by exactly its product."""
    import comfy.sd

    key = "single_blocks.1.ffn.0"
    generator = torch.Generator().manual_seed(2)
    up, down = torch.randn(80, 4, generator=generator), torch.randn(4, 64, generator=generator)
    lora = {
        f"diffusion_model.{key}.lora_B.weight": up,
        f"diffusion_model.{key}.lora_A.weight": down,
    }
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 0.5, 0)
    patches = patched.patches[f"diffusion_model.{key}.weight"]
    assert len(patches) == 1
    latent = nested([torch.zeros(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)])
    with_lora = sample_stock(patched, latent).tensors[0]
    without = sample_stock(model, latent).tensors[0]
    assert not torch.allclose(with_lora, without)
    again = sample_stock(model, latent).tensors[0]
    assert torch.equal(without, again), "the LoRA must leave the base model as it was"
    merged = model.clone()
    weight = merged.model.diffusion_model.single_blocks[1].ffn[0].weight
    original = weight.clone()
    weight += 0.5 * up @ down
    torch.testing.assert_close(sample_stock(merged, latent).tensors[0], with_lora, atol=1e-4, rtol=1e-4)
    weight.copy_(original)


def test_easycache(wide_model):
    """The stock cache node skips steps and still gives a finite result of the right shape."""
    from comfy_extras.nodes_easycache import EasyCacheNode

    model, latent = wide_model, nested([torch.zeros(1, 48, 3, 4, 6), torch.zeros(1, 8, 10, 16)])
    calls = []
    network = model.model.diffusion_model
    hook = network.head.register_forward_hook(lambda *_: calls.append(1))
    sample_stock(model, latent, steps=12)
    plain = len(calls)
    calls.clear()
    cached = EasyCacheNode.execute(model, 10.0, 0.1, 0.95, False)[0]
    out = sample_stock(cached, latent, steps=12)
    hook.remove()
    print(f"EasyCache: {len(calls)} of {plain} passes ran")
    assert len(calls) < plain
    assert all(torch.isfinite(t).all() for t in out.unbind())


def test_attention_override_is_honoured(model):
    """Nodes replace the attention of one model through transformer_options."""
    seen = []

    def override(function, *args, **kwargs):
        seen.append(args[0].shape)
        return function(*args, **kwargs)

    patched = model.clone()
    patched.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = override
    sample_stock(patched, nested([torch.zeros(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)]), steps=1)
    assert seen


def test_all_passes_go_in_one_call(nava, model, golden, golden_metadata, monkeypatch):
    """Four passes a step reach the host together, and a zero scale drops its pass."""
    import comfy.samplers

    batches = []
    original = comfy.samplers.calc_cond_batch

    def spy(model, conds, *args):
        batches.append([c is not None for c in conds])
        return original(model, conds, *args)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", spy)
    g, metadata = golden("sampling"), golden_metadata("sampling")
    run(nava, model, sampling_case(g, metadata, "timbre"))
    assert batches == [[True] * 4] * 6
    batches.clear()
    run(nava, model, sampling_case(g, metadata, "timbre_nocfg"))
    assert batches == [[True, True, True, False]] * 3
    batches.clear()
    run(nava, model, sampling_case(g, metadata, "t2av_noalign"))
    assert batches == [[True, True, False, False]] * 4


def test_unused_voice_changes_nothing(nava, model, golden, golden_metadata):
    arguments = sampling_case(golden("sampling"), golden_metadata("sampling"), "timbre")
    plain = run(nava, model, arguments)
    more = {**arguments, "voices": [torch.cat([arguments["voices"][0], torch.randn(1, 192)])]}
    for a, b in zip(plain, run(nava, model, more), strict=True):
        assert torch.equal(a, b)


def test_latent_batches(nava, model, golden, golden_metadata):
    """A batch of two equal noises gives the single result twice."""
    arguments = sampling_case(golden("sampling"), golden_metadata("sampling"), "i2av_timbre")
    single = run(nava, model, arguments)
    doubled = {
        **arguments,
        **{k: arguments[k].repeat(2, *[1] * (arguments[k].ndim - 1)) for k in ("noise_video", "noise_audio")},
    }
    for a, b in zip(single, run(nava, model, doubled), strict=True):
        torch.testing.assert_close(a.repeat(2, *[1] * (a.ndim - 1)), b, atol=1e-5, rtol=1e-5)


def masked_latent(mask_video, batch=1, frames=3):
    """A latent of the golden model's channels with a noise mask on the picture."""
    generator = torch.Generator().manual_seed(6)
    video, audio = torch.randn(batch, 6, frames, 4, 6, generator=generator), torch.zeros(batch, 8, 7, 1)
    return nested([video, audio]), nested([mask_video, torch.ones(batch, 1, 7, 1)])


def levels_seen(model, latent, mask):
    """What the transformer is told about noise, and the result of two steps."""
    import comfy.sample

    network, seen = model.model.diffusion_model, []
    original = network.velocity
    network.velocity = lambda *a, **k: (seen.append(k.get("video_levels")), original(*a, **k))[1]
    try:
        text = torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3))
        noise = comfy.sample.prepare_noise(latent, 5)
        out = comfy.sample.sample(
            model,
            noise,
            2,
            1.0,
            "euler",
            "simple",
            [[text, {}]],
            [[text, {}]],
            latent,
            noise_mask=mask,
            disable_pbar=True,
        )
    finally:
        del network.velocity
    return seen[0], out.unbind()


def test_masks_within_a_frame(model):
    """Half of every frame is kept: its tokens are told so, and it comes out as it went in."""
    mask = torch.ones(1, 1, 3, 4, 6)
    mask[..., :2] = 0
    latent, nested_mask = masked_latent(mask)
    levels, (video, _) = levels_seen(model, latent, nested_mask)
    assert torch.equal(levels, mask[:, 0])
    torch.testing.assert_close(video[..., :2], latent.tensors[0][..., :2], atol=1e-5, rtol=1e-5)
    assert torch.isfinite(video).all()


def test_masks_that_differ_in_a_batch(model):
    """Only the first clip begins with a picture: each clip gets what it would get alone."""
    mask = torch.ones(2, 1, 3, 4, 6)
    mask[0, :, 0] = 0
    latent, nested_mask = masked_latent(mask, batch=2)
    levels, _ = levels_seen(model, latent, nested_mask)
    assert torch.equal(levels, mask[:, 0])
    g = torch.Generator().manual_seed(7)
    network, t = model.model.diffusion_model, torch.tensor([637.0, 637.0])
    video, audio = torch.randn(2, 6, 3, 4, 6, generator=g), torch.randn(2, 7, 8, generator=g)
    context = network.embed_context(torch.randn(1, 9, 24, generator=g)).expand(2, -1, -1)
    both = network.velocity(video, audio, t, context, video_levels=mask[:, 0])
    first = network.velocity(video[:1], audio[:1], t[:1], context[:1], video_levels=[0.0, 1.0, 1.0])
    second = network.velocity(video[1:], audio[1:], t[:1], context[:1])
    for stream in (0, 1):
        torch.testing.assert_close(both[stream], torch.cat([first[stream], second[stream]]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first_frame", [False, True])
@pytest.mark.parametrize("sound", [False, True])
def test_context_windows(wide_model, first_frame, sound):
    """The stock context window node slices picture, sound and noise levels together."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    windowed = ContextWindowsManualNode.execute(wide_model, 5, 2, "standard_static", 1, False, "pyramid", 2, False)[0]
    video, audio = torch.randn(1, 48, 9, 4, 6), torch.zeros(1, 8, 35, 16)
    latent = nested([video, audio]) if sound else video
    mask = None
    if first_frame:
        mask = torch.ones(1, 1, 9, 4, 6)
        mask[:, :, :1] = 0
        mask = nested([mask, torch.ones(1, 1, 35, 16)]) if sound else mask
    import comfy.sample

    text = torch.randn(1, 9, 64)
    out = comfy.sample.sample(
        windowed, comfy.sample.prepare_noise(latent, 1), 2, 1.0, "euler", "simple", [[text, {}]], [[text, {}]], latent,
        noise_mask=mask, disable_pbar=True,
    )  # fmt: skip
    for given, found in zip([video, audio][: 1 + sound], out.unbind() if sound else [out], strict=True):
        assert found.shape == given.shape and torch.isfinite(found).all()


def test_contrast_with_nothing_is_left_out(nava, model):
    """A negative prompt that acts only at the beginning leaves the plain prompt afterwards, not an explosion."""
    import comfy.samplers
    import node_helpers

    text = torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3))
    early = node_helpers.conditioning_set_values([[-text, {}]], {"start_percent": 0.0, "end_percent": 0.3})
    latent = nested([torch.zeros(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)])
    sigmas = nava("sample").NavaScheduler.execute(model, 6, 5.0, 1.0)[0]
    spread = []
    for negative in ([[-text, {}]], early):
        guider = nava("guide").NavaGuider.execute(model, [[text, {}]], negative, 3.0, 0.0, 2.0, 0.0, 0.0)[0]
        import comfy.sample

        out = guider.sample(
            comfy.sample.prepare_noise(latent, 1),
            latent,
            comfy.samplers.KSAMPLER(nava("sample").unipc),
            sigmas,
            disable_pbar=True,
        )
        spread.append(out.tensors[0].std().item())
    print(f"spread with the negative throughout {spread[0]:.2f}, at the beginning only {spread[1]:.2f}")
    assert spread[1] < 2 * spread[0]


def test_model_loads_again_without_dynamic_vram(nava, model):
    """How the host clones a model for compiling, hooks and more GPUs."""
    function, arguments = model.cached_patcher_init
    again = function(*arguments, disable_dynamic=True)
    assert type(again).__name__ == "ModelPatcher" and not again.is_dynamic()
