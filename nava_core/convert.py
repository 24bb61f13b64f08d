"""Checkpoints in other formats, written a tensor at a time."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from .checkpoint import (
    CheckpointError,
    dequantized_rows,
    identify,
    key_prefix,
    own_names,
    read_header,
    without_prefix,
)
from .files import WriteError, unreadable, whole
from .gguf_file import stored_shape, write_gguf
from .host_formats import FORMATS, fits, layout_of, packed
from .scales import DESCRIBED, SCALE, is_quantization_key, real_numbers, refuse_packed

# The Linear layers that the released fp8 file keeps in fp8.
FP8_LAYER = re.compile(r"(double|single)_blocks\.\d+\.(self_attn|cross_attn|ffn)\.\w+\.weight$")
NORM = re.compile(r"norm_\w+\.weight$")
FP8_MAX = torch.finfo(torch.float8_e4m3fn).max
DTYPE_NAMES = {
    torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float8_e4m3fn: "F8_E4M3",
    torch.int8: "I8", torch.uint8: "U8",
}  # fmt: skip
GGUF = "q8_0"
DTYPES = ("bf16", "fp8", *FORMATS, GGUF)


def quantized_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight [out, in]` as float8_e4m3fn rows and their bf16 scales `[out]`; weight is about rows * scale."""
    weight = weight.float()
    scale = (weight.abs().amax(dim=1) / FP8_MAX).clamp(min=torch.finfo(torch.bfloat16).tiny)
    scale = scale.to(torch.bfloat16)
    rows = (weight / scale.float()[:, None]).clamp(-FP8_MAX, FP8_MAX)
    return rows.to(torch.float8_e4m3fn), scale


def is_fp8_layer(key: str) -> bool:
    return bool(FP8_LAYER.search(key)) and not NORM.search(key)


def convert(
    source: str | Path, target: str | Path, dtype: str, progress: Callable[[int, int], None] | None = None
) -> bool:
    """Write a checkpoint as `dtype`: "bf16", "fp8" in the released layout, one of ComfyUI's (`host_formats.FORMATS`), or
    "q8_0", a GGUF file.

    Keys keep their prefix, but in GGUF files. What the released fp8 file keeps in bf16 stays bf16 in every format.
    One tensor is in memory at a time. The file appears under its name only when it is complete, and nothing is ever
    overwritten. Returns whether every value was kept exactly. Raises CheckpointError.
    """
    source, target = Path(source), Path(target)
    shapes, metadata = read_header(source)
    identify(without_prefix(shapes), metadata, source.name)
    refuse_packed_file(source, shapes, metadata)
    metadata = {k: v for k, v in metadata.items() if k != DESCRIBED}  # what it says holds for the source only
    if target.exists():
        raise CheckpointError(f"{target} exists already: choose another name, or remove it first")
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is not known, choose one of {', '.join(DTYPES)}")
    ending = ".gguf" if dtype == GGUF else ".safetensors"
    if target.suffix != ending:
        raise CheckpointError(f"{target.name}: the name must end in {ending}")
    prefix, own = key_prefix(shapes), own_names(shapes)
    keys = [prefix + k for k in own if not is_quantization_key(k)]
    shapes = {prefix + k: shapes[name] for k, name in own.items()}
    layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for key in keys:
        layer, quantised = key.removesuffix(".weight"), is_fp8_layer(key)
        if dtype in FORMATS and quantised and fits(dtype, shapes[key]):
            layout |= {layer + suffix: entry for suffix, entry in layout_of(dtype, shapes[key]).items()}
        elif dtype == "fp8" and quantised:
            layout |= {key: (torch.float8_e4m3fn, shapes[key]), layer + SCALE: (torch.bfloat16, shapes[key][:1])}
        else:
            layout[key] = (torch.bfloat16, shapes[key])
    packable = {k for k in keys if dtype == GGUF and is_fp8_layer(k) and shapes[k][1] % 32 == 0}
    needed = sum(math.prod(shape) * kind.itemsize for kind, shape in layout.values())
    if dtype == GGUF:
        needed = sum(math.prod(stored_shape(shapes[k], k in packable)) for k in keys)
    free = shutil.disk_usage(target.parent).free if target.parent.is_dir() else needed
    if free < needed:
        raise CheckpointError(no_room(target, f"{free / 1e9:.1f} GB are free", needed))
    lossless = True

    def weights() -> Iterator[tuple[str, Tensor]]:
        try:
            with safetensors.safe_open(source, framework="pt") as file:
                for i, key in enumerate(keys):
                    weight = real_numbers(key, lambda k: file.get_tensor(own[k.removeprefix(prefix)]), shapes)
                    yield key, weight
                    if progress is not None:
                        progress(i + 1, len(keys))
        except (safetensors.SafetensorError, OSError) as error:
            raise unreadable(source, error) from error

    def tensors() -> Iterator[Tensor]:
        nonlocal lossless
        for key, weight in weights():
            if key.removesuffix(".weight") + ".comfy_quant" in layout:
                lossless = False
                yield from packed(dtype, weight).values()
            elif layout[key][0] == torch.float8_e4m3fn:
                rows, scales = quantized_rows(weight)
                lossless &= torch.equal(dequantized_rows(rows, scales, torch.float32), weight.float())
                yield rows
                yield scales
            else:
                out = weight.to(torch.bfloat16)
                lossless &= torch.equal(out.float(), weight.float())
                yield out

    try:
        if dtype == GGUF:
            names = {k.removeprefix(prefix): shapes[k] for k in keys}
            blocks = {k.removeprefix(prefix) for k in packable}
            write_gguf(target, names, blocks, metadata, (weight for _, weight in weights()))
            return False
        write_safetensors(target, layout, metadata, tensors())
    except WriteError as error:
        raise CheckpointError(no_room(target, error.reason, needed) if error.full else str(error)) from error
    return lossless


def refuse_packed_file(source: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> None:
    """Raise CheckpointError for layers that only ComfyUI can read."""
    own = own_names(shapes)
    try:
        with safetensors.safe_open(source, framework="pt") as file:
            refuse_packed(without_prefix(shapes), lambda key: file.get_tensor(own[key]), metadata, source.name)
    except (safetensors.SafetensorError, OSError) as error:
        raise unreadable(source, error) from error


def no_room(target: Path, why: str, needed: int) -> str:
    return f"{target} does not fit: {needed / 1e9:.1f} GB are needed, {why}. Free some space or choose another disk"


def write_safetensors(target: Path, layout: dict, metadata: dict[str, str], tensors: Iterator[Tensor]) -> None:
    """Stream tensors, in the order of `layout` (key -> dtype, shape), into a safetensors file that appears whole."""
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for key, (dtype, shape) in layout.items():
        size = math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole(target) as part, open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor, (key, (dtype, shape)) in zip(tensors, layout.items(), strict=True):
            if tensor.dtype != dtype or tuple(tensor.shape) != tuple(shape):
                raise ValueError(f"{key} is {tensor.dtype} {list(tensor.shape)}, announced as {dtype} {list(shape)}")
            file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
