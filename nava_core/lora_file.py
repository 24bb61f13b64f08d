"""LoRA files in the spellings of trainers -> the spelling that ComfyUI reads, every number that they carry included."""

import contextlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import WRAPPERS

ADAPTER = re.compile(r"\.(lora_[AB]|lora_magnitude_vector)\.(?!weight$|bias$)(\w[\w-]*)(?=$|\.)")
MAGNITUDE = re.compile(r"\.lora_magnitude_vector(\.weight)?$")
PART = re.compile(
    r"(?:[._]lora[._](?:up|down|mid)\.weight|\.lora_linear_layer\.(?:up|down)\.weight|\.lora_[AB](?:\.weight)?|\.alpha|\.dora_scale"
    r"|\.hada_(?:w[12]_[ab]|t[12])|\.lokr_(?:w[12](?:_[ab])?|t2)|\.oft_blocks|\.rescale|\.[ab][12]\.weight|\.diff(?:_b)?|\.set_weight"
    r"|\.[wb]_norm|\.reshape_weight)$"
)  # what ComfyUI reads of a layer
DOWN = re.compile(r"(?:[._]lora[._]down\.weight|\.lora_linear_layer\.down\.weight|\.lora_A(?:\.weight)?)$")
HEADER = "lora_adapter_metadata"  # diffusers' and PEFT's configuration, as JSON
BESIDE = ("adapter_model.safetensors", "adapter_config.json")  # PEFT's two files


class LoraError(ValueError):
    """A LoRA file that cannot be used as it was trained; the message says why."""


def spelled(weights: Mapping[str, Tensor], metadata: Mapping[str, str], name: str) -> dict[str, Tensor]:
    """The entries under the names that ComfyUI knows, with each layer's alpha.

    Takes PEFT's adapter names, its DoRA and biases, wrappers of torch anywhere in a name, and alpha from a file's header (of
    diffusers, PEFT and kohya) where the layers have none. Raises LoraError for two adapters in one file and for a bad header.
    """
    adapters = sorted({m[2] for k in weights if (m := ADAPTER.search(k))})
    if len(adapters) > 1:
        raise LoraError(f"{name} holds {len(adapters)} LoRAs ({', '.join(adapters[:3])}): save them as one file each")
    out = {}
    for key, weight in weights.items():
        key = ADAPTER.sub(r".\1", WRAPPERS.sub(r"\1", key))
        if MAGNITUDE.search(key):
            key, weight = MAGNITUDE.sub(".dora_scale", key), weight.reshape(-1, 1)
        out[key] = weight
    alphas = alphas_of(out, metadata, name)
    out |= {f"{layer}.alpha": torch.tensor(alpha) for layer, alpha in alphas.items()}
    for key in [k for k in out if k.endswith(".lora_B.bias")]:
        layer = key.removesuffix(".lora_B.bias")
        alpha, rank = out.get(f"{layer}.alpha"), ranks(out).get(layer, 1)
        out[f"{layer}.diff_b"] = out.pop(key) * (1.0 if alpha is None else float(alpha) / rank)
    return out


def ranks(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """The rank of each layer."""
    return {DOWN.sub("", k): w.shape[0] for k, w in weights.items() if DOWN.search(k) and w.ndim}


def alphas_of(weights: Mapping[str, Tensor], metadata: Mapping[str, str], name: str) -> dict[str, float]:
    """alpha of the layers that have none among the weights, from the header."""
    layers = {k: rank for k, rank in ranks(weights).items() if f"{k}.alpha" not in weights}
    config = config_of(metadata, name)
    found = {}
    for layer, rank in layers.items():
        alpha = next((v for k, v in config["alpha_pattern"].items() if same_layer(layer, k)), config["lora_alpha"])
        if alpha is not None:
            found[layer] = number(alpha, name) * (math.sqrt(rank) if config["use_rslora"] else 1.0)
    return found


def same_layer(layer: str, pattern: str) -> bool:
    flat, wanted = layer.replace(".", "_"), pattern.replace(".", "_")
    return flat == wanted or flat.endswith("_" + wanted)


def number(value, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise LoraError(f"{name}: alpha in its header is {value!r}, which is no number")
    return float(value)


def config_of(metadata: Mapping[str, str], name: str) -> dict:
    """lora_alpha, alpha_pattern and use_rslora of a header; None, {} and False where it has none."""
    plain = {"lora_alpha": None, "alpha_pattern": {}, "use_rslora": False}
    if HEADER not in metadata:
        if "ss_network_alpha" in metadata:
            with contextlib.suppress(ValueError):  # kohya writes "None" for none
                plain["lora_alpha"] = float(metadata["ss_network_alpha"])
        return plain
    try:
        given = dict(json.loads(metadata[HEADER]))
    except (ValueError, TypeError, RecursionError) as error:
        raise LoraError(f"{name}: {HEADER} in its header cannot be read ({error})") from error
    for key, value in given.items():  # with or without the model's part before it: transformer.lora_alpha
        last = key.rpartition(".")[2]
        if last in plain and value is not None:
            plain[last] = value
    if not isinstance(plain["alpha_pattern"], dict):
        raise LoraError(f"{name}: alpha_pattern in its header is no table")
    return plain


def metadata_beside(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """A file's header, with what PEFT keeps in a file of its own beside `adapter_model.safetensors`."""
    model, config = BESIDE
    beside = path.with_name(config)
    if path.name != model or HEADER in metadata or not beside.is_file():
        return dict(metadata)
    return {**metadata, HEADER: beside.read_text(encoding="utf-8-sig")}


def layer_of(key: str) -> str | None:
    """The layer that an entry belongs to; None where ComfyUI does not read such an entry."""
    return PART.sub("", key) if PART.search(key) else None


def left_out(keys: Iterable[str], known: Iterable[str], name: str) -> str | None:
    """One sentence about the layers of a file that a model does not have, or None. known: names that the model answers to."""
    known = set(known)
    layers = dict.fromkeys(layer_of(k) or k for k in keys)
    foreign = [layer for layer in layers if layer not in known]
    if not foreign:
        return None
    more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
    return (
        f"{name}: {len(layers) - len(foreign)} of {len(layers)} layers are used. NAVA has no {', '.join(foreign[:3])}{more}: "
        "was it made for another model?"
    )
