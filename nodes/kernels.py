"""What the blocks are computed with inside ComfyUI: its fused kernels where the machine has them, its way of sending weights."""

from contextlib import ExitStack, contextmanager, nullcontext

import torch
from comfy import model_management
from comfy.ops import linear_input_act
from comfy.quant_ops import QuantizedTensor, ck
from torch import Tensor, nn

from ..nava_core import blocks, rope

HALF = (torch.float16, torch.bfloat16)


def has_kernel(name: str) -> bool:
    """Whether ComfyUI does this in one kernel here, rather than in a row of torch operations."""
    return any(
        found["available"] and not found["disabled"] and name in found["capabilities"]
        for backend, found in ck.list_backends().items()
        if backend != "eager"
    )


ROTATES, NORMALISES = has_kernel("apply_rope1_"), has_kernel("adaln")


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """As `rope.rotate`."""
    if ROTATES and x.is_cuda and x.dtype in HALF and not torch.is_grad_enabled():
        return ck.apply_rope1_(x, table)
    return rope.rotate(x, table)


def adaln(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor | None:
    """`layer_norm(x) * (1 + scale) + shift`, or None where that is no single kernel."""
    if NORMALISES and x.is_cuda and not torch.is_grad_enabled():
        return ck.adaln(x, scale, shift, eps)
    return None


def activated(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(GELU(x))`; ComfyUI's int8 layers take the GELU with them."""
    weight = getattr(layer, "weight", None)
    whole = "forward" not in vars(layer)  # adapters that are not merged replace it
    if isinstance(weight, QuantizedTensor) and weight._layout_cls == "TensorWiseINT8Layout" and whole:
        return linear_input_act(layer, x, "gelu_tanh")
    return blocks.activated(layer, x)


def held(layers, x: Tensor):
    """Layers that are called several times meanwhile: what must be done to their weights first is done once."""
    return nullcontext() if torch.compiler.is_compiling() else _held(layers, x)


@contextmanager
def _held(layers, x: Tensor):
    with ExitStack() as stack:
        for layer in layers:
            if hasattr(layer, "kept"):
                stack.enter_context(layer.kept(x))
            elif getattr(layer, "weight", None) is not None:
                stack.enter_context(on_device(layer, x.device))
        yield


@contextmanager
def on_device(layer: nn.Module, device: torch.device):
    """A layer of an offloaded part of the model, with its weights on the device. Where VRAM is managed dynamically, blocks are already there."""
    if layer.weight.device == device or hasattr(layer, "_v"):
        yield
        return
    usual = {name: getattr(layer, name) for name in ("weight", "bias")}
    for name, value in usual.items():
        if value is not None:
            sent = model_management.cast_to_device(value, device, None)
            setattr(layer, name, nn.Parameter(sent, requires_grad=False))
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(layer, name, value)
