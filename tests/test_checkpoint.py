"""Files: what loads, and what the message says when it does not."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import DATA

import nava_core
from nava_core import CheckpointError, NavaConfig, checkpoint

TINY = DATA / "nava_tiny.safetensors"


@pytest.fixture
def weights():
    return load_file(TINY)


@pytest.fixture
def metadata():
    return checkpoint.read_header(TINY)[1]


def test_prefixed_and_unprefixed_files_are_the_same(tmp_path, weights, metadata):
    plain = tmp_path / "plain.safetensors"
    save_file({k.removeprefix("backbone."): v for k, v in weights.items()}, plain, metadata)
    ours, theirs = (nava_core.load_transformer(p).state_dict() for p in (TINY, plain))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_dtype(tmp_path, weights, metadata):
    half = tmp_path / "half.safetensors"
    save_file({k: v.bfloat16() for k, v in weights.items()}, half, metadata)
    assert nava_core.load_transformer(half).head.head.weight.dtype == torch.float32
    assert nava_core.load_transformer(half, dtype=torch.bfloat16).head.head.weight.dtype == torch.bfloat16


def test_config_from_shapes_alone():
    """Released files carry no metadata: everything but head count and lengths is read off the shapes."""
    shapes = checkpoint.expected_shapes(NavaConfig())
    assert checkpoint.identify(shapes, {}, "NAVA.safetensors") == NavaConfig()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.pop("backbone.single_blocks.1.norm3.bias"), r"single_blocks\.1\.norm3\.bias is missing"),
        (lambda w: w.update({"backbone.extra": torch.zeros(1)}), "extra is not part of NAVA"),
        (
            lambda w: w.update({"backbone.head.head.bias": torch.zeros(3)}),
            r"head\.head\.bias \[3\] instead of \[24\] is of the wrong shape",
        ),
        (lambda w: w.pop("backbone.patch_embedding.weight"), r"patch_embedding\.weight is missing"),
    ],
)
def test_faulty_keys_are_named(tmp_path, weights, metadata, change, expected):
    change(weights)
    path = tmp_path / "faulty.safetensors"
    save_file(weights, path, metadata)
    with pytest.raises(CheckpointError, match=expected) as error:
        nava_core.load_transformer(path)
    print(error.value)
    assert "faulty.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("keys", "cause"),
    [
        (["blocks.0.cross_attn.q.weight", "head.modulation"], "a Wan video model"),
        (["diffusion_model.double_blocks.0.ffn.0.lora_A.weight"], "a LoRA"),
        (["shared.weight", "encoder.final_layer_norm.weight"], "a T5 text encoder"),
        (["audio_vae.decoder.conv_in.conv.bias", "vocoder.conv_pre.bias"], "an audio VAE"),
        (["decoder.middle.0.residual.0.gamma"], "a Wan video VAE"),
        (["something.else"], "Is this really a NAVA transformer"),
    ],
)
def test_other_files_are_recognised(tmp_path, keys, cause):
    path = tmp_path / "other.safetensors"
    save_file({k: torch.zeros(2, 2) for k in keys}, path)
    with pytest.raises(CheckpointError, match=cause) as error:
        nava_core.load_transformer(path)
    print(error.value)


@pytest.mark.parametrize("size", [0, 5, 1000, 100_000])
def test_truncated_file(tmp_path, size):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(TINY.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="not a complete safetensors file" if size else "is empty"):
        nava_core.load_transformer(path)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        nava_core.load_transformer(tmp_path / "none.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", '{"dim": 64, "num_heads": 7}'])
def test_bad_metadata(tmp_path, weights, text):
    path = tmp_path / "meta.safetensors"
    save_file(weights, path, {"nava_config": text})
    with pytest.raises((CheckpointError, nava_core.ConfigError)):
        nava_core.load_transformer(path)
