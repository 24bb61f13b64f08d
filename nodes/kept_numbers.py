"""What layers share whose stored weights are no real numbers: fp8 rows with scales, blocks of a GGUF file."""

import contextlib
import weakref

import comfy.hooks
import comfy.ops
import torch
from torch import Tensor, nn


class KeptNumbers:
    """Beside one of the host's casting Linear layers, of which it needs `stored` and `real_numbers`."""

    place: tuple[weakref.ref, str] | None = None  # the host's model around this layer, and the weight's name in it
    ready: tuple[Tensor, Tensor] | None = None  # weight and bias as real numbers, see `kept`

    @property
    def stored(self) -> bool:
        """Whether the weight is kept in the stored form; else the layer is an ordinary one."""
        raise NotImplementedError

    def entries_to_save(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """What a file holds of this layer's weight. weight: the host's entry, whose `.to` gives real numbers if a patch is on them."""
        raise NotImplementedError

    def real_numbers(self, input: Tensor):
        """(weight, bias, what `uncast_bias_weight` wants), patches applied."""
        raise NotImplementedError

    def take_stored(self, state_dict: dict, prefix: str) -> None:
        """Weight and bias from a state dict, as they are."""
        self.weight = nn.Parameter(state_dict.pop(prefix + "weight"), requires_grad=False)
        self.bias = nn.Parameter(state_dict.pop(prefix + "bias"), requires_grad=False)
        # Where VRAM is managed dynamically, weights are staged in the dtype that the host noted at construction.
        self.weight_comfy_model_dtype = self.weight.dtype
        self.bias_comfy_model_dtype = self.bias.dtype

    @contextlib.contextmanager
    def kept(self, input: Tensor):
        """Keeps the real numbers for several calls."""
        if not self.stored or torch.is_grad_enabled():
            yield
            return
        weight, bias, stream = self.real_numbers(input)
        self.ready = weight, bias.clone()  # the host may reuse the memory of its cast
        comfy.ops.uncast_bias_weight(self, weight, bias, stream)
        try:
            yield
        finally:
            self.ready = None


class LaterWeight(nn.Parameter):
    """An entry whose numbers are made when it is written, as the host's own saved entries are."""

    def __new__(cls, shape, dtype, make):
        return super().__new__(cls, torch.empty(shape, dtype=dtype, device="meta"), requires_grad=False)

    def __init__(self, shape, dtype, make):
        self.make = make

    def to(self, *args, **kwargs):
        return self.make()


def keep_stored(patcher) -> None:
    """Prepare a ModelPatcher for layers that keep stored numbers: hooks replace rows one by one, never from copies as real numbers."""
    layers = [(name, layer) for name, layer in patcher.model.named_modules() if isinstance(layer, KeptNumbers)]
    for name, layer in layers:
        layer.place = weakref.ref(patcher.model), f"{name}.weight"
    if layers:
        patcher.hook_mode = comfy.hooks.EnumHookMode.MinVram
