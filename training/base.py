"""The frozen model under a LoRA: its matrices in bf16, or as the released fp8 file holds them."""

from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nava_core.checkpoint import (
    dequantized_rows,
    identify,
    load_transformer,
    own_names,
    read_header,
    without_prefix,
)
from nava_core.scales import SCALE, real_numbers, refuse_packed
from nava_core.transformer import NavaTransformer

PRECISIONS = ("float32", "bf16", "fp8")


class RowLinear(nn.Linear):
    """A frozen Linear of fp8 rows with one scale each, made into real numbers where it is used."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor):
        super().__init__(weight.shape[1], weight.shape[0], device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.register_buffer("weight_scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        return F.linear(x, dequantized_rows(self.weight, self.weight_scale, dtype), self.bias.to(dtype))


def load_base(path: str | Path, precision: str = "float32") -> NavaTransformer:
    """A frozen transformer; norms, biases and modulations are float32 in any case.

    bf16: compute under autocast. fp8: the rows of a released fp8 file stay as they are, the rest is bf16. Raises
    CheckpointError, and ValueError for a precision that the file does not have.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"lora.base is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return load_transformer(path)
    path = Path(path)
    shapes, metadata = read_header(path)
    if precision == "fp8" and not any(k.endswith(SCALE) for k in shapes):
        raise ValueError(
            f"lora.base is fp8, but {path.name} is not: write such a file with `run.py convert --dtype fp8`"
        )
    model = NavaTransformer(identify(without_prefix(shapes), metadata, path.name), device="meta")
    matrices = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv3d)}
    names, own, weights, rows = own_names(shapes), without_prefix(shapes), {}, {}
    with safetensors.safe_open(path, framework="pt") as file:

        def read(key: str):
            return file.get_tensor(names[key])

        refuse_packed(own, read, metadata, path.name)
        for key in model.state_dict():
            name = key.removesuffix(".weight")
            if precision == "fp8" and len(own.get(name + SCALE, ())) == 1 and own[name + SCALE] == own[key][:1]:
                rows[name] = read(key), read(name + SCALE)
            else:
                weights[key] = real_numbers(key, read, own).to(torch.bfloat16 if key in matrices else torch.float32)
    for name, (weight, scale) in rows.items():
        parent, _, last = name.rpartition(".")
        layer = RowLinear(weight, scale, weights.pop(f"{name}.bias"))
        setattr(model.get_submodule(parent), last, layer)
    model.load_state_dict(weights, assign=True, strict=not rows)
    return model.eval().requires_grad_(False)
