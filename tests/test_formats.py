"""Every weight format loads in ComfyUI and gives nearly what float32 gives; what is said of memory is so."""

import json
import math
from dataclasses import replace
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import DATA
from trace_memory import PeakMemory
from trace_traffic import Readings

import nava_core
from nava_core import CheckpointError, NavaConfig, checkpoint
from nava_core.convert import convert, is_fp8_layer, quantized_rows

TINY = DATA / "nava_tiny.safetensors"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The golden model in every layout that files come in, by name."""
    folder = tmp_path_factory.mktemp("formats")
    weights, metadata = load_file(TINY), checkpoint.read_header(TINY)[1]
    plain = {k.removeprefix("backbone."): v for k, v in weights.items()}
    layers = [k.removesuffix(".weight") for k in plain if is_fp8_layer(k)]

    def save(name, content, extra=None):
        save_file(
            {k: v.contiguous() for k, v in content.items()}, folder / f"{name}.safetensors", metadata | (extra or {})
        )

    save("fp32", weights)
    save("bf16", {k: v.bfloat16() for k, v in plain.items()})
    convert(TINY, folder / "released_fp8.safetensors", "fp8")

    scaled = {k: v.bfloat16() for k, v in plain.items()}
    for layer in layers:
        weight = plain[layer + ".weight"]
        scale = weight.abs().max() / 448
        scaled[layer + ".weight"] = (weight / scale).to(torch.float8_e4m3fn)
        scaled[layer + ".scale_weight"] = scale
    save("scaled_fp8", scaled | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)})

    comfy = {k.replace(".scale_weight", ".weight_scale"): v for k, v in scaled.items()}
    quantization = {"layers": {layer: {"format": "float8_e4m3fn"} for layer in layers}}
    save("comfy_fp8", comfy, {"_quantization_metadata": json.dumps(quantization)})

    from comfy.quant_ops import QuantizedTensor

    nvfp4 = {k: v.bfloat16() for k, v in plain.items()}
    for layer in layers:
        scale = plain[layer + ".weight"].abs().max() / (448 * 6)
        quantised = QuantizedTensor.from_float(
            plain[layer + ".weight"].bfloat16(), "TensorCoreNVFP4Layout", scale=scale
        )
        parts = quantised.state_dict(layer + ".weight")
        nvfp4.pop(layer + ".weight")
        nvfp4 |= {k: v for k, v in parts.items() if isinstance(v, torch.Tensor)}
    quantization = {"layers": {layer: {"format": "nvfp4"} for layer in layers}}
    save("nvfp4", nvfp4, {"_quantization_metadata": json.dumps(quantization)})
    for kind in ("int8", "mxfp8"):
        convert(TINY, folder / f"{kind}.safetensors", kind)
    convert(TINY, folder / "q8_0.gguf", "q8_0")
    write_q4_k(folder / "q4_k.gguf", json.loads(metadata["nava_config"]))
    torch.save(dict(weights), folder / "pickled.pth")
    return folder


def write_q4_k(path, small: dict):
    """A random model that is wide enough for blocks of 256, its matrices in Q4_K."""
    import gguf

    wide = small | {"dim": 256, "ffn_dim": 256, "num_double_layers": 1, "num_single_layers": 1}
    writer, generator = gguf.GGUFWriter(path, "nava"), torch.Generator().manual_seed(0)
    writer.add_string("nava_config", json.dumps(wide))
    for key, shape in checkpoint.expected_shapes(
        NavaConfig(**wide | {"patch_size": tuple(wide["patch_size"])})
    ).items():
        if is_fp8_layer(key):
            blocks = torch.randint(256, (shape[0], shape[1] // 256, 144), dtype=torch.uint8, generator=generator)
            blocks[..., :4] = torch.tensor([0.0002, 0.001], dtype=torch.float16).view(torch.uint8)  # the two scales
            writer.add_tensor(key, blocks.flatten(1).numpy(), raw_dtype=gguf.GGMLQuantizationType.Q4_K)
            continue
        if len(shape) > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{key}", list(shape))
            shape = (shape[0], math.prod(shape[1:]))
        writer.add_tensor(key, (torch.randn(shape, generator=generator) * 0.05).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def velocity(patcher, golden):
    """Velocities of the golden inputs through a patcher's model, float32."""
    from comfy import model_management

    g = golden("transformer")
    model_management.load_models_gpu([patcher])
    model = patcher.model
    dtype = model.get_dtype_inference()
    network = model.diffusion_model
    context = network.embed_context(g["context"][None].to(dtype))
    audio = nava_core.tokens_to_audio(g["audio"][None]).to(dtype)
    out = network([g["video"][None].to(dtype), audio], g["timestep"], context)
    return torch.cat([out[0].float().flatten(), nava_core.audio_to_tokens(out[1]).float().flatten()])


def reference(golden):
    g = golden("transformer")
    return torch.cat([g["joint.video_velocity"].flatten(), g["joint.audio_velocity"].flatten()])


# name -> how close to float32 it must come (relative error), with random weights, where errors add up freely
CLOSE = {
    "fp32": 1e-5,
    "bf16": 0.02,
    "released_fp8": 0.12,
    "scaled_fp8": 0.12,
    "comfy_fp8": 0.12,
    "nvfp4": 0.5,
    "int8": 0.06,
    "mxfp8": 0.12,
}


@pytest.mark.parametrize("name", CLOSE)
def test_format_loads(nava, files, golden, name):
    patcher = nava("load").load_model(str(files / f"{name}.safetensors"), "default")
    found, wanted = velocity(patcher, golden), reference(golden)
    error = ((found - wanted).norm() / wanted.norm()).item()
    cosine = torch.cosine_similarity(found, wanted, dim=0).item()
    print(f"{name}: relative error {error:.4f}, cosine {cosine:.5f}")
    assert error < CLOSE[name]


@pytest.mark.parametrize("dtype", ["bf16", "fp8_e4m3fn", "fp8_e5m2", "fp32"])
def test_weight_dtypes(nava, files, golden, dtype):
    patcher = nava("load").load_model(str(files / "bf16.safetensors"), dtype)
    found, wanted = velocity(patcher, golden), reference(golden)
    error = ((found - wanted).norm() / wanted.norm()).item()
    print(f"bf16 file as {dtype}: relative error {error:.4f}")
    assert error < 0.5


@pytest.mark.parametrize("name", ["fp32", "released_fp8"])
def test_half_precision_where_there_is_no_bf16(nava, files, golden, name, monkeypatch):
    from comfy import model_management

    monkeypatch.setattr(model_management, "should_use_bf16", lambda *_, **__: False)
    monkeypatch.setattr(model_management, "should_use_fp16", lambda *_, **__: True)
    patcher = nava("load").load_model(str(files / f"{name}.safetensors"), "default")
    assert patcher.model.get_dtype_inference() == torch.float16
    found, wanted = velocity(patcher, golden), reference(golden)
    error = ((found - wanted).norm() / wanted.norm()).item()
    print(f"{name} in fp16: relative error {error:.4f}")
    assert error < (0.003 if name == "fp32" else 0.12)


def test_half_precision_sums_of_fp8_rows_stay_finite(nava):
    layer = nava("fp8_rows").RowScaledOps.Linear(3072, 4)
    rows = torch.full((4, 3072), 448.0).to(torch.float8_e4m3fn)
    layer.load_state_dict({"weight": rows, "weight_scale": torch.full((4,), 1e-4), "bias": torch.zeros(4)})
    out = layer(torch.ones(1, 3072, dtype=torch.float16))
    torch.testing.assert_close(out, torch.full((1, 4), 137.6, dtype=torch.float16), rtol=0.01, atol=0)


@pytest.mark.parametrize("can", [True, False], ids=["in fp8", "card cannot"])
def test_fp8_rows_compute_in_fp8_where_asked(nava, files, golden, can, monkeypatch):
    """fp8_e4m3fn_fast brings rows into ComfyUI's layout: where a device can, its layers make their inputs fp8 as well."""
    from comfy import model_management
    from comfy.quant_ops import QuantizedTensor

    monkeypatch.setattr(model_management, "supports_fp8_compute", lambda *_: can)
    patcher = nava("load").load_model(str(files / "released_fp8.safetensors"), "fp8_e4m3fn_fast")
    layer = patcher.model.diffusion_model.single_blocks[0].ffn[0]
    assert isinstance(layer.weight, QuantizedTensor) and layer.weight._qdata.dtype == torch.float8_e4m3fn
    made = mock.Mock(wraps=QuantizedTensor.from_float)
    monkeypatch.setattr(QuantizedTensor, "from_float", made)  # what a layer does with its input
    found = velocity(patcher, golden)
    assert made.called == can
    wanted = reference(golden)
    error = ((found - wanted).norm() / wanted.norm()).item()
    print(f"fp8 rows, computed {'in fp8' if can else 'in full precision'}: relative error {error:.4f}")
    assert error < 0.15


def test_fp8_rows_stay_fp8_in_memory(nava, files):
    model = nava("load").load_model(str(files / "released_fp8.safetensors"), "default").model.diffusion_model
    assert model.single_blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    assert model.single_blocks[0].ffn[0].weight_scale.shape == (80,)
    assert model.head.head.weight.dtype != torch.float8_e4m3fn


def test_lora_on_fp8_rows(nava, files, golden):
    """A LoRA on the released fp8 layout acts on the real numbers, not on the stored ones."""
    import comfy.sd

    generator = torch.Generator().manual_seed(4)
    lora = {
        "diffusion_model.single_blocks.0.ffn.0.lora_B.weight": torch.randn(80, 4, generator=generator),
        "diffusion_model.single_blocks.0.ffn.0.lora_A.weight": torch.randn(4, 64, generator=generator) * 0.3,
    }
    results = []
    for name in ("fp32", "released_fp8"):
        base = nava("load").load_model(str(files / f"{name}.safetensors"), "default")
        patched, _ = comfy.sd.load_lora_for_models(base, None, lora, 1.0, 0)
        plain = velocity(base, golden)
        results.append(velocity(patched, golden) - plain)
    cosine = torch.cosine_similarity(*results, dim=0).item()
    print(f"LoRA on fp8 rows: its effect agrees with float32 to a cosine of {cosine:.4f}")
    assert cosine > 0.9


LARGE_LORA = {
    "diffusion_model.single_blocks.0.ffn.0.lora_B.weight": torch.randn(80, 4, generator=torch.Generator().manual_seed(4)),
    "diffusion_model.single_blocks.0.ffn.0.lora_A.weight": torch.randn(4, 64, generator=torch.Generator().manual_seed(5)) * 0.3,
}  # fmt: skip


def sampled(patcher, positive, hooks=None):
    """Both streams of two steps of a stock sampler with cfg 2; hooks: on both conditions."""
    import comfy.hooks
    import comfy.sample
    from comfy.nested_tensor import NestedTensor

    latent = NestedTensor([torch.zeros(1, 6, 2, 4, 4), torch.zeros(1, 8, 6, 1)])
    noise = comfy.sample.prepare_noise(latent, 5)
    negative = [[torch.zeros(1, 3, 24), {}]]
    if hooks is not None:
        positive, negative = (comfy.hooks.set_hooks_for_conditioning(c, hooks) for c in (positive, negative))
    out = comfy.sample.sample(
        patcher, noise, 2, 2.0, "euler", "simple", positive, negative, latent, disable_pbar=True, seed=5
    )
    return torch.cat([t.flatten() for t in out.unbind()])


def test_lora_hooks_leave_fp8_rows_as_they_were(nava, files):
    """A scheduled LoRA is taken off again exactly, run after run, and acts as it does on float32."""
    import comfy.hooks

    text = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3)), {}]]
    effects = []
    for name in ("fp32", "released_fp8"):
        patcher = nava("load").load_model(str(files / f"{name}.safetensors"), "default")
        plain = sampled(patcher, text)
        hooks = comfy.hooks.create_hook_lora(LARGE_LORA, 0.3, 0.0)
        hooked = comfy.hooks.set_hooks_for_conditioning(text, hooks)
        results = [sampled(patcher, hooked) for _ in range(2)]
        assert torch.equal(results[0], results[1]) and not torch.equal(results[0], plain)
        assert torch.equal(sampled(patcher, text), plain)
        effects.append(results[0] - plain)
    cosine = torch.cosine_similarity(*effects, dim=0).item()
    print(f"LoRA hook on fp8 rows: its effect agrees with float32 to a cosine of {cosine:.4f}")
    assert cosine > 0.8


def test_lora_hooks_over_a_lora_on_fp8_rows(nava, files):
    """Hooks restore rows that a LoRA had already changed, scales included."""
    import comfy.hooks
    import comfy.sd

    text = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3)), {}]]
    base = nava("load").load_model(str(files / "released_fp8.safetensors"), "default")
    patched, _ = comfy.sd.load_lora_for_models(base, None, LARGE_LORA, 1.0, 0)
    with_lora = sampled(patched, text)
    hooked = comfy.hooks.set_hooks_for_conditioning(text, comfy.hooks.create_hook_lora(LARGE_LORA, 0.3, 0.0))
    assert not torch.equal(sampled(patched, hooked), with_lora)
    assert torch.equal(sampled(patched, text), with_lora)


def test_patched_fp8_rows_are_let_go(nava, files):
    """Taking a LoRA off frees its weights, and a layer can be freed without the garbage collector."""
    import gc
    import weakref

    import comfy.sd
    from comfy import model_management

    base = nava("load").load_model(str(files / "released_fp8.safetensors"), "default")
    patched, _ = comfy.sd.load_lora_for_models(base, None, LARGE_LORA, 1.0, 0)
    model_management.load_models_gpu([patched])
    layer = base.model.diffusion_model.single_blocks[0].ffn[0]
    weight = weakref.ref(layer.weight)
    assert layer.scale.max() > layer.weight_scale.max()
    saved = layer.state_dict()
    torch.testing.assert_close(
        saved["weight"].float() * saved["weight_scale"].float()[:, None], layer.convert_weight(layer.weight)
    )
    del saved
    patched.detach()
    assert weight() is None and torch.equal(layer.scale, layer.weight_scale)

    other = nava("fp8_rows").RowScaledOps.Linear(4, 4)
    rows = {
        "weight": torch.zeros(4, 4, dtype=torch.float8_e4m3fn),
        "weight_scale": torch.ones(4),
        "bias": torch.zeros(4),
    }
    other.load_state_dict(rows)
    gc.collect()
    gc.disable()
    try:
        other.weight_lowvram_function = lambda w: w
        gone = weakref.ref(other)
        del other
        assert gone() is None
    finally:
        gc.enable()


def test_fp8_rows_are_staged_as_fp8(nava, files):
    """Where VRAM is managed dynamically, the host stages a weight in the dtype it noted for the layer."""
    patcher = nava("load").load_model(str(files / "released_fp8.safetensors"), "default")
    network = patcher.model.diffusion_model
    for name, module in network.named_modules():
        if getattr(module, "weight_scale", None) is not None:
            assert module.weight_comfy_model_dtype == module.weight.dtype == torch.float8_e4m3fn, name
            assert module.bias_comfy_model_dtype == module.bias.dtype, name
    staged = sum(
        p.numel() * getattr(m, f"{n}_comfy_model_dtype", p.dtype).itemsize
        for m in network.modules()
        for n, p in m.named_parameters(recurse=False)
    )
    assert staged <= sum(p.numel() * p.element_size() for p in network.parameters())


def test_safe_pickle(nava, files, tmp_path):
    """`.pth` is read only through torch's safe loading."""
    load = nava("load")
    weights = torch.load(files / "pickled.pth", weights_only=True)
    # a pickled file carries no metadata: the golden model's head size cannot be known, but it is read and identified
    shapes = {k: tuple(v.shape) for k, v in weights.items()}
    assert NavaConfig.from_shapes(checkpoint.without_prefix(shapes)).dim == 64

    class Harmful:
        def __reduce__(self):
            return (print, ("code ran",))

    torch.save({"x": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(
        Exception, match="cannot be read safely as a PyTorch file: it holds something other than weights"
    ):
        load.load_model(str(tmp_path / "harmful.pth"))


def test_convert_is_atomic_and_honest(tmp_path):
    out = tmp_path / "out.safetensors"
    assert convert(TINY, out, "bf16") is False
    again = tmp_path / "again.safetensors"
    assert convert(out, again, "bf16") is True
    ours, theirs = load_file(out), load_file(again)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours) and ours.keys() == load_file(TINY).keys()
    assert all(torch.equal(ours[k], v.bfloat16()) for k, v in load_file(TINY).items())
    before = out.read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        convert(TINY, out, "fp8")
    assert out.read_bytes() == before
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(TINY.read_bytes()[:-1000])
    with pytest.raises(CheckpointError):
        convert(broken, tmp_path / "never.safetensors", "fp8")

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(TINY, tmp_path / "never.safetensors", "fp8", fail)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.safetensors", "broken.safetensors", "out.safetensors"]


@pytest.mark.parametrize(("ending", "dtype"), [(".safetensors", "bf16"), (".gguf", "q8_0")])
def test_convert_on_a_full_or_forbidden_disk(small_disk, monkeypatch, ending, dtype):
    """Too little room is noticed before writing where it can be, else while writing; either way nothing is left behind."""
    import shutil
    from collections import namedtuple

    target = small_disk.folder / f"out{ending}"
    usage = namedtuple("usage", "total used free")
    for free, why in ((1000, "are free"), (10**9, "No space left|too large")):  # others filled it meanwhile
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(1, 1, free))
        with pytest.raises(CheckpointError, match=rf"out\{ending} does not fit: .* GB are needed, .*({why})"):
            convert(TINY, target, dtype)
        assert not list(small_disk.folder.iterdir())
    small_disk.forbid_writing()
    with pytest.raises(CheckpointError, match=rf"out\{ending} cannot be written: .* Choose a folder that may be"):
        convert(TINY, target, dtype)
    assert not list(small_disk.folder.iterdir())


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_gguf(nava, golden, tmp_path, kind):
    """A GGUF file, its matrices quantised as converters do it, loads, is listed, and comes near float32."""
    import folder_paths
    import gguf

    weights, metadata = load_file(TINY), checkpoint.read_header(TINY)[1]
    writer = gguf.GGUFWriter(tmp_path / "nava.gguf", "nava")
    writer.add_string("nava_config", metadata["nava_config"])
    for key, weight in weights.items():
        key, weight = key.removeprefix("backbone."), weight.float()
        if weight.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{key}", list(weight.shape))
            weight = weight.reshape(weight.shape[0], -1)
        quantise = weight.ndim == 2 and weight.shape[1] % 32 == 0 and is_fp8_layer(key)
        as_type = gguf.GGMLQuantizationType[kind if quantise else "F32"]
        writer.add_tensor(key, gguf.quants.quantize(weight.numpy(), as_type), raw_dtype=as_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    folder_paths.add_model_folder_path("diffusion_models", str(tmp_path))
    assert "nava.gguf" in nava("load").model_files()
    patcher = nava("load").load_model(str(tmp_path / "nava.gguf"), "default")
    found, wanted = velocity(patcher, golden), reference(golden)
    error = ((found - wanted).norm() / wanted.norm()).item()
    print(f"GGUF {kind}: relative error {error:.4f}")
    assert error < 0.05
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "nava.gguf").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.gguf"):
        nava("load").load_model(str(tmp_path / "cut.gguf"))


def test_gguf_without_its_reader(nava, tmp_path, monkeypatch):
    import sys

    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match="pip install gguf"):
        nava("load").load_model(str(tmp_path / "x.gguf"))


def test_fp8_layout_is_the_released_one(tmp_path):
    convert(TINY, tmp_path / "fp8.safetensors", "fp8")
    found = load_file(tmp_path / "fp8.safetensors")
    for key, tensor in found.items():
        if is_fp8_layer(key):
            assert tensor.dtype == torch.float8_e4m3fn and tensor.ndim == 2
            assert found[key.removesuffix(".weight") + ".weight_scale"].shape == tensor.shape[:1]
        else:
            assert tensor.dtype == torch.bfloat16
    assert is_fp8_layer("backbone.double_blocks.3.self_attn.q_audio.weight")
    assert not is_fp8_layer("backbone.double_blocks.3.self_attn.norm_q.weight")
    assert not is_fp8_layer("backbone.text_embedding.0.weight")


def test_rows_are_rounded_to_within_fp8():
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 2, 64)[:, None]
    rows, scale = quantized_rows(weight)
    error = (rows.float() * scale.float()[:, None] - weight).abs() / weight.abs().amax(1, keepdim=True)
    assert error.max() < 2**-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("config", "size"),
    [
        (NavaConfig(dim=96, num_heads=2, num_double_layers=1, num_single_layers=1, ffn_dim=192, freq_dim=64, text_dim=64), (13, 20, 20)),
        (NavaConfig(dim=1024, num_heads=8, num_double_layers=1, num_single_layers=1, ffn_dim=4096, text_dim=64), (7, 22, 40)),
        (NavaConfig(dim=512, num_heads=4, num_double_layers=1, num_single_layers=1, ffn_dim=2048, text_dim=64), (37, 32, 32)),
    ],
)  # fmt: skip
def test_memory_estimate(nava, config, size, dtype):
    """memory_required is within 20 % of the traced peak of a pass, attention by PyTorch as on graphics cards."""
    from comfy.ldm.modules.attention import attention_pytorch

    from nava_core.sizes import ClipLength

    weights = {k: (torch.randn(s) * 0.02).to(dtype) for k, s in checkpoint.expected_shapes(config).items()}
    model = nava("host").build_patcher(weights, config, dtype).model
    model.manual_cast_dtype = None
    steps = ClipLength(size[0]).audio_steps
    inputs = [torch.randn(1, 48, *size).to(dtype), torch.randn(1, 8, steps, 16).to(dtype)]
    context = torch.randn(1, 512, config.dim).to(dtype)
    options = {"optimized_attention_override": lambda _, *a, **k: attention_pytorch(*a, **k)}
    with PeakMemory() as memory:
        model.diffusion_model(inputs, torch.tensor([500.0]), context, options)
    tokens = math.prod(size) / 4 + steps
    estimate = config.activation_values(tokens, 1, dtype.itemsize) * dtype.itemsize
    print(
        f"dim {config.dim}, {dtype}, {size}: peak {memory.peak / 1e6:.1f} MB, estimate {estimate / memory.peak:.2f} of it"
    )
    assert 0.8 < estimate / memory.peak < 1.2


@pytest.mark.parametrize("kind", ["joint", "masked", "held sound", "held within frames"])
@pytest.mark.parametrize("size", [(37, 44, 80), (13, 30, 52)])
def test_memory_estimate_at_full_width(size, kind):
    """The released width on a graphics card, counted with fake tensors: attention and rotation give only their result."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from nava_core.sizes import ClipLength

    config = NavaConfig(num_double_layers=1, num_single_layers=1)
    steps, made = ClipLength(size[0]).audio_steps, {"device": "cuda", "dtype": torch.bfloat16}
    levels = {}
    if kind == "held sound":
        levels["audio_levels"] = [i / steps for i in range(steps)]
    with torch.inference_mode(False), torch.no_grad(), FakeTensorMode():
        model = nava_core.NavaTransformer(
            config, attention=lambda q, *_, **__: torch.empty_like(q), rotate=lambda x, _: x, **made
        ).requires_grad_(False)
        inputs = torch.randn(1, 48, *size, **made), torch.randn(1, steps, 128, **made)
        context = torch.randn(1, 512, config.dim, **made)
        if kind == "held within frames":
            n = math.prod(size) // 4
            per_token = torch.zeros(1, n + steps, dtype=torch.int64, device="cuda")
            rows = {"video_rows": per_token[:, :n], "audio_rows": per_token[:, n:], "fused_rows": per_token}
            usual = model._layout
            model._layout = lambda *a: ([0.0, 1.0], replace(usual(*a)[1], **rows))
        with PeakMemory() as memory:
            model.velocity(*inputs, torch.full((1,), 500.0, device="cuda"), context, joint=kind != "masked", **levels)
    estimate = config.activation_values(math.prod(size) / 4 + steps) * 2
    print(f"{kind}, {size}: counted {memory.peak / 1e9:.2f} GB, estimate {estimate / memory.peak:.2f} of it")
    assert 0.9 < estimate / memory.peak < 1.1


@pytest.mark.parametrize("together", [True, False])
def test_memory_around_the_network(nava, files, together, monkeypatch):
    """Sampler, guidance and the host keep so many copies of the latent as `memory_required` adds."""
    import comfy.sample
    from comfy.nested_tensor import NestedTensor

    patcher = nava("load").load_model(str(files / "fp32.safetensors"), "default")
    model, text = patcher.model, [[torch.randn(1, 9, 24), {}]]
    latent = NestedTensor([torch.zeros(1, 6, 13, 44, 40), torch.zeros(1, 8, 52, 1)])
    numbers = sum(t.numel() for t in latent.unbind())
    planned = model.memory_required([2, 1, numbers]) - 4 * model.nava_config.activation_values(numbers / 24, 2, 4)
    monkeypatch.setattr(model.diffusion_model, "_forward", lambda x, *_, **__: [torch.zeros_like(p) for p in x])
    monkeypatch.setattr(model, "memory_required", lambda *_, **__: 0 if together else 1e18)
    guider = nava("guide").NavaGuider.execute(patcher, text, text, 3.0, 3.0, 2.0, 2.0, 3.0)[0]
    sigmas = nava("sample").NavaScheduler.execute(patcher, 4, 5.0, 1.0)[0]
    noise = comfy.sample.prepare_noise(latent, 1)
    with PeakMemory() as memory:
        guider.sample(noise, latent, nava("sample").NavaSamplerSelect.execute("unipc")[0], sigmas, disable_pbar=True)
    print(f"around the network: {memory.peak / numbers / 4:.1f} copies, planned {planned / numbers / 4:.1f}")
    assert 0.8 < planned / memory.peak < 1.2


def test_modulation_is_not_per_token(nava):
    """Nothing of size tokens x dim x 6 exists, with a clean first frame either."""
    config = NavaConfig(
        dim=96, num_heads=2, num_double_layers=1, num_single_layers=1, ffn_dim=96, freq_dim=64, text_dim=64
    )
    model = nava_core.NavaTransformer(config).requires_grad_(False)
    tokens = 13 * 10 * 10
    largest = 0

    class Largest(PeakMemory):
        def _follow(self, storage, given):
            nonlocal largest
            if storage._cdata not in given:
                largest = max(largest, storage.nbytes())

    with Largest():
        model(torch.randn(1, 48, 13, 20, 20), None, torch.tensor([5.0]), torch.randn(1, 9, 64), clean_first_frame=True)
    assert largest < tokens * 96 * 6 * 4


def test_text_is_projected_once_a_run(nava, files, golden, golden_metadata):
    """Keys and values of the text are made in the first step of a run and dropped at its end."""
    from support import sampling_case
    from test_host_parity import run

    patcher = nava("load").load_model(str(files / "fp32.safetensors"), "default")
    calls = []
    block = patcher.model.diffusion_model.single_blocks[0].cross_attn
    hook = block.k.register_forward_hook(lambda *_: calls.append(1))
    run(nava, patcher, sampling_case(golden("sampling"), golden_metadata("sampling"), "t2av"))
    hook.remove()
    print(f"the text was projected {len(calls)} times in 6 steps of 3 passes")
    assert len(calls) <= 3
    assert "nava_text_memories" not in patcher.model_options["transformer_options"]


def test_contrast_range(nava, files, golden, golden_metadata, monkeypatch):
    """Outside of the range only the text contrast runs."""
    import comfy.samplers

    load, guide = nava("load"), nava("guide")
    patcher = load.load_model(str(files / "fp32.safetensors"), "default")
    g = golden("sampling")
    text = [[g["positive_context"][None], {}]]
    guider = guide.NavaGuider.execute(patcher, text, text, 3.0, 3.0, 2.0, 2.0, 3.0, 0.2, 0.8)[0]
    runs = []
    original = comfy.samplers.calc_cond_batch
    monkeypatch.setattr(
        comfy.samplers,
        "calc_cond_batch",
        lambda m, c, *a: (runs.append(sum(x is not None for x in c)), original(m, c, *a))[1],
    )
    from comfy.nested_tensor import NestedTensor

    latent = NestedTensor([torch.zeros(1, 6, 2, 4, 4), torch.zeros(1, 8, 6, 1)])
    sigmas = nava("sample").NavaScheduler.execute(patcher, 10, 5.0, 1.0)[0]
    guider.sample(latent, latent, nava("sample").NavaSamplerSelect.execute("unipc")[0], sigmas, disable_pbar=True)
    print("passes per step:", runs)
    assert runs[0] == 2 and runs[-1] == 2 and max(runs) == 3


def test_attention_node(nava, files, caplog):
    node = nava("attention").NavaAttention
    patcher = nava("load").load_model(str(files / "fp32.safetensors"), "default")
    chosen = node.execute(patcher, "pytorch")[0]
    assert "optimized_attention_override" in chosen.model_options["transformer_options"]
    assert "optimized_attention_override" not in patcher.model_options.get("transformer_options", {})
    assert "optimized_attention_override" not in node.execute(chosen, "auto")[0].model_options["transformer_options"]
    with pytest.raises(ValueError, match="pip install flash-attn"):
        node.execute(patcher, "flash")
    foreign = patcher.clone()
    theirs = foreign.model_options["transformer_options"]["optimized_attention_override"] = lambda f, *a, **k: f(
        *a, **k
    )
    assert (
        node.execute(foreign, "auto")[0].model_options["transformer_options"]["optimized_attention_override"] is theirs
    )
    override = nava("attention").override_with("sage", None)
    q = torch.randn(1, 4, 64)
    for _ in range(2):
        assert override(lambda *a, **k: "host", q, q, q, 1) == "host"
    assert caplog.text.count("sage is not used here") == 1


def test_cudnn_attention_is_attention(nava, files, golden, caplog):
    """The kernel's own code gives what torch gives, in both layouts; where there is no card it steps aside and says why."""
    module = nava("attention")
    q, k, v = (torch.randn(2, n, 48, generator=torch.Generator().manual_seed(n)) for n in (7, 9, 9))
    wanted = nava_core.attention.attention(q, k, v, 4)
    torch.testing.assert_close(module.attention_cudnn(q, k, v, 4), wanted)
    heads = [t.unflatten(-1, (4, -1)).transpose(1, 2) for t in (q, k, v)]
    out = module.attention_cudnn(*heads, 4, skip_reshape=True, skip_output_reshape=True)
    torch.testing.assert_close(out.transpose(1, 2).flatten(2), wanted)
    patcher = nava("load").load_model(str(files / "fp32.safetensors"), "default")
    chosen = module.NavaAttention.execute(patcher, "cudnn")[0]
    override = chosen.model_options["transformer_options"]["optimized_attention_override"]
    assert override(lambda *a, **k: "host", q, k, v, 4) == "host"
    assert "cudnn is not used here, it needs an NVIDIA or AMD GPU" in caplog.text


def test_int8_attention_is_the_hosts(nava, files):
    """Where the host has it, its function is taken; else one sentence says what brings it."""
    from comfy.ldm.modules import attention as host

    attention, model = nava("attention"), nava("load").load_model(str(files / "bf16.safetensors"))
    if "comfy_kitchen_int8" in getattr(host, "REGISTERED_ATTENTION_FUNCTIONS", {}):
        assert attention.function_of("int8") is host.attention_comfy_kitchen_int8
        return
    with pytest.raises(ValueError, match=r"kernel: this ComfyUI has no int8 attention. It comes with ComfyUI 0\.33"):
        attention.NavaAttention.execute(model, "int8")
    host.register_attention_function("comfy_kitchen_int8", host.attention_pytorch)
    try:
        assert attention.function_of("int8") is host.attention_pytorch
    finally:
        del host.REGISTERED_ATTENTION_FUNCTIONS["comfy_kitchen_int8"]


def test_auto_says_what_it_takes(nava, files, caplog):
    from comfy.ldm.modules.attention import optimized_attention

    patcher = nava("load").load_model(str(files / "fp32.safetensors"), "default")
    with caplog.at_level("INFO"):
        nava("attention").NavaAttention.execute(patcher, "auto")
    assert f"auto takes ComfyUI's {optimized_attention.__name__}" in caplog.text


@pytest.mark.parametrize(("capability", "kernel"), [((9, 0), "cudnn"), ((8, 9), None)])
def test_auto_takes_cudnn_on_hopper(nava, files, caplog, monkeypatch, capability, kernel):
    """Where ComfyUI left the choice to torch, and no other node made one."""
    attention = nava("attention")
    patcher = nava("load").load_model(str(files / "fp32.safetensors"), "default")
    monkeypatch.setattr(attention.host_attention, "optimized_attention", attention.host_attention.attention_pytorch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    with caplog.at_level("INFO"):
        chosen = attention.NavaAttention.execute(patcher, "auto")[0].model_options["transformer_options"]
    override = chosen.get("optimized_attention_override")
    assert getattr(override, "nava_kernel", None) == kernel and "on a card" in caplog.text
    foreign = patcher.clone()
    foreign.model_options["transformer_options"] = {"optimized_attention_override": len}
    assert attention.NavaAttention.execute(foreign, "auto")[0].model_options["transformer_options"] == {
        "optimized_attention_override": len
    }


def test_dynamic_patches_act_on_real_numbers(nava, files):
    """Where VRAM is managed dynamically, the host patches fp8 rows through `weight_lowvram_function`."""
    layer = (
        nava("load")
        .load_model(str(files / "released_fp8.safetensors"), "default")
        .model.diffusion_model.single_blocks[0]
        .ffn[0]
    )
    weight = layer.convert_weight(layer.weight)
    delta = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * weight.abs().mean() * 0.2
    # rows that differ in size by e on average: some grow far beyond what their own scale holds
    delta *= torch.randn(len(delta), 1, generator=torch.Generator().manual_seed(2)).exp()
    layer.weight_lowvram_function = lambda w: w + delta
    rows = layer.weight_lowvram_function(layer.weight.float()).to(torch.float8_e4m3fn)
    patched = rows.float() * layer.scale.float()[:, None]
    error = ((patched - weight - delta).norm() / delta.norm()).item()
    assert (layer.scale > layer.weight_scale).any()
    layer.weight_lowvram_function = None
    assert layer.scale is layer.weight_scale
    print(f"a dynamic patch of fp8 rows is off by {error:.4f} of itself")
    assert error < 0.1


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
def test_hooked_fp8_rows_equal_merged_ones(nava, files, size):
    """A LoRA of this size against the weights' own acts the same by a hook as merged, with rows far larger than their old scales."""
    import comfy.hooks
    import comfy.sd

    text = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3)), {}]]
    base = nava("load").load_model(str(files / "released_fp8.safetensors"), "default")
    layer = base.model.diffusion_model.single_blocks[0].ffn[0]
    change = torch.mm(*(LARGE_LORA[f"diffusion_model.single_blocks.0.ffn.0.lora_{x}.weight"] for x in "BA"))
    strength = size * (layer.convert_weight(layer.weight).norm() / change.norm()).item()
    merged, _ = comfy.sd.load_lora_for_models(base, None, LARGE_LORA, strength, 0)
    wanted = sampled(merged, text)
    hooks = comfy.hooks.create_hook_lora(LARGE_LORA, strength, 0.0)
    for _ in range(2):  # the second time over rows that were put back
        assert torch.equal(sampled(base, text, hooks), wanted)


@pytest.mark.parametrize("kind", ["int8", "mxfp8", "nvfp4"])
def test_convert_writes_the_hosts_formats(nava, files, golden, tmp_path, kind):
    """Converted layers stay packed in memory, take a LoRA, and the rest is bf16."""
    import comfy.sd
    from comfy.quant_ops import QuantizedTensor

    out = tmp_path / "out.safetensors"
    assert convert(TINY, out, kind) is False
    patcher = nava("load").load_model(str(out), "default")
    network = patcher.model.diffusion_model
    weight = network.single_blocks[0].self_attn.q.weight
    assert isinstance(weight, QuantizedTensor) and not isinstance(network.head.head.weight, QuantizedTensor)
    data = weight._qdata
    assert data.element_size() * data.numel() == (0.5 if kind == "nvfp4" else 1) * weight.numel()
    key = "double_blocks.0.self_attn.q.weight"
    real = load_file(TINY)["backbone." + key]
    error = (network.double_blocks[0].self_attn.q.weight.dequantize().float() - real).norm() / real.norm()
    print(f"{kind}: weights off by {error:.4f}")
    assert error < {"int8": 0.01, "mxfp8": 0.03, "nvfp4": 0.12}[kind]
    plain = velocity(patcher, golden)
    patched, _ = comfy.sd.load_lora_for_models(patcher, None, LARGE_LORA, 1.0, 0)
    assert not torch.equal(velocity(patched, golden), plain)


def test_int8_takes_the_gelu_along(nava, files, golden, monkeypatch):
    """The host's int8 layers apply the activation themselves; with it outside the result is the same."""
    patcher = nava("load").load_model(str(files / "int8.safetensors"), "default")
    inside = velocity(patcher, golden)
    for block in patcher.model.diffusion_model.single_blocks:
        block.activated = nava_core.blocks.activated
    torch.testing.assert_close(velocity(patcher, golden), inside, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["nvfp4", "int8", "mxfp8"])
def test_host_formats_are_refused_outside_the_host(files, tmp_path, name):
    for action in (nava_core.load_transformer, lambda path: convert(path, tmp_path / "out.safetensors", "bf16")):
        with pytest.raises(CheckpointError, match=rf"is quantised for ComfyUI \({name}.*only Load NAVA Model can read"):
            action(files / f"{name}.safetensors")
    assert not list(tmp_path.iterdir())


# bytes that a parameter takes in memory, and so on its way to a card
KEPT = {"bf16": 2, "released_fp8": 1, "int8": 1, "mxfp8": 1, "nvfp4": 0.5, "q8_0": 34 / 32, "q4_k": 144 / 256}


@pytest.mark.parametrize("name", KEPT)
def test_a_format_runs_never_waits_and_leaves_nothing(nava, files, name, monkeypatch):
    """A guided run with a LoRA, all in memory and streamed as where nothing fits; unloaded, all its memory is free again.

    From the first step to the last nothing reads a tensor's numbers: on a card the host would wait for it.
    """
    import gc
    import weakref

    import comfy.sample
    import comfy.sd
    from comfy import model_management
    from comfy.nested_tensor import NestedTensor

    def guided(patcher):
        positive = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3)), {}]]
        latent, marks = NestedTensor([torch.zeros(1, 6, 2, 4, 4), torch.zeros(1, 8, 6, 1)]), []
        guider = nava("guide").NavaGuider.execute(patcher, positive, positive, 3.0, 3.0, 2.0, 2.0, 3.0)[0]
        sigmas = nava("sample").NavaScheduler.execute(patcher, 2, 5.0, 1.0)[0]
        sampler, noise = nava("sample").NavaSamplerSelect.execute("unipc")[0], comfy.sample.prepare_noise(latent, 5)
        with Readings() as readings:
            out = guider.sample(
                noise, latent, sampler, sigmas, callback=lambda *_: marks.append(readings.count), disable_pbar=True
            )
        assert readings.count and len(marks) == 2 and marks[0] == marks[1]
        return torch.cat([t.flatten() for t in out.unbind()])

    def follow(tensors):
        for tensor in tensors:
            inner = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else ()
            follow(getattr(tensor, part) for part in inner)
            if not inner:
                followed.append(weakref.ref(tensor.untyped_storage()))

    (file,) = files.glob(f"{name}.*")
    base = nava("load").load_model(str(file), "bf16" if name == "bf16" else "default")  # a CPU would take float32
    network, followed, random = base.model.diffusion_model, [], torch.Generator().manual_seed(4)
    layer = network.single_blocks[0].ffn[0]
    lora = {
        "diffusion_model.single_blocks.0.ffn.0.lora_B.weight": torch.randn(layer.out_features, 4, generator=random),
        "diffusion_model.single_blocks.0.ffn.0.lora_A.weight": torch.randn(4, layer.in_features, generator=random)
        * 0.3,
    }
    projection = network.single_blocks[0].self_attn.q
    kept = getattr(projection.weight, "_qdata", projection.weight)
    assert kept.numel() * kept.element_size() == KEPT[name] * projection.in_features * projection.out_features
    follow([*lora.values(), *network.parameters()])
    plain = guided(base)
    patched, _ = comfy.sd.load_lora_for_models(base, None, lora, 0.3, 0)
    merged = guided(patched)
    follow(network.parameters())
    model_management.unload_all_models()
    with monkeypatch.context() as no_vram:  # what the host asks for where nothing fits
        no_vram.setattr(
            model_management.LoadedModel,
            "model_use_more_vram",
            lambda loaded, *_, **options: loaded.model.partially_load(loaded.device, 0.1, **options),
        )
        streamed = guided(patched)
        assert base.model.model_lowvram and base.model.lowvram_patch_counter == 1
    model_management.unload_all_models()
    cosine = torch.cosine_similarity(merged - plain, streamed - plain, dim=0).item()
    print(f"{name}: a LoRA streamed acts as merged, to a cosine of {cosine:.4f}")
    assert cosine > 0.9 and all(storage() is not None for storage in followed[: len(lora)])
    del layer, projection, kept, network, lora, base, patched
    model_management.cleanup_models()
    gc.collect()
    assert not [storage() for storage in followed if storage() is not None]
