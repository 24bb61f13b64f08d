"""The number format that a training computes in."""

from functools import cache

import torch


@cache
def quick_bf16(device: str) -> bool:
    """Whether bfloat16 is worth it: a processor without instructions for it emulates it, up to a hundred times slower."""
    return device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: str, wanted: bool = True) -> torch.autocast:
    """bfloat16 where it is `wanted` and quick, else float32."""
    return torch.autocast(device, torch.bfloat16, enabled=wanted and quick_bf16(device))
