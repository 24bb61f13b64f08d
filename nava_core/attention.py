"""Attention with plain torch; ComfyUI passes its own selected function of the same form instead."""

import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, **_) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with `q [B, N, heads*d]`, `k, v [B, M, heads*d]` -> `[B, N, heads*d]`."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
