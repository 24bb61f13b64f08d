"""Rotary positions: one clock for sight and sound (paper section 3.2).

A table holds one 2x2 rotation per token and channel pair, `[1, N, 1, head_dim/2, 2, 2]` float32: the layout that
ComfyUI's fused kernels take. Pairs are interleaved: (2i, 2i+1).
"""

import torch
from torch import Tensor

from .config import ROPE_TOKENS

BASE = 10000.0
FLOAT64_DEVICES = ("cpu", "cuda", "meta")  # others (Apple, some Intel, DirectML) may have none


def keeps_values() -> bool:
    """Whether nothing may be written over: gradients need it, and a compiler finds better ways of its own."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def _turns(length: int, step: float, pairs: int, device) -> Tensor:
    """Rotations `[length, pairs, 2, 2]` at positions 0, step, 2 step … on an axis that owns `pairs` channel pairs.

    Angles in float64, on the device where it has that: copying from the CPU would make the host wait.
    """
    at = device if torch.device(device or "cpu").type in FLOAT64_DEVICES else "cpu"
    exponent = torch.arange(pairs, dtype=torch.float64, device=at) / pairs
    positions = (torch.arange(length, device=at) * step).double()
    angles = positions[:, None] * BASE**-exponent
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2)).float().to(device)


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """How many channel pairs time, height and width own; 22, 21, 21 for a head of 128."""
    spatial = head_dim // 6
    return head_dim // 2 - 2 * spatial, spatial, spatial


def rope_table(grid: tuple[int, int, int], audio_tokens: int, head_dim: int, audio_scale: float, device=None) -> Tensor:
    """Rotations of the sequence [video; audio].

    grid: (T, H, W) of video *patches* in (t, h, w) row-major order, any may be 0. audio_tokens: L; token l stands at
    time l * audio_scale and rotates only the time pairs. Returns float32 `[1, T*H*W + L, 1, head_dim/2, 2, 2]`.
    """
    pairs = axis_pairs(head_dim)
    axes = []
    for axis, (length, owned) in enumerate(zip(grid, pairs, strict=True)):
        view = [1, 1, 1, owned, 2, 2]
        view[axis] = length
        axes.append(_turns(length, 1, owned, device).view(view).expand(*grid, owned, 2, 2))
    video = torch.cat(axes, dim=3).flatten(0, 2)
    sound = _turns(audio_tokens, audio_scale, pairs[0], device)
    still = torch.eye(2, device=device).expand(audio_tokens, pairs[1] + pairs[2], 2, 2)
    return torch.cat([video, torch.cat([sound, still], dim=1)])[None, :, None]


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate `x [B, N, heads, head_dim]` by `table [1, N, 1, head_dim/2, 2, 2]`; computed in float32, returned in x's dtype.

    Without gradients x is written over, some tokens at a time.
    """
    if keeps_values():
        return _rotated(x, table).to(x.dtype)
    for part, turns in zip(x.split(ROPE_TOKENS, dim=1), table.split(ROPE_TOKENS, dim=1), strict=True):
        part.copy_(_rotated(part, turns))
    return x


def _rotated(x: Tensor, table: Tensor) -> Tensor:
    pairs = x.to(table.dtype).unflatten(-1, (-1, 1, 2))
    out = table[..., 0] * pairs[..., 0]
    return out.addcmul_(table[..., 1], pairs[..., 1]).flatten(-2)
