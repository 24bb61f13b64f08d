"""GGUF files, read and written with the `gguf` package where it is installed."""

import math
import mmap
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import CheckpointError, unreadable, whole
from .ggml_blocks import BLOCKS, quantized

SHAPE = "comfy.gguf.orig_shape."  # GGUF holds at most 4 dimensions; converters keep the fifth here
CONFIG = "nava_config"
ARCHITECTURE = "nava"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes, by kind of value
STRING, ARRAY = 8, 9
MOST_TENSORS, MOST_VALUES = 100_000, 1_000_000


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
        refuse_endless(path)
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
        metadata = {} if config is None else {CONFIG: bytes(config.parts[config.data[0]]).decode()}
    except (
        ValueError, KeyError, IndexError, TypeError, OSError, ArithmeticError, NotImplementedError, RuntimeError, struct.error
    ) as error:  # fmt: skip
        raise unreadable(path, error) from error
    return weights, shapes, metadata


def refuse_endless(path: Path) -> None:
    """Raise ValueError for a header that names more than its file can hold: the reader would count to it, one by one."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        magic, version, tensors, entries = struct.unpack_from("<4sIQQ", data)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("no GGUF file of version 2 or 3")
        at = struct.calcsize("<4sIQQ")
        if tensors > MOST_TENSORS or entries > MOST_TENSORS:
            raise ValueError(f"it claims {tensors} tensors and {entries} entries")
        for _ in range(entries):
            at = after_string(data, at)
            at = after_value(data, at + 4, *struct.unpack_from("<I", data, at))
        for _ in range(tensors):
            at = after_string(data, at)
            (dims,) = struct.unpack_from("<I", data, at)
            if dims > 8:
                raise ValueError(f"a tensor of {dims} dimensions")
            at += 4 + 8 * dims + 4 + 8
            within(data, at)


def within(data, at: int) -> int:
    if at > len(data):
        raise ValueError("its header goes on behind its end")
    return at


def after_string(data, at: int) -> int:
    (length,) = struct.unpack_from("<Q", data, at)
    return within(data, at + 8 + length)


def after_value(data, at: int, kind: int) -> int:
    """Where a value of this kind ends that begins at `at`."""
    if kind in SIZES:
        return within(data, at + SIZES[kind])
    if kind == STRING:
        return after_string(data, at)
    if kind != ARRAY:
        raise ValueError(f"a value of unknown kind {kind}")
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if count > MOST_VALUES or inner == ARRAY:
        raise ValueError(f"an array of {count} values of kind {inner}")
    if inner in SIZES:
        return within(data, at + count * SIZES[inner])
    for _ in range(count):
        at = after_value(data, at, inner)
    return at


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
    with whole(target) as part:
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
        finally:
            writer.close()
