"""Scales of quantised files in the spellings of other tools: applied to the digit, or refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import DATA

import nava_core
from nava_core import CheckpointError, checkpoint
from nava_core.convert import convert, is_fp8_layer
from nava_core.scales import applied, settled

TINY = DATA / "nava_tiny.safetensors"
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def written(path, make, prefix="", extra=None, marker=False, dtype=E4M3):
    """A file whose fp8 layers `make(layer, weight)` scales: {what follows the layer's name: entry}; and the numbers that are meant."""
    weights, metadata = load_file(TINY), checkpoint.read_header(TINY)[1]
    out, meant = {}, {}
    for key, weight in ((k.removeprefix("backbone."), v) for k, v in weights.items()):
        layer = key.removesuffix(".weight")
        if not is_fp8_layer(key):
            out[prefix + key] = meant[key] = weight
            continue
        scale, entries = make(layer, weight)
        stored = (weight / scale).to(dtype)
        meant[key] = stored.float() * scale
        out |= {prefix + key: stored} | {
            prefix + layer + ending: entry.clone().contiguous() for ending, entry in entries.items()
        }
    if marker:
        out[prefix + "scaled_fp8"] = torch.zeros(2, dtype=dtype)
    save_file(out, path, metadata | (extra or {}))
    return meant


def whole(weight):
    return weight.abs().max() / 448


def rows(weight):
    return weight.abs().amax(1, keepdim=True) / 448


def columns(weight):
    return weight.abs().amax(0, keepdim=True) / 448


def blocks(weight, size=16):
    """(scales [out / 16, in / 16], the same for each number)."""
    pad = torch.nn.functional.pad(weight.abs(), (0, -weight.shape[1] % size, 0, -weight.shape[0] % size))
    few = pad.unflatten(0, (-1, size)).unflatten(2, (-1, size)).amax((1, 3)) / 448
    return few, few.repeat_interleave(size, 0)[: weight.shape[0]].repeat_interleave(size, 1)[:, : weight.shape[1]]


SPELLINGS = {
    "scale_weight with marker": (lambda _, w: (whole(w), {".scale_weight": whole(w)}), {"marker": True}),
    "scale_weight": (lambda _, w: (whole(w), {".scale_weight": whole(w)}), {}),
    "weight_scale": (lambda _, w: (whole(w), {".weight_scale": whole(w)}), {}),
    "weight_scale [1]": (lambda _, w: (whole(w), {".weight_scale": whole(w).reshape(1)}), {}),
    "weight_scale [1, 1]": (lambda _, w: (whole(w), {".weight_scale": whole(w).reshape(1, 1)}), {}),
    "weight_scale_inv, blocks": (lambda _, w: (blocks(w)[1], {".weight_scale_inv": blocks(w)[0]}), {}),
    "rows": (lambda _, w: (rows(w), {".weight_scale": rows(w)[:, 0]}), {}),
    "rows [out, 1]": (lambda _, w: (rows(w), {".weight_scale": rows(w)}), {}),
    "rows as scale_weight": (lambda _, w: (rows(w), {".scale_weight": rows(w)}), {}),
    "columns": (lambda _, w: (columns(w), {".weight_scale": columns(w)}), {}),
    "scales of inputs": (lambda _, w: (whole(w), {".weight_scale": whole(w), ".input_scale": torch.tensor(0.5)}), {}),
    "e5m2": (lambda _, w: (whole(w), {".weight_scale": whole(w)}), {"dtype": E5M2}),
    "model.diffusion_model.": (lambda _, w: (whole(w), {".scale_weight": whole(w)}), {"prefix": "model.diffusion_model."}),
    "rows here, one number there": (
        lambda layer, w: (rows(w), {".weight_scale": rows(w)}) if "ffn" in layer else (whole(w), {".weight_scale": whole(w)}),
        {},
    ),
}  # fmt: skip


def linear_weights(model) -> dict:
    """What each layer computes with, float32: from what it gives for unit vectors, its bias taken off."""
    found = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "in_features") and is_fp8_layer(f"{name}.weight"):
            unit = torch.eye(layer.in_features)
            found[f"{name}.weight"] = (layer(unit).float() - layer(torch.zeros(1, layer.in_features)).float()).T
    return found


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_gives_the_numbers_that_are_meant(nava, tmp_path, name):
    make, options = SPELLINGS[name]
    path = tmp_path / "scaled.safetensors"
    meant = written(path, make, **options)
    core = nava_core.load_transformer(path).state_dict()
    for key, weight in meant.items():
        torch.testing.assert_close(core[key], weight.float(), rtol=1e-6, atol=0, msg=key)
    patcher = nava("load").load_model(str(path), "fp32")
    found = linear_weights(patcher.model.diffusion_model)
    assert found
    for key, weight in found.items():
        # what is multiplied in becomes bf16; scales stay with fp8
        torch.testing.assert_close(weight, meant[key], rtol=2**-7, atol=2e-3 * float(meant[key].abs().max()), msg=key)
    target = tmp_path / "bf16.safetensors"
    convert(path, target, "bf16")
    prefix = options.get("prefix", "")
    for key, weight in load_file(target).items():
        torch.testing.assert_close(weight, meant[key.removeprefix(prefix)].bfloat16(), rtol=0, atol=0, msg=key)


def test_the_headers_layers_may_have_the_files_prefix(nava, tmp_path):
    prefix = "model.diffusion_model."
    layers = [k.removeprefix("backbone.").removesuffix(".weight") for k in load_file(TINY) if is_fp8_layer(k)]
    for told in (prefix, ""):
        extra = {
            "_quantization_metadata": json.dumps({"layers": {told + k: {"format": "float8_e4m3fn"} for k in layers}})
        }
        path = tmp_path / f"of{len(told)}.safetensors"
        meant = written(path, SPELLINGS["weight_scale"][0], prefix, extra)
        found = linear_weights(nava("load").load_model(str(path), "fp32").model.diffusion_model)
        for key, weight in found.items():
            torch.testing.assert_close(
                weight, meant[key], rtol=2**-7, atol=2e-3 * float(meant[key].abs().max()), msg=key
            )


@pytest.mark.parametrize(
    "change, words",
    [
        ({".weight_scale": torch.ones(7)}, "the scale of .* has the shape"),
        ({".weight_scale": torch.ones(()), ".scale_weight": torch.ones(())}, "has 2 scales"),
        ({".weight_scale": torch.ones(64), ".weight_scale_2": torch.ones(())}, "is packed, and nothing says how"),
    ],
)
def test_what_cannot_be_applied_is_refused(nava, tmp_path, change, words):
    path = tmp_path / "odd.safetensors"
    written(path, lambda _, w: (torch.ones(()), change))
    with pytest.raises(CheckpointError, match=words):
        nava("load").load_model(str(path))


def test_a_scale_of_nothing_is_refused(nava, tmp_path):
    path = tmp_path / "orphan.safetensors"
    save_file(
        load_file(TINY) | {"backbone.blocks.7.weight_scale": torch.ones(())}, path, checkpoint.read_header(TINY)[1]
    )
    for load in (nava_core.load_transformer, lambda p: nava("load").load_model(str(p))):
        with pytest.raises(CheckpointError, match="the scale of nothing"):
            load(path)


def test_whole_numbers_without_a_word_are_refused():
    with pytest.raises(CheckpointError, match="stored as int8, and nothing says how"):
        settled({"a.weight": torch.ones(4, 4, dtype=torch.int8)}, {}, "some.safetensors")
    kept = settled(
        {"a.weight": torch.full((4, 4), 3, dtype=torch.int8), "a.weight_scale": torch.full((4, 1), 0.5)}, {}, "x"
    )
    assert kept["a.weight"].dtype == torch.bfloat16 and bool((kept["a.weight"] == 1.5).all())


def test_blocks_of_128_that_do_not_divide():
    weight = torch.randn(200, 130).to(E4M3)
    scale = torch.rand(2, 2) + 0.5
    real = applied(weight, scale, "a")
    assert torch.equal(real[199, 129], weight[199, 129].float() * scale[1, 1])
    assert torch.equal(real[127, 128], weight[127, 128].float() * scale[0, 1])


def test_names_of_compile_and_of_several_processes(nava, tmp_path):
    """torch.compile and DistributedDataParallel put their own words into names, at the beginning or within."""
    plain = {k.removeprefix("backbone."): v for k, v in load_file(TINY).items()}
    metadata = checkpoint.read_header(TINY)[1]
    wanted = nava_core.load_transformer(TINY).state_dict()
    for form in (
        lambda k: f"module._orig_mod.{k}",
        lambda k: f"backbone.{k.replace('blocks.0.', 'blocks.0._orig_mod.')}",
    ):
        path = tmp_path / "wrapped.safetensors"
        save_file({form(k): v for k, v in plain.items()}, path, metadata)
        found = nava_core.load_transformer(path).state_dict()
        assert all(torch.equal(found[k], v) for k, v in wanted.items())
        assert nava("load").load_model(str(path), "fp32").model.nava_config.dim == 64
        convert(path, tmp_path / "plain.safetensors", "bf16")
        assert not any("_orig_mod" in k or "module" in k for k in load_file(tmp_path / "plain.safetensors"))
        (tmp_path / "plain.safetensors").unlink()


def test_a_part_of_a_model_is_called_one(tmp_path):
    path = tmp_path / "nava-00001-of-00003.safetensors"
    weights = load_file(TINY)
    save_file({k: weights[k] for k in sorted(weights)[:20]}, path, checkpoint.read_header(TINY)[1])
    with pytest.raises(CheckpointError, match="part 1 of a model in 3 files"):
        nava_core.load_transformer(path)


def test_a_small_model_without_its_heads_is_refused(tmp_path):
    path = tmp_path / "headless.safetensors"
    save_file(load_file(TINY), path)
    with pytest.raises(CheckpointError, match="how many attention heads"):
        nava_core.load_transformer(path)


@pytest.mark.parametrize("kind", ["safetensors", "released_fp8", "gguf"])
def test_what_save_model_writes_is_the_same_model(nava, tmp_path, kind):
    """ComfyUI's ModelSave: the configuration stays, blocks become numbers, rows keep their scales, a LoRA is within."""
    import comfy.sd

    source = tmp_path / {"safetensors": "a.safetensors", "released_fp8": "b.safetensors", "gguf": "c.gguf"}[kind]
    convert(TINY, source, {"safetensors": "bf16", "released_fp8": "fp8", "gguf": "q8_0"}[kind])
    generator = torch.Generator().manual_seed(4)
    lora = {
        "diffusion_model.single_blocks.0.ffn.0.lora_B.weight": torch.randn(80, 4, generator=generator),
        "diffusion_model.single_blocks.0.ffn.0.lora_A.weight": torch.randn(4, 64, generator=generator) * 0.3,
    }
    base = nava("load").load_model(str(source))
    patched, _ = comfy.sd.load_lora_for_models(base, None, lora, 1.0, 0)
    target = tmp_path / "saved.safetensors"
    comfy.sd.save_checkpoint(str(target), patched)
    plain = nava_core.load_transformer(TINY).state_dict()
    delta = (
        lora["diffusion_model.single_blocks.0.ffn.0.lora_B.weight"]
        @ lora["diffusion_model.single_blocks.0.ffn.0.lora_A.weight"]
    )
    saved = nava_core.load_transformer(target)
    assert saved.config == nava_core.load_transformer(TINY).config
    for key, weight in saved.state_dict().items():
        wanted = plain[key] + (delta if key == "single_blocks.0.ffn.0.weight" else 0)
        assert (weight - wanted).norm() <= 0.04 * wanted.norm() + 1e-6, key
    assert nava("load").load_model(str(target)).model.nava_config.num_heads == 2


def test_gguf_models_merge(nava, tmp_path):
    """ModelMergeSimple over blocks: half of one, half of the other, in real numbers."""
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    convert(TINY, tmp_path / "a.gguf", "q8_0")
    weights = load_file(TINY)
    save_file({k: v * 0.5 for k, v in weights.items()}, tmp_path / "half.safetensors", checkpoint.read_header(TINY)[1])
    convert(tmp_path / "half.safetensors", tmp_path / "b.gguf", "q8_0")
    one, other = (nava("load").load_model(str(tmp_path / f"{n}.gguf")) for n in "ab")
    merged = ModelMergeSimple().merge(one, other, 0.5)[0]
    merged.patch_model(device_to=torch.device("cpu"))
    found = linear_weights(merged.model.diffusion_model)
    for key, weight in found.items():
        wanted = weights[f"backbone.{key}"] * 0.75
        assert (weight - wanted).norm() < 0.03 * wanted.norm(), key
    merged.unpatch_model(device_to=torch.device("cpu"))
