"""Layer classes for running without a host: torch.nn, with a faster Linear on the CPU.

ComfyUI passes its own layer classes instead (casting, offload, fp8).
"""

import torch
from torch import Tensor, nn

LayerNorm, RMSNorm, Conv1d, Conv3d = nn.LayerNorm, nn.RMSNorm, nn.Conv1d, nn.Conv3d

_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """nn.Linear that computes float32 inference on the CPU with oneDNN instead of BLAS.

    torch itself takes that way only when compiling; where BLAS does not use a processor's wide vectors it is twice as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        plain = x.dtype == self.weight.dtype == torch.float32  # a frozen bf16 weight is autocast's affair
        if _HAS_ONEDNN and plain and x.device.type == "cpu" and not torch.is_grad_enabled():
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return super().forward(x)
