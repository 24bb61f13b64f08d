"""Weights in ComfyUI's quantised formats, made by its own quantiser (the package comfy-kitchen)."""

import json
from functools import cache

import torch
from torch import Tensor

from .files import CheckpointError

# name -> (layout class of comfy-kitchen, the format's name in ComfyUI's files, both sides of a matrix must divide by)
FORMATS = {
    "int8": ("TensorWiseINT8Layout", "int8_tensorwise", 4),
    "mxfp8": ("TensorCoreMXFP8Layout", "mxfp8", 32),
    "nvfp4": ("TensorCoreNVFP4Layout", "nvfp4", 16),
}
ROTATED_GROUPS = (256, 64, 16, 4)  # sizes of the rotation that spreads outliers before rounding to int8
NVFP4_MOST = 448 * 6


def fits(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight `[out, in]` can be kept so; others stay as they are."""
    return len(shape) == 2 and not any(side % FORMATS[name][2] for side in shape)


def packed(name: str, weight: Tensor) -> dict[str, Tensor]:
    """The entries of a file for a Linear's weight `[out, in]`, by what follows the layer's name.

    Raises CheckpointError where comfy-kitchen is missing.
    """
    layout_name, format_name, _ = FORMATS[name]
    try:
        from comfy_kitchen import tensor as layouts
    except ImportError:
        raise CheckpointError(
            f"{name} is written with the Python package comfy-kitchen, which is not installed. It is one of ComfyUI's "
            "requirements; or choose bf16 or fp8"
        ) from None
    weight, description = weight.float(), {"format": format_name}
    options = {}
    if name == "int8":
        group = next(size for size in ROTATED_GROUPS if weight.shape[1] % size == 0)
        rotation = {"convrot": True, "convrot_groupsize": group}
        description |= rotation
        options = {"per_channel": True, **rotation}
    elif name == "nvfp4":
        options = {"scale": (weight.abs().max() / NVFP4_MOST).clamp(min=torch.finfo(torch.float32).tiny)}
        weight = weight.bfloat16()
    layout = getattr(layouts, layout_name)
    data, params = layout.quantize(weight, **options)
    entries = {f".weight{suffix}": part for suffix, part in layout.state_dict_tensors(data, params).items()}
    entries = {k: v.view(torch.uint8) if v.dtype == torch.float8_e8m0fnu else v for k, v in entries.items()}
    return entries | {".comfy_quant": torch.tensor(list(json.dumps(description).encode()), dtype=torch.uint8)}


@cache
def layout_of(name: str, shape: tuple[int, int]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """(dtype, shape) of each entry that `packed` makes of a weight of this shape."""
    return {k: (v.dtype, tuple(v.shape)) for k, v in packed(name, torch.ones(shape)).items()}
