"""From a file to a transformer: what is in it, whether it is NAVA, and its weights."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from .config import ConfigError, NavaConfig
from .files import CheckpointError, refuse_foreign_content, unreadable
from .scales import WEIGHT_SCALES, is_quantization_key, layer_of, real_numbers, refuse_packed
from .transformer import NavaTransformer

WRAPPERS = re.compile(
    r"(^|\.)(?:(?:_orig_mod|module)\.)+"
)  # names that torch.compile and DistributedDataParallel put in
PREFIXES = ("backbone.", "model.diffusion_model.", "diffusion_model.", "model.")
CONFIG = "nava_config"  # in a file's header, or among its entries
PART = re.compile(r"-(\d{5})-of-(\d{5})\.")
LORA = "a LoRA: load the NAVA model first, then this file with Load LoRA"

# What people load by mistake: a key that only such a file has -> what it is and where it belongs.
MISTAKES = (
    ("lora_A.", LORA),
    ("lora_down.", LORA),
    ("lora_unet_", LORA),
    ("encoder.block.0.layer.0.SelfAttention", "a T5 text encoder: it belongs in models/text_encoders"),
    ("shared.weight", "a T5 text encoder: it belongs in models/text_encoders"),
    (
        "pos_embedding.embedding.weight",
        "the umT5 file of Wan's own release or of the WanVideoWrapper. ComfyUI's loaders need umt5_xxl_fp8_e4m3fn_scaled.safetensors "
        "or umt5_xxl_fp16.safetensors from Comfy-Org/Wan_2.1_ComfyUI_repackaged",
    ),
    ("text_model.encoder.layers.", "a CLIP text encoder"),
    ("model.layers.0.self_attn.", "a language model used as text encoder (Gemma, Qwen, Llama)"),
    ("decoder.mid_block.resnets.", "a video VAE in diffusers' format: take wan2.2_vae.safetensors of Comfy-Org"),
    ("vocoder.", "an audio VAE: load it with Load LTXV Audio VAE"),
    ("decoder.middle.0.residual.0.gamma", "a Wan video VAE: it belongs in models/vae"),
    ("first_stage_model.", "a VAE or a whole image checkpoint, not NAVA"),
    ("stage0.0.w", "a ReDimNet voice encoder: it belongs in models/audio_encoders"),
    ("patchify_proj.", "an LTX video model, not NAVA"),
    ("blocks.0.cross_attn.q.weight", "a Wan video model, not NAVA (NAVA has double_blocks and single_blocks)"),
    ("double_blocks.0.img_attn.", "a Flux or HunyuanVideo model, not NAVA"),
)


def read_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Tensor shapes and metadata of a safetensors file, without reading weights."""
    path = Path(path)
    refuse_foreign_content(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            shapes, metadata = (
                {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()},
                dict(file.metadata() or {}),
            )
            told = next((k for k in shapes if is_config(k)), None)
            if told:  # ComfyUI's Save Model keeps no header of the pack's own
                metadata.setdefault(CONFIG, config_text(file.get_tensor(told)))
            return {k: v for k, v in shapes.items() if k != told}, metadata
    except (safetensors.SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def is_config(key: str) -> bool:
    """Whether an entry is the configuration, in a file that has no header for it."""
    return key.rpartition(".")[2] == CONFIG


def config_text(entry: Tensor) -> str:
    return bytes(entry.to(torch.uint8).flatten().tolist()).decode(errors="replace")


def config_among(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The configuration as a header has it, where it is one of the entries."""
    found = next((w for k, w in weights.items() if is_config(k)), None)
    return {} if found is None else {CONFIG: config_text(found)}


def config_entry(config: NavaConfig) -> Tensor:
    """The configuration as an entry of a file, uint8: what tensor shapes do not tell."""
    return torch.tensor(list(config.to_metadata().encode()), dtype=torch.uint8)


def key_prefix(keys: Iterable[str]) -> str:
    """The prefix under which a file keeps the transformer: `backbone.` in the released files, or none."""
    keys = {WRAPPERS.sub(r"\1", key) for key in keys}
    for prefix in PREFIXES:
        if any(k.startswith(prefix + "patch_embedding") for k in keys):
            return prefix
    return ""


def own_names(keys: Iterable[str]) -> dict[str, str]:
    """The transformer's own entries: unprefixed name -> name in the file. Entries of other models are dropped."""
    plain = {WRAPPERS.sub(r"\1", key): key for key in keys}
    prefix = key_prefix(plain)
    return {name.removeprefix(prefix): key for name, key in plain.items() if name.startswith(prefix)}


def without_prefix(entries: Mapping[str, object]) -> dict[str, object]:
    """The transformer's own entries, unprefixed; entries of other models in the same file are dropped."""
    return {name: entries[key] for name, key in own_names(entries).items()}


def likely_cause(keys: Iterable[str]) -> str | None:
    """What a file with these keys probably is, if it is a known mistake."""
    dotted = ["." + k for k in keys]
    return next((cause for mark, cause in MISTAKES if any("." + mark in k for k in dotted)), None)


def part_of_a_model(name: str) -> str | None:
    """What to say of a file whose name says that it is one of several."""
    part = PART.search(name)
    return part and (
        f"part {int(part[1])} of a model in {int(part[2])} files: take the model in one file, or put the parts together first"
    )


def expected_shapes(config: NavaConfig) -> dict[str, tuple[int, ...]]:
    """Every key and shape of a transformer of this configuration; takes no memory for weights."""
    return {k: tuple(v.shape) for k, v in NavaTransformer(config, device="meta").state_dict().items()}


def identify(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str], name: str) -> NavaConfig:
    """The configuration of a file with these (unprefixed) shapes, after checking every key and shape.

    name: how messages call the file. Raises CheckpointError naming what is missing, extra or misshapen.
    """
    weights = {k: v for k, v in shapes.items() if not is_quantization_key(k)}
    cause = part_of_a_model(name) or likely_cause(weights)
    try:
        config = NavaConfig.from_shapes(weights, metadata)
    except ConfigError as error:
        hint = f"It looks like {cause}." if cause else "Is this really a NAVA transformer (NAVA.safetensors)?"
        raise CheckpointError(f"{name} is not a NAVA model: {error}. {hint}") from error
    if CONFIG not in metadata and config.dim != NavaConfig.dim:
        raise CheckpointError(
            f"{name} is not of the released size and does not say how many attention heads it has: its header has lost nava_config. "
            "Take the file that it was made from."
        )
    expected = expected_shapes(config)
    faults = [
        _listed("missing", [k for k in expected if k not in weights]),
        _listed("not part of NAVA", [k for k in weights if k not in expected]),
        _listed(
            "the scale of nothing",
            [k for k in shapes if k.endswith(WEIGHT_SCALES) and f"{layer_of(k)}.weight" not in weights],
        ),
        _listed(
            "of the wrong shape",
            [
                f"{k} {list(weights[k])} instead of {list(expected[k])}"
                for k in expected
                if k in weights and not _same_shape(weights[k], expected[k])
            ],
        ),
    ]
    faults = [f for f in faults if f]
    if faults:
        hint = f"It looks like {cause}." if cause else "The file is incomplete, or made for another version of NAVA."
        raise CheckpointError(f"{name} does not fit NAVA: {'; '.join(faults)}. {hint}")
    return config


def _same_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    # 4-bit formats pack two values into one along the input dimension
    return found == wanted or (len(wanted) == 2 and found == (wanted[0], wanted[1] // 2))


def _listed(fault: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{', '.join(keys[:3])}{more} {'is' if len(keys) == 1 else 'are'} {fault}"


def dequantized_rows(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """An fp8 weight `[out, in]` with one scale per output row, as `dtype`."""
    return (weight.to(torch.float32) * scale.to(torch.float32)[:, None]).to(dtype)


def first_bad_weight(weights: Mapping[str, Tensor], ends: int = 8192) -> str | None:
    """The name of a weight that begins or ends with NaN or infinity (of `ends` values), or None. Reads little of a file."""
    for key, weight in weights.items():
        if weight.is_floating_point():
            values = weight.reshape(-1)
            if not all(torch.isfinite(part.float()).all() for part in (values[:ends], values[-ends:])):
                return key
    return None


def refuse_bad_weights(weights: Mapping[str, Tensor], name: str) -> None:
    """Raise CheckpointError when a weight is not a number: everything made with it would be noise or black."""
    bad = first_bad_weight(weights)
    if bad is not None:
        raise CheckpointError(
            f"{name} holds NaN or infinite weights ({bad}): it was damaged when it was made or converted. Fetch it again."
        )


def load_transformer(path: str | Path, dtype: torch.dtype | None = None, device="cpu") -> NavaTransformer:
    """Load a transformer for use without a host, in eval mode.

    dtype None means float32. Reads float32, bf16 and scaled fp8, the released layout and others, with or without `backbone.`.
    Raises CheckpointError when the file is not a complete NAVA transformer.
    """
    path, dtype = Path(path), dtype or torch.float32
    shapes, metadata = read_header(path)
    config = identify(without_prefix(shapes), metadata, path.name)
    model = NavaTransformer(config, device="meta", dtype=dtype)
    with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
        own = own_names(shapes)

        def read(key: str) -> Tensor:
            return file.get_tensor(own[key])

        refuse_packed(own, read, metadata, path.name)
        weights = {key: real_numbers(key, read, own).to(dtype) for key in model.state_dict()}
    refuse_bad_weights(weights, path.name)
    model.load_state_dict(weights, assign=True)
    logging.getLogger(__name__).info("loaded %s: %d blocks, %s", path.name, len(model.double_blocks), dtype)
    return model.eval().requires_grad_(False)
