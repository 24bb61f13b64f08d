"""A LoRA with a strength for each stream."""

import json

import pytest
import torch
from support import DATA

from nava_core import checkpoint, lora_file, streams


def test_every_weight_serves_one_stream_or_both():
    """The sound's own parts are those that a picture-only pass never touches, and the reverse."""
    from nava_core import NavaConfig, NavaTransformer

    config = NavaConfig(dim=24, num_heads=2, num_double_layers=1, num_single_layers=1, ffn_dim=32, freq_dim=16, text_dim=8, text_len=4, vid_in_dim=6, vid_out_dim=6, audio_in_dim=8, audio_out_dim=8)  # fmt: skip
    with torch.inference_mode(False), torch.enable_grad():
        model = NavaTransformer(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        voices, positions = [torch.ones(1, 192)], [[1]]
        inputs = {"picture": (torch.randn(1, 6, 2, 2, 2), None), "sound": (None, torch.randn(1, 5, 8))}
        touched = {}
        for stream, (video, audio) in inputs.items():
            model.zero_grad(set_to_none=True)
            out = model(video, audio, torch.tensor([500.0]), torch.randn(1, 3, 8), voices, positions)
            sum(o.square().sum() for o in out if o is not None).backward()
            touched[stream] = {k for k, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    names = [k for k, _ in model.named_parameters() if not k.endswith("null_token")]
    for name in names:
        wanted = [s for s in ("picture", "sound") if name in touched[s]]
        assert streams.stream_of(name) == (wanted[0] if len(wanted) == 1 else "shared"), name


def test_each_strength_moves_its_own_layers(nava, tmp_path):
    model = nava("load").load_model(str(DATA / "nava_tiny.safetensors"))
    shapes = checkpoint.without_prefix(checkpoint.read_header(DATA / "nava_tiny.safetensors")[0])
    layers = ("double_blocks.0.self_attn.q", "double_blocks.0.self_attn.q_audio", "single_blocks.0.ffn.0")
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer in layers:
        rows, columns = shapes[f"{layer}.weight"]
        weights[f"diffusion_model.{layer}.lora_up.weight"] = torch.randn(rows, 2, generator=generator)
        weights[f"diffusion_model.{layer}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
        weights[f"diffusion_model.{layer}.alpha"] = torch.tensor(2.0)
    strengths = {"picture": 0.5, "sound": 2.0, "shared": 0.0}
    patched, left_out = nava("lora_streams").add_lora(model, weights, strengths, "some.safetensors")
    assert left_out is None
    patched.patch_model(device_to=torch.device("cpu"))
    moved = {k: v.clone() for k, v in patched.model.diffusion_model.state_dict().items()}
    patched.unpatch_model(device_to=torch.device("cpu"))
    for layer, strength in zip(layers, strengths.values(), strict=True):
        key = f"diffusion_model.{layer}"
        product = weights[f"{key}.lora_up.weight"] @ weights[f"{key}.lora_down.weight"]
        before = patched.model.diffusion_model.state_dict()[f"{layer}.weight"]
        torch.testing.assert_close(moved[f"{layer}.weight"] - before, strength * product, atol=1e-5, rtol=1e-5)


def test_a_foreign_lora_is_named(nava):
    model = nava("load").load_model(str(DATA / "nava_tiny.safetensors"))
    weights = {"diffusion_model.blocks.0.q.lora_up.weight": torch.ones(2, 1), "diffusion_model.blocks.0.q.lora_down.weight": torch.ones(1, 2)}  # fmt: skip
    with pytest.raises(ValueError, match=r"lora_name: no layer of foreign\.safetensors"):
        nava("lora_streams").add_lora(model, weights, {"picture": 1, "sound": 1, "shared": 1}, "foreign.safetensors")


def pair(layer, shapes, a=".lora_A.weight", b=".lora_B.weight"):
    rows, columns = shapes[f"{layer}.weight"]
    generator = torch.Generator().manual_seed(rows + columns)
    return {a: torch.randn(2, columns, generator=generator), b: torch.randn(rows, 2, generator=generator)}


LAYER = "double_blocks.0.self_attn.q"
HEADER = json.dumps({"transformer.r": 2, "transformer.lora_alpha": 6.0})


@pytest.mark.parametrize(
    "form, a, b, header, scale",
    [
        ("base_model.model.{}", ".lora_A.weight", ".lora_B.weight", {}, 1.0),
        ("base_model.model.{}", ".lora_A.my-voice.weight", ".lora_B.my-voice.weight", {}, 1.0),
        ("base_model.model.{}", ".lora_A.default.weight", ".lora_B.default.weight", {}, 1.0),
        ("module._orig_mod.{}", ".lora_A.weight", ".lora_B.weight", {}, 1.0),
        ("transformer.{}", ".lora_A.weight", ".lora_B.weight", {"lora_adapter_metadata": HEADER}, 3.0),
        ("{}", ".lora_A.weight", ".lora_B.weight", {"lora_adapter_metadata": json.dumps({"r": 2, "lora_alpha": 2, "alpha_pattern": {"self_attn.q": 8}})}, 4.0),
        ("{}", ".lora_A.weight", ".lora_B.weight", {"lora_adapter_metadata": json.dumps({"r": 2, "lora_alpha": 4, "use_rslora": True})}, 4 / 2**0.5),
        ("{}", ".lora_down.weight", ".lora_up.weight", {"ss_network_alpha": "1.0", "ss_network_dim": "2"}, 0.5),
        ("{}", ".lora_down.weight", ".lora_up.weight", {"ss_network_alpha": "None"}, 1.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stock", [True, False])
def test_names_and_numbers_of_trainers(nava, form, a, b, header, scale, stock):
    """Through Load LoRA and through NAVA's own loader: the layer moves by what the LoRA was trained as."""
    import comfy.sd

    model = nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")
    shapes = checkpoint.without_prefix(checkpoint.read_header(DATA / "nava_tiny.safetensors")[0])
    entries = pair(LAYER, shapes, a, b)
    weights = {form.format(LAYER) + ending: w for ending, w in entries.items()}
    if stock:
        patched, _ = comfy.sd.load_lora_for_models(model, None, weights, 1.0, 0, lora_metadata=header)
    else:
        patched, said = nava("lora_streams").add_lora(
            model, weights, {"picture": 1.0, "sound": 1.0, "shared": 1.0}, "some.safetensors", header
        )
        assert said is None
    before = model.model.diffusion_model.state_dict()[f"{LAYER}.weight"].clone()
    patched.patch_model(device_to=torch.device("cpu"))
    moved = patched.model.diffusion_model.state_dict()[f"{LAYER}.weight"] - before
    patched.unpatch_model(device_to=torch.device("cpu"))
    torch.testing.assert_close(moved, scale * entries[b] @ entries[a], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "ending", [".lora_magnitude_vector", ".lora_magnitude_vector.weight", ".lora_magnitude_vector.voice.weight"]
)
def test_dora_of_peft_is_that_of_kohya(nava, ending):
    shapes = checkpoint.without_prefix(checkpoint.read_header(DATA / "nava_tiny.safetensors")[0])
    found = []
    for name, value in ((ending, lambda m: m), (".dora_scale", lambda m: m[:, None])):
        model = nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")
        weight = model.model.diffusion_model.state_dict()[f"{LAYER}.weight"]
        weights = {LAYER + e: w for e, w in pair(LAYER, shapes).items()} | {
            LAYER + name: value(weight.norm(dim=1) * 1.5)
        }
        patched, _ = nava("lora_streams").add_lora(model, weights, {"picture": 1.0, "sound": 1.0, "shared": 1.0}, "x")
        patched.patch_model(device_to=torch.device("cpu"))
        found.append(patched.model.diffusion_model.state_dict()[f"{LAYER}.weight"].clone())
        patched.unpatch_model(device_to=torch.device("cpu"))
    assert torch.equal(*found)


def test_what_is_left_out_is_named(nava, caplog):
    import comfy.sd

    shapes = checkpoint.without_prefix(checkpoint.read_header(DATA / "nava_tiny.safetensors")[0])
    model = nava("load").load_model(str(DATA / "nava_tiny.safetensors"))
    own = {LAYER + e: w for e, w in pair(LAYER, shapes).items()}
    foreign = {f"transformer_blocks.{i}.q{e}": w for i in range(5) for e, w in pair(LAYER, shapes).items()}
    _, said = nava("lora_streams").add_lora(
        model, own | foreign, {"picture": 1.0, "sound": 1.0, "shared": 1.0}, "half.safetensors"
    )
    assert (
        said.startswith("half.safetensors: 1 of 6 layers are used. NAVA has no transformer_blocks.0.q, ")
        and "and 2 more" in said
    )
    comfy.sd.load_lora_for_models(model, None, own | foreign, 1.0, 0)
    assert "1 of 6 layers are used" in caplog.text


def test_two_adapters_in_a_file_are_refused():
    weights = {f"q.lora_{side}.{name}.weight": torch.ones(2, 2) for side in "AB" for name in ("ann", "bob")}
    with pytest.raises(ValueError, match=r"holds 2 LoRAs \(ann, bob\)"):
        lora_file.spelled(weights, {}, "two.safetensors")
    with pytest.raises(ValueError, match="alpha in its header"):
        lora_file.spelled(
            {"q.lora_A.weight": torch.ones(2, 2)}, {"lora_adapter_metadata": '{"lora_alpha": "much"}'}, "odd"
        )


def test_alpha_in_pefts_second_file(tmp_path):
    model, config = (tmp_path / name for name in lora_file.BESIDE)
    config.write_bytes(b"\xef\xbb\xbf" + json.dumps({"r": 2, "lora_alpha": 5}).encode())
    header = lora_file.metadata_beside(model, {})
    assert float(lora_file.spelled({"q.lora_A.weight": torch.ones(2, 2)}, header, "x")["q.alpha"]) == 5
    assert lora_file.metadata_beside(tmp_path / "other.safetensors", {}) == {}
