"""GGUF: blocks are read as the reference reads them, stay packed in memory, take LoRAs, and can be written."""

import gguf
import numpy as np
import pytest
import torch
from support import DATA
from test_formats import LARGE_LORA, reference, sampled, velocity

from nava_core import CheckpointError
from nava_core.convert import convert, is_fp8_layer
from nava_core.ggml_blocks import BLOCKS, dequantized, quantized
from nava_core.gguf_file import read_gguf

TINY = DATA / "nava_tiny.safetensors"
HALVES = {"Q8_0": (0,), "Q6_K": (208,), "Q5_K": (0, 2), "Q4_K": (0, 2)}  # where a block's scales in half precision lie


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "nava_q8_0.gguf"
    assert convert(TINY, path, "q8_0") is False
    return path


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_read_as_the_reference_reads_them(kind):
    random, (values, taken) = np.random.default_rng(0), BLOCKS[kind]
    rows = random.integers(0, 256, (6, 512 // values * taken), dtype=np.uint8)
    for at in HALVES[kind]:
        blocks = rows.reshape(-1, taken)
        blocks[:, at : at + 2] = random.normal(size=(len(blocks), 1)).astype(np.float16).view(np.uint8)
    wanted = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[kind])
    found = dequantized(torch.from_numpy(rows), 512, torch.float32)
    assert torch.equal(found, torch.from_numpy(wanted.copy()))


def test_written_blocks_are_near():
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    error = (dequantized(quantized(weight), 256, torch.float32) - weight).norm() / weight.norm()
    assert error < 0.008


def test_a_written_file_is_packed_and_near(nava, file, golden):
    weights, shapes, _ = read_gguf(file, packed=True)
    for name, shape in shapes.items():
        assert (weights[name].dtype == torch.uint8) == (is_fp8_layer(name) and shape[1] % 32 == 0), name
    patcher = nava("load").load_model(str(file), "default")
    layer = patcher.model.diffusion_model.single_blocks[0].self_attn.q
    assert layer.weight.numel() * layer.weight.element_size() == 64 * 64 / 32 * 34
    assert layer.weight_comfy_model_dtype == torch.uint8
    found, wanted = velocity(patcher, golden), reference(golden)
    error = ((found - wanted).norm() / wanted.norm()).item()
    print(f"Q8_0, packed: relative error {error:.4f}")
    assert error < 0.03


def test_lora_on_blocks(nava, file, golden):
    """Merged, and as the host applies it where VRAM is managed dynamically, a LoRA does what it does on float32."""
    import comfy.sd

    effects = []
    for path in (TINY, file):
        base = nava("load").load_model(str(path), "default")
        plain = velocity(base, golden)
        patched, _ = comfy.sd.load_lora_for_models(base, None, LARGE_LORA, 0.3, 0)
        effects.append(velocity(patched, golden) - plain)
        patched.detach()
        assert torch.equal(velocity(base, golden), plain)
    layer = base.model.diffusion_model.single_blocks[0].ffn[0]
    up, down = LARGE_LORA.values()
    layer.weight_lowvram_function = lambda weight: weight + 0.3 * (up @ down).to(weight)
    effects.append(velocity(base, golden) - plain)
    for effect in effects[1:]:
        cosine = torch.cosine_similarity(effects[0], effect, dim=0).item()
        print(f"LoRA on Q8_0: its effect agrees with float32 to a cosine of {cosine:.4f}")
        assert cosine > 0.97


def test_lora_hooks_leave_blocks_as_they_were(nava, file):
    import comfy.hooks

    text = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3)), {}]]
    patcher = nava("load").load_model(str(file), "default")
    plain = sampled(patcher, text)
    hooked = comfy.hooks.set_hooks_for_conditioning(text, comfy.hooks.create_hook_lora(LARGE_LORA, 0.3, 0.0))
    assert not torch.equal(sampled(patcher, hooked), plain)
    assert torch.equal(sampled(patcher, text), plain)


def test_hooks_on_smaller_blocks_say_why_not(nava):
    layer = nava("ggml_blocks").BlockOps.Linear(256, 2)
    layer.load_state_dict({"weight": torch.zeros(2, 144, dtype=torch.uint8), "bias": torch.zeros(2)})
    with pytest.raises(ValueError, match="needs a GGUF file of Q8_0, this one has Q4_K"):
        layer.set_weight(torch.zeros(2, 256), inplace_update=True)
    layer.set_weight(torch.ones(2, 256))
    assert layer(torch.ones(1, 256)).sub(256).abs().max() < 1


def test_writing_is_atomic(tmp_path):
    with pytest.raises(CheckpointError, match=r"the name must end in \.gguf"):
        convert(TINY, tmp_path / "out.safetensors", "q8_0")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(TINY, tmp_path / "out.gguf", "q8_0", stop)
    assert not list(tmp_path.iterdir())
