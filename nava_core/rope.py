"""Rotary positions: one clock for sight and sound (paper section 3.2).

A table holds one 2x2 rotation per token and channel pair, `[1, N, 1, head_dim/2, 2, 2]` float32: the layout that
ComfyUI's fused kernels take. Pairs are interleaved: (2i, 2i+1).
"""

import torch
from torch import Tensor

BASE = 10000.0


def _angles(positions: Tensor, pairs: int) -> Tensor:
    """Angles `[len(positions), pairs]` in float64, on an axis that owns `pairs` channel pairs."""
    exponent = torch.arange(pairs, dtype=torch.float64, device=positions.device) / pairs
    return positions.double()[:, None] * BASE**-exponent


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """How many channel pairs time, height and width own; 22, 21, 21 for a head of 128."""
    spatial = head_dim // 6
    return head_dim // 2 - 2 * spatial, spatial, spatial


def rope_table(grid: tuple[int, int, int], audio_tokens: int, head_dim: int, audio_scale: float, device=None) -> Tensor:
    """Rotations of the sequence [video; audio].

    grid: (T, H, W) of video *patches* in (t, h, w) row-major order, any may be 0. audio_tokens: L; token l stands at
    time l * audio_scale and rotates only the time pairs. Computed on the CPU in float64 (not every accelerator has
    it), returned as float32 `[1, T*H*W + L, 1, head_dim/2, 2, 2]` on `device`.
    """
    time, height, width = axis_pairs(head_dim)
    frames, rows, columns = grid

    def spread(angles: Tensor, axis: int) -> Tensor:
        view = [1, 1, 1, angles.shape[1]]
        view[axis] = angles.shape[0]
        return angles.view(view).expand(frames, rows, columns, -1)

    video = torch.cat(
        [
            spread(_angles(torch.arange(frames), time), 0),
            spread(_angles(torch.arange(rows), height), 1),
            spread(_angles(torch.arange(columns), width), 2),
        ],
        dim=-1,
    ).reshape(-1, head_dim // 2)
    sound = torch.zeros(audio_tokens, head_dim // 2, dtype=torch.float64)
    sound[:, :time] = _angles(torch.arange(audio_tokens) * audio_scale, time)
    angles = torch.cat([video, sound])
    cos, sin = angles.cos(), angles.sin()
    table = torch.stack([cos, -sin, sin, cos], dim=-1).float()
    return table.view(1, -1, 1, head_dim // 2, 2, 2).to(device)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate `x [B, N, heads, head_dim]` by `table [1, N, 1, head_dim/2, 2, 2]`; computed in float32, returned in x's dtype."""
    pairs = x.to(table.dtype).unflatten(-1, (-1, 1, 2))
    out = table[..., 0] * pairs[..., 0]
    return out.addcmul_(table[..., 1], pairs[..., 1]).flatten(-2).to(x.dtype)
