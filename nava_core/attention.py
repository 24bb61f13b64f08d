"""Attention with plain torch; ComfyUI passes its own selected function of the same form instead."""

import torch.nn.functional as F
from torch import Tensor

# queries times keys up to which torch's fused backward is the slower one on a CPU (measured: half as fast)
SHORT = 2**20


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, **_) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with `q [B, N, heads*d]`, `k, v [B, M, heads*d]` -> `[B, N, heads*d]`."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    if q.requires_grad and q.device.type == "cpu" and q.shape[2] * k.shape[2] <= SHORT:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
