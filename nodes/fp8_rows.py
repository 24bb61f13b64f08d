"""The released fp8 layout in the host's memory management: fp8 weights with one scale per output row."""

import weakref

import comfy.float
import comfy.ops
import torch
from torch import Tensor, nn

from ..nava_core.checkpoint import dequantized_rows
from ..nava_core.convert import FP8_MAX
from ..nava_core.scales import SCALE
from .kept_numbers import KeptNumbers, LaterWeight


class RowScaledPatch:
    """A patch that the host applies to a weight on its way to the device, on the real numbers behind fp8 rows.

    A row that the patch makes larger than its scale can hold gets a larger scale, which the layer then computes with.
    """

    def __init__(self, layer, patch):
        self.layer, self.patch = weakref.ref(layer), patch  # the layer holds this patch

    def __getattr__(self, name):  # all the rest of the host's LowVramPatch
        return getattr(self.patch, name)

    def __call__(self, rows: Tensor) -> Tensor:
        layer = self.layer()
        before = layer.stored_scale.to(rows.device).float()
        real = self.patch(rows.float() * before[:, None])
        layer.sent_scale = scale = wide_enough(before, real)
        return in_rows(real, scale).to(rows.dtype)


def wide_enough(scale: Tensor, real: Tensor) -> Tensor:
    """The scales `[rows]`, larger where a row of these real numbers would not fit into fp8."""
    return torch.maximum(scale, real.float().abs().amax(dim=1) / FP8_MAX)


def in_rows(real: Tensor, scale: Tensor) -> Tensor:
    return (real.float() / scale[:, None]).clamp(-FP8_MAX, FP8_MAX)


class RowScaledOps(comfy.ops.manual_cast):
    """The host's casting layers, whose Linear also keeps fp8 rows with their scales.

    The weight is cast for each use. Its scale goes into the cast numbers, or into the output where those are fewer.
    """

    class Linear(KeptNumbers, comfy.ops.manual_cast.Linear):
        _scale_there: tuple[Tensor, Tensor] | None = None
        sent_scale: Tensor | None = None  # of the rows that a RowScaledPatch has made
        hooked: tuple[object, Tensor] | None = (
            None  # the host's backup of the rows that a hook replaced, and the new scales
        )

        def _load_from_state_dict(self, state_dict, prefix, *args):
            scale = state_dict.pop(prefix + SCALE[1:], None)
            if scale is None:
                self.weight_scale = None
                return super()._load_from_state_dict(state_dict, prefix, *args)
            self.weight_scale = nn.Parameter(scale, requires_grad=False)
            self.take_stored(state_dict, prefix)

        @property
        def stored(self) -> bool:
            return self.weight_scale is not None

        def __setattr__(self, name, value):
            # Where VRAM is managed dynamically, the host patches weights in this way.
            if name == "weight_lowvram_function" and value is not None and self.weight_scale is not None:
                value = RowScaledPatch(self, value)
            elif name == "weight_lowvram_function":
                self.sent_scale = None
            super().__setattr__(name, value)

        @property
        def stored_scale(self) -> Tensor:
            """Scales of the rows in `weight`: a merged or hooked weight brings its own, the file's rows have the file's."""
            if self.hooked is not None and self.hooks_backup() is self.hooked[0]:
                return self.hooked[1]
            return getattr(self.weight, "row_scale", self.weight_scale)

        @property
        def scale(self) -> Tensor:
            """Scales of the rows that are computed with."""
            return self.stored_scale if self.sent_scale is None else self.sent_scale

        def hooks_backup(self):
            """What the host keeps of this weight while a hook's rows are in its place, or None."""
            model, key = self.place or (None, None)
            patcher = None if model is None else model().current_patcher
            return None if patcher is None else patcher.hook_backup.get(key)

        def scale_like(self, input: Tensor) -> Tensor:
            """The scales on input's device, where they stay: to copy them for each call would make the host wait."""
            scale = self.scale
            if scale.device == input.device and scale.dtype == input.dtype:
                return scale
            known = self._scale_there
            if (
                known is None
                or known[0] is not scale
                or known[1].device != input.device
                or known[1].dtype != input.dtype
            ):
                self._scale_there = known = scale, comfy.ops.cast_to_input(scale, input)
            return known[1]

        def real_numbers(self, input: Tensor):
            """(weight, bias, what `uncast_bias_weight` wants) with scales and patches applied."""
            patches = self.weight_function
            # patches computed on the fly want the real numbers first; half precision has too small a range for bare scales
            if not patches and input.dtype != torch.float16:
                weight, bias, stream = comfy.ops.cast_bias_weight(self, input, offloadable=True)
                return weight.mul_(self.scale_like(input)[:, None]), bias, stream  # the cast has made these numbers
            self.weight_function = [self.convert_weight, *patches]
            try:
                weight, bias, stream = comfy.ops.cast_bias_weight(self, input, offloadable=True)
            finally:
                self.weight_function = patches
            return weight, bias, stream

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            if self.weight_scale is None:
                return super().forward_comfy_cast_weights(input)
            if self.ready is not None:
                return nn.functional.linear(input, *self.ready)
            few = input.numel() < self.in_features**2  # fewer numbers to scale in the output than in the weight
            if few and not self.weight_function and input.dtype != torch.float16:
                weight, bias, stream = comfy.ops.cast_bias_weight(self, input, offloadable=True)
                out = torch.addcmul(bias, nn.functional.linear(input, weight), self.scale_like(input))
            else:  # also because sums over unscaled rows would overflow half precision
                weight, bias, stream = self.real_numbers(input)
                out = nn.functional.linear(input, weight, bias)
            comfy.ops.uncast_bias_weight(self, weight, bias, stream)
            return out

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            if self.weight_scale is not None:
                destination[prefix + SCALE[1:]] = self.stored_scale

        def entries_to_save(self, name: str, weight: Tensor) -> dict[str, Tensor]:
            scale, made = self.stored_scale, []

            def make() -> list[Tensor]:
                if not made:
                    rows, own = weight.to("cpu"), scale.to("cpu").float()
                    if rows.dtype != torch.float8_e4m3fn:
                        own = wide_enough(own, rows)
                        rows = in_rows(rows, own).to(torch.float8_e4m3fn)
                    made.extend((rows, own))
                return made

            return {
                f"{name}.weight": LaterWeight(weight.shape, torch.float8_e4m3fn, lambda: make()[0]),
                name + SCALE: LaterWeight(scale.shape, torch.float32, lambda: make()[1]),
            }

        # How the host patches such a weight (LoRA): back to real numbers, and into rows of fp8 again.

        def convert_weight(self, weight: Tensor, inplace=False, **kwargs) -> Tensor:
            if self.weight_scale is None:
                return weight
            dtype = weight.dtype if weight.dtype.itemsize > 1 else torch.float32
            return dequantized_rows(weight, self.scale.to(weight.device), dtype)

        def set_weight(self, weight: Tensor, inplace_update=False, seed=None, return_weight=False, **kwargs):
            if return_weight:  # for `entries_to_save`
                return weight if self.stored else weight.to(self.weight.dtype)
            if self.weight_scale is None:
                scale, weight = None, weight.to(self.weight.dtype)
            else:
                scale, backup = self.stored_scale.to(weight.device).float(), self.hooks_backup()
                # a patch may exceed what a row's old scale can hold
                if not inplace_update or backup is not None:
                    scale = wide_enough(scale, weight)
                weight = comfy.float.stochastic_rounding(in_rows(weight, scale), torch.float8_e4m3fn, seed=seed or 0)
            if inplace_update:  # the host will write the old rows back into this very tensor, and drops its backup then
                self.weight.data.copy_(weight)
                self.hooked = None if scale is None or backup is None else (backup, scale)
                return
            self.weight = nn.Parameter(weight, requires_grad=False)
            if scale is not None:
                self.weight.row_scale = scale


def has_row_scales(weights: dict[str, Tensor]) -> bool:
    """Whether weights are in the released fp8 layout: one scale per row, and no ComfyUI quantisation."""
    return any(
        k.endswith(SCALE) and w.ndim == 1 and k.replace(SCALE, ".comfy_quant") not in weights
        for k, w in weights.items()
    )


def in_hosts_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose fp8 rows have got one scale a matrix, in which ComfyUI computes in fp8 where a card can: rounded once more."""
    description = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    out = dict(weights)
    for key, scale in weights.items():
        if key.endswith(SCALE) and scale.ndim == 1:
            layer, whole = key.removesuffix(SCALE), scale.float().max()
            rows = weights[layer + ".weight"].float() * (scale.float() / whole)[:, None]
            out |= {layer + ".weight": rows.to(torch.float8_e4m3fn), key: whole, layer + ".comfy_quant": description}
    return out
