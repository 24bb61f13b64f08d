"""What stock nodes do between loading and decoding: runs in parts, masks, lone streams, compiled models, hooks."""

import pytest
import torch
from support import DATA
from test_host_parity import GivenNoise, nested

import nava_core
from nava_core import checkpoint, transformer


@pytest.fixture(scope="module")
def model(nava):
    return nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")


@pytest.fixture(scope="module")
def wide_model(nava, base):
    """48 and 8 channels, as released."""
    return nava("load").load_model(str(base / "models/diffusion_models/nava_tiny.safetensors"), "fp32")


def text(model, seed=3):
    width = model.model.nava_config.text_dim
    return [[torch.randn(1, 9, width, generator=torch.Generator().manual_seed(seed)), {}]]


def empty(batch=1):
    return nested([torch.zeros(batch, 6, 3, 4, 6), torch.zeros(batch, 8, 7, 1)])


def ksampler(model, latent, **options):
    """The stock KSampler node's own function, with the LATENT that comes out."""
    import nodes

    positive = options.pop("positive", None) or text(model)
    settings = {"seed": 5, "steps": 6, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"} | options
    settings = [settings.pop(k) for k in ("seed", "steps", "cfg", "sampler_name", "scheduler")] + [settings]
    *first, rest = settings
    return nodes.common_ksampler(model, *first, positive, text(model, 4), latent, **rest)[0]["samples"]


def close(a, b, tolerance=1e-4):
    for x, y in zip(a.unbind(), b.unbind(), strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def test_ksampler_advanced_in_two_stages(model):
    """The second stage adds no noise and takes up what the first one left, picture and sound."""
    whole = ksampler(model, {"samples": empty()})
    first = ksampler(model, {"samples": empty()}, start_step=0, last_step=3)
    close(ksampler(model, {"samples": first}, disable_noise=True, start_step=3), whole)


@pytest.mark.parametrize("schedule", ["released", "stock"])
@pytest.mark.parametrize("split", [0, 1, 3])
def test_split_sigmas_without_noise(nava, model, schedule, split):
    """The released schedule at many steps stays above 0.999 for some of them, stock ones begin at 1: cut there too."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import BasicScheduler, Noise_EmptyNoise, SamplerCustomAdvanced, SplitSigmas

    sampler = comfy.samplers.sampler_object("euler")
    if schedule == "released":
        sigmas = nava("sample").NavaScheduler.execute(model, 1000, 5.0, 1.0)[0][:6]
    else:
        sigmas = BasicScheduler.execute(model, "simple", 1000, 1.0)[0][:6]
    assert sigmas[3] > 0.999
    guider = nava("guide").NavaGuider.execute(model, text(model), text(model, 4), 3.0, 3.0, 2.0, 2.0, 0.0)[0]
    noise = GivenNoise(nested([torch.randn(t.shape) for t in empty().unbind()]))

    def run(noise, sigmas, latent):
        return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, {"samples": latent})[0]["samples"]

    whole = run(noise, sigmas, empty())
    high, low = SplitSigmas.execute(sigmas, split).args
    # latents of an unfinished run are divided by 1 - sigma: compare their own scale
    rest = 1 - float(sigmas[-1])
    in_parts = run(Noise_EmptyNoise(), low, run(noise, high, empty()))
    close(in_parts * rest, whole * rest, 1e-3)


def test_timesteps_stay_in_the_trained_range(model):
    seen = []
    network = model.model.diffusion_model
    original = network.velocity
    network.velocity = lambda v, a, t, *rest, **k: (seen.append(float(t.max())), original(v, a, t, *rest, **k))[1]
    try:
        ksampler(model, {"samples": empty()})
    finally:
        del network.velocity
    assert max(seen) == 999


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("guided", [False, True])
def test_lone_audio_from_stock_nodes_is_sound(nava, wide_model, filled, guided):
    """LTXVEmptyLatentAudio and the audio VAE's encoder give [B, 8, L, 16]: it is taken as sound and comes out as that."""
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    samples = torch.randn(1, 8, 10, 16) if filled else torch.zeros(1, 8, 10, 16)
    latent = {"samples": samples, "type": "audio"}
    seen = []
    network = wide_model.model.diffusion_model
    original = network.velocity
    network.velocity = lambda v, a, *rest, **k: (seen.append((v, a.shape)), original(v, a, *rest, **k))[1]
    try:
        if guided:
            sigmas = nava("sample").NavaScheduler.execute(wide_model, 2, 5.0, 1.0)[0]
            g = nava("guide").NavaGuider.execute(
                wide_model, text(wide_model), text(wide_model, 4), 3.0, 3.0, 2.0, 2.0, 0.0
            )[0]
            sampler = nava("sample").NavaSamplerSelect.execute("unipc")[0]
            out = SamplerCustomAdvanced.execute(Noise_RandomNoise(1), g, sampler, sigmas, latent)[0]["samples"]
        else:
            out = ksampler(wide_model, latent, steps=2)
    finally:
        del network.velocity
    assert all(video is None and shape[1:] == (10, 128) for video, shape in seen)
    out = out.unbind()[0] if out.is_nested else out
    assert out.shape == (1, 8, 10, 16) and torch.isfinite(out).all()


def test_sound_masks_that_differ_in_a_batch(model):
    """One clip's sound is held, the other's is free: each is told its own, and gets what it would get alone."""
    latent = nested([torch.randn(2, 6, 3, 4, 6), torch.randn(2, 8, 7, 1)])
    mask = nested([torch.ones(2, 1, 3, 4, 6), torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, 7, 1)])
    together = ksampler(model, {"samples": latent, "noise_mask": mask}, steps=2)
    torch.testing.assert_close(together.tensors[1][0], latent.tensors[1][0], atol=1e-5, rtol=1e-5)

    g = torch.Generator().manual_seed(7)
    network, t = model.model.diffusion_model, torch.tensor([637.0, 637.0])
    video, audio = torch.randn(2, 6, 3, 4, 6, generator=g), torch.randn(2, 7, 8, generator=g)
    context = network.embed_context(torch.randn(1, 9, 24, generator=g)).expand(2, -1, -1)
    levels = model.model._noise_levels(
        {"denoise_mask": torch.cat([t.expand(s).flatten(1)[:, None] for t, s in zip(mask.unbind(), [(2, 6, 3, 4, 6), (2, 8, 7, 1)], strict=True)], -1)},
        [(2, 6, 3, 4, 6), (2, 8, 7, 1)],
    )  # fmt: skip
    assert levels["audio_levels"][:, 0].tolist() == [0, 1]
    both = network.velocity(video, audio, t, context, **levels)
    held = network.velocity(video[:1], audio[:1], t[:1], context[:1], audio_levels=[0.0] * 7)
    free = network.velocity(video[1:], audio[1:], t[:1], context[1:])
    for stream in (0, 1):
        torch.testing.assert_close(both[stream], torch.cat([held[stream], free[stream]]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("jagged", [False, True])
def test_sound_masks_with_many_levels(jagged):
    """A ramp over 152 steps, or as many jumps, costs a bounded number of operations and is rounded to few timesteps."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            Count.calls += 1
            return function(*args, **(kwargs or {}))

    model = nava_core.load_transformer(DATA / "nava_tiny.safetensors")
    video, audio = torch.randn(1, 6, 37, 2, 2), torch.randn(1, 152, 8)
    context = model.embed_context(torch.randn(1, 9, 24))
    counts = []
    for levels in (None, [i % 2 * 0.4 if jagged else i / 151 for i in range(152)]):
        Count.calls = 0
        with Count():
            model.velocity(video, audio, torch.tensor([637.0]), context, audio_levels=levels)
        counts.append(Count.calls)
    print(f"operations without a mask {counts[0]}, with it {counts[1]}")
    assert counts[1] < 5 * counts[0]


def test_levels_per_token_and_per_stretch_agree(monkeypatch):
    model = nava_core.load_transformer(DATA / "nava_tiny.safetensors")
    video, audio = torch.randn(2, 6, 3, 4, 6), torch.randn(2, 7, 8)
    context = model.embed_context(torch.randn(1, 9, 24)).expand(2, -1, -1)
    levels = {"video_levels": [0.0, 0.5, 1.0], "audio_levels": [0.0, 0.0, 0.25, 0.25, 1.0, 1.0, 1.0]}
    results = []
    for most in (24, 0):
        monkeypatch.setattr(transformer, "MOST_SPANS", most)
        results.append(model.velocity(video, audio, torch.tensor([637.0, 211.0]), context, **levels))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="noise levels cover"):
        monkeypatch.setattr(transformer, "MOST_SPANS", 24)
        model.velocity(video, audio, torch.tensor([637.0, 211.0]), context, audio_levels=[0.0] * 6)


def test_timesteps_are_exact_where_a_device_has_no_float64(monkeypatch):
    t = torch.rand(3, 2) * 1000
    wanted = transformer.timestep_sinusoid(t, 64)
    monkeypatch.setattr(transformer, "FLOAT64_DEVICES", ())
    assert torch.equal(transformer.timestep_sinusoid(t, 64), wanted)


def test_compiled_once_for_every_size_and_step(nava, monkeypatch):
    """By the host's way to compile a model: one graph without breaks, which other steps and sizes use again, in chunks too."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict
    from torch._dynamo.utils import counters

    config = nava_core.NavaConfig(
        dim=64, num_heads=2, num_double_layers=1, num_single_layers=1, ffn_dim=80, freq_dim=32, text_dim=24, text_len=16,
        vid_in_dim=6, vid_out_dim=6, audio_in_dim=8, audio_out_dim=8,
    )  # fmt: skip
    shapes, generator = checkpoint.expected_shapes(config), torch.Generator().manual_seed(0)
    weights = {k: torch.randn(s, generator=generator) * 0.05 for k, s in shapes.items()}
    # ComfyUI's own choice on a CPU asks the system for free memory, which nothing can trace; on a card it is torch's
    patcher = nava("host").build_patcher(weights, config, torch.float32)
    model = nava("attention").NavaAttention.execute(patcher, "pytorch")[0]
    compiled = model.clone()
    options = {"guard_filter_fn": skip_torch_compile_dict}
    set_torch_compile_wrapper(compiled, backend="eager", options=options, fullgraph=True, dynamic=True)
    monkeypatch.setattr(nava_core.blocks, "FFN_TOKENS", 30)
    torch._dynamo.reset()
    counters.clear()
    for frames, rows, columns, steps in ((5, 4, 10, 7), (3, 6, 12, 5)):  # two chunks of picture, one of sound
        latent = {"samples": nested([torch.zeros(1, 6, frames, rows, columns), torch.zeros(1, 8, steps, 1)])}
        close(ksampler(compiled, latent, steps=2), ksampler(model, latent, steps=2))
        assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_lora_hook_on_the_text_layers(model):
    """The context is embedded under the hook's weights, not once before them."""
    import comfy.hooks
    import comfy.sd

    g = torch.Generator().manual_seed(8)
    lora = {
        "diffusion_model.text_embedding.0.lora_B.weight": torch.randn(64, 4, generator=g),
        "diffusion_model.text_embedding.0.lora_A.weight": torch.randn(4, 24, generator=g),
    }
    latent = {"samples": empty()}
    plain = ksampler(model, latent, steps=2)
    wanted = ksampler(comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0], latent, steps=2, cfg=1.0)
    hooked = comfy.hooks.set_hooks_for_conditioning(text(model), comfy.hooks.create_hook_lora(lora, 1.0, 0.0))
    close(ksampler(model, latent, steps=2, cfg=1.0, positive=hooked), wanted)
    close(ksampler(model, latent, steps=2), plain, 0.0)


def test_lora_key_styles(nava, model, caplog):
    """Every style of name reaches its layer; a file that fits no layer says so, in hooks too."""
    import comfy.hooks
    import comfy.sd

    up, down = torch.randn(64, 2), torch.randn(2, 64)
    path = "double_blocks.1.cross_attn.v_audio"
    styles = nava("lora").names_of(path)
    assert {"lycoris_" + path.replace(".", "_"), "base_model.model." + path, "backbone." + path} <= set(styles)
    for style in (*styles, f"base_model.model.{path}|default"):
        name, _, adapter = style.partition("|")
        middle = f".{adapter}" if adapter else ""
        lora = {f"{name}.lora_A{middle}.weight": down, f"{name}.lora_B{middle}.weight": up}
        patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)
        assert list(patched.patches) == [f"diffusion_model.{path}.weight"], style
    assert "changes nothing" not in caplog.text
    foreign = {"blocks.0.attn.lora_A.weight": down, "blocks.0.attn.lora_B.weight": up}
    comfy.sd.load_lora_for_models(model, None, foreign, 1.0, 0)
    assert "no layer that NAVA has" in caplog.text and "blocks.0.attn" in caplog.text
    caplog.clear()
    hooked = comfy.hooks.set_hooks_for_conditioning(text(model), comfy.hooks.create_hook_lora(foreign, 1.0, 0.0))
    ksampler(model, {"samples": empty()}, steps=1, positive=hooked)
    assert "no layer that NAVA has" in caplog.text


def test_functions_that_run_the_passes_themselves_are_named(nava, model, caplog):
    """What replaces the passes of a step has no effect under NavaGuider, and is named once."""
    from test_compatibility import Bench

    patched = model.clone()

    def skip_layers(args):
        raise AssertionError("never called")

    patched.set_model_sampler_calc_cond_batch_function(skip_layers)
    Bench(nava, model).guided(patched)
    assert caplog.text.count("takes the place of the passes of a step") == 1


def test_guidance_through_functions_is_the_guidance(nava, model):
    """A function that does what is done anyway changes nothing, stream by stream, with its own scale each."""
    from test_compatibility import Bench

    seen = []

    def usual(args):
        seen.append((args["cond_scale"], args["cond"].shape))
        return args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"])

    patched = model.clone()
    patched.set_model_sampler_cfg_function(usual)
    bench = Bench(nava, model)
    close(bench.guided(patched), bench.guided(), 1e-5)
    assert set(seen) == {(4.0, (1, 6, 3, 4, 6)), (3.0, (1, 8, 7, 1))}


def test_solver_near_pure_noise():
    """Levels that are both treated as pure noise make no division by zero; schedules of other models are refused."""
    sigmas = torch.tensor([1.0, 0.9999999, 0.99999985, 0.9, 0.0])
    out = nava_core.sample_unipc(lambda x, s: x * 0.5, torch.randn(3), sigmas)
    assert torch.isfinite(out).all()
    with pytest.raises(ValueError, match="another kind of model"):
        nava_core.sample_unipc(lambda x, s: x, torch.randn(3), torch.tensor([14.6, 1.0, 0.0]))
    with pytest.raises(ValueError, match="strictly"):
        nava_core.sample_unipc(lambda x, s: x, torch.randn(3), torch.tensor([float("nan"), 0.0]))
