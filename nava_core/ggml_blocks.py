"""Weights as blocks of few bits, as GGUF files hold them: rows of bytes `[out, bytes]` and back to real numbers, in torch.

A block holds 32 or 256 values that lie side by side in a row, with their scale in half precision; the K formats have scales
and offsets of 6 bits for each 16 or 32 values inside. Formats as in ggml's `ggml-common.h`.
"""

import torch
from torch import Tensor

# name -> (values in a block, bytes of a block)
BLOCKS = {"Q8_0": (32, 34), "Q6_K": (256, 210), "Q5_K": (256, 176), "Q4_K": (256, 144)}


def kind_of(row_bytes: int, values: int) -> str:
    """The format of rows that hold so many values in so many bytes."""
    return next(
        name for name, (size, taken) in BLOCKS.items() if values % size == 0 and values // size * taken == row_bytes
    )


def _half(block: Tensor) -> Tensor:
    return block.contiguous().view(torch.float16).float()


def _scales_and_offsets(packed: Tensor) -> tuple[Tensor, Tensor]:
    """`[n, 12]` bytes -> two times `[n, 8]` numbers of 6 bits."""
    low, offset, high = packed.view(-1, 3, 4).unbind(1)
    scales = torch.cat([low & 63, (high & 15) | (low >> 2 & 48)], dim=1)
    offsets = torch.cat([offset & 63, high >> 4 | (offset >> 2 & 48)], dim=1)
    return scales, offsets


def _bits(packed: Tensor, shifts: range, mask: int) -> Tensor:
    """`[n, groups, bytes]` -> `[n, groups * len(shifts), bytes]`: the numbers at these shifts of every byte."""
    parts = [packed >> shift & mask for shift in shifts]
    return torch.stack(parts, dim=2).flatten(1, 2)


def dequantized(rows: Tensor, values: int, dtype: torch.dtype) -> Tensor:
    """Rows of blocks, uint8 `[out, bytes]`, as real numbers `[out, values]` of `dtype`; computed in float32."""
    kind = kind_of(rows.shape[1], values)
    blocks = rows.reshape(-1, BLOCKS[kind][1])
    if kind == "Q8_0":
        numbers = _half(blocks[:, :2]) * blocks[:, 2:].view(torch.int8)
    elif kind == "Q6_K":
        low, high = blocks[:, :128].view(-1, 2, 64), blocks[:, 128:192].view(-1, 2, 32)
        low = _bits(low, range(0, 8, 4), 15).view(-1, 8, 32)
        signed = (low | _bits(high, range(0, 8, 2), 3) << 4).to(torch.int8) - 32
        scales = blocks[:, 192:208].contiguous().view(torch.int8) * _half(blocks[:, 208:])
        numbers = signed.view(-1, 16, 16) * scales[..., None]
    else:
        scale, least = _half(blocks[:, :2]), _half(blocks[:, 2:4])
        scales, offsets = _scales_and_offsets(blocks[:, 4:16].contiguous())
        whole = _bits(blocks[:, -128:].reshape(-1, 4, 32), range(0, 8, 4), 15)
        if kind == "Q5_K":
            whole = whole | _bits(blocks[:, 16:48].reshape(-1, 1, 32), range(8), 1) << 4
        numbers = whole * (scale * scales)[..., None] - (least * offsets)[..., None]
    return numbers.view(rows.shape[0], values).to(dtype)


def quantized(weight: Tensor) -> Tensor:
    """`weight [out, in]` as Q8_0 rows, uint8 `[out, in / 32 * 34]`; `in` must divide by 32."""
    blocks = weight.float().reshape(-1, 32)
    scale = blocks.abs().amax(dim=1, keepdim=True) / 127
    steps = (blocks / scale.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8)
    packed = torch.cat([scale.half().view(torch.uint8), steps.view(torch.uint8)], dim=1)
    return packed.view(weight.shape[0], -1)
