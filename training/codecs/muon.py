"""Muon (Keller Jordan, 2024) for layers of any shape: momentum, made orthogonal, as the step of a weight matrix.

torch's own Muon takes matrices only; a convolution is one here, its output channels against all it looks at.
"""

import torch
from torch import Tensor, nn

from ..precision import quick_bf16


@torch.no_grad()
def orthogonalised(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The nearest matrix with equal singular values, roughly, by a Newton-Schulz iteration; `[..., m, n]`."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = (matrix / (matrix.norm() + 1e-7)).to(torch.bfloat16 if quick_bf16(matrix.device.type) else torch.float32)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for weights, AdamW for everything with fewer than two dimensions or with a part of its name in `plain`."""

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        momentum: float = 0.95,
        plain: tuple[str, ...] = (),
        plain_rate: float = 0.15,
    ):
        weights, rest = [], []
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                is_weight = parameter.ndim > 1 and min(parameter.shape[0], parameter[0].numel()) > 4
                (weights if is_weight and not any(part in name for part in plain) else rest).append(parameter)
        super().__init__(
            [{"params": weights, "matrix": True, "part": 1.0}, {"params": rest, "matrix": False, "part": plain_rate}],
            {"lr": lr, "momentum": momentum},
        )

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if group["matrix"]:
                    m = state.setdefault("momentum", torch.zeros_like(p))
                    m.lerp_(p.grad, 1 - group["momentum"])
                    step = orthogonalised((p.grad.lerp(m, group["momentum"])).flatten(1))
                    scale = max(1.0, step.shape[0] / step.shape[1]) ** 0.5
                    p.add_(step.view_as(p), alpha=-group["lr"] * group["part"] * scale)
                else:
                    m, v = (
                        state.setdefault("first", torch.zeros_like(p)),
                        state.setdefault("second", torch.zeros_like(p)),
                    )
                    n = state["count"] = state.get("count", 0) + 1
                    m.lerp_(p.grad, 0.1)
                    v.lerp_(p.grad.square(), 0.01)
                    p.addcdiv_(
                        m / (1 - 0.9**n), (v / (1 - 0.99**n)).sqrt_().add_(1e-8), value=-group["lr"] * group["part"]
                    )
