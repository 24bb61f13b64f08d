"""A LoRA with a strength for each stream."""

import pytest
import torch
from support import DATA

from nava_core import checkpoint, streams


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
