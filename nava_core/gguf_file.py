"""GGUF files, read and written with the `gguf` package where it is installed."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import CheckpointError, unreadable
from .ggml_blocks import BLOCKS, quantized

SHAPE = "comfy.gguf.orig_shape."  # GGUF holds at most 4 dimensions; converters keep the fifth here
CONFIG = "nava_config"
ARCHITECTURE = "nava"


def package(name: str):
    """The gguf package, or a CheckpointError that says how to get it."""
    try:
        import gguf
    except ImportError:
        raise CheckpointError(
            f"{name} is a GGUF file, and the Python package for those is not installed. Install it with "
            "`pip install gguf` into ComfyUI's Python, or take a .safetensors file"
        ) from None
    return gguf


def read_gguf(
    path: str | Path, dtype: torch.dtype = torch.bfloat16, packed: bool = False
) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]], dict[str, str]]:
    """(weights as `dtype`, their shapes, metadata) of a GGUF file, quantised or not. Raises CheckpointError.

    packed: leave matrices in the formats of `ggml_blocks.BLOCKS` as they are, uint8 `[out, bytes]`.
    """
    path = Path(path)
    gguf = package(path.name)
    try:
        reader = gguf.GGUFReader(path)
        weights, shapes = {}, {}
        for tensor in reader.tensors:
            name = tensor.name
            field = reader.get_field(SHAPE + name)
            shape = tensor.shape.tolist()[::-1] if field is None else [int(field.parts[i][0]) for i in field.data]
            shapes[name] = tuple(shape)
            if packed and tensor.tensor_type.name in BLOCKS and name.endswith(".weight") and len(shape) == 2:
                weights[name] = torch.from_numpy(tensor.data.copy()).view(torch.uint8).view(shape[0], -1)
            else:
                values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
                weights[name] = values.to(dtype).reshape(shape)
        config = reader.get_field(CONFIG)
    except (ValueError, KeyError, IndexError, OSError, NotImplementedError, RuntimeError) as error:
        raise unreadable(path, error) from error
    return weights, shapes, {} if config is None else {CONFIG: bytes(config.parts[config.data[0]]).decode()}


def stored_shape(shape: tuple[int, ...], packed: bool) -> tuple[int, ...]:
    """The shape in the file, its last side in bytes: Q8_0 when packed, else bf16."""
    if len(shape) > 4:
        shape = (shape[0], math.prod(shape[1:]))
    values, taken = BLOCKS["Q8_0"] if packed else (1, 2)
    return *shape[:-1], shape[-1] // values * taken


def write_gguf(
    target: Path,
    shapes: dict[str, tuple[int, ...]],
    packed: set[str],
    metadata: dict[str, str],
    weights: Iterable[Tensor],
) -> None:
    """Stream weights, in the order of `shapes`, into a GGUF file that appears whole.

    The names in `packed` become Q8_0, the rest bf16.
    """
    gguf = package(target.name)
    kinds, bytes_only = gguf.GGMLQuantizationType, np.dtype(np.uint8)
    part = target.with_name(target.name + ".part")
    writer = gguf.GGUFWriter(part, ARCHITECTURE)
    try:
        if CONFIG in metadata:
            writer.add_string(CONFIG, metadata[CONFIG])
        for name, shape in shapes.items():
            if len(shape) > 4:
                writer.add_array(SHAPE + name, list(shape))
            stored = stored_shape(shape, name in packed)
            kind = kinds.Q8_0 if name in packed else kinds.BF16
            writer.add_tensor_info(name, stored, bytes_only, math.prod(stored), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, weight in zip(shapes, weights, strict=True):
            entry = quantized(weight) if name in packed else weight.bfloat16().view(-1).view(torch.uint8)
            writer.write_tensor_data(entry.numpy())
        writer.close()
        part.replace(target)
    finally:
        writer.close()
        part.unlink(missing_ok=True)
