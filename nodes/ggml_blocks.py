"""GGUF weights in the host's memory management: rows of blocks, made real numbers layer by layer."""

import comfy.ops
import torch
from torch import Tensor, nn

from ..nava_core.ggml_blocks import dequantized, kind_of, quantized
from .kept_numbers import KeptNumbers, LaterWeight


class BlockOps(comfy.ops.manual_cast):
    """The host's casting layers, whose Linear also keeps its weight as rows of blocks (uint8)."""

    class Linear(KeptNumbers, comfy.ops.manual_cast.Linear):
        patch = None  # what the host would apply to the stored weight where VRAM is managed dynamically

        def _load_from_state_dict(self, state_dict, prefix, *args):
            if state_dict[prefix + "weight"].dtype != torch.uint8:
                return super()._load_from_state_dict(state_dict, prefix, *args)
            self.take_stored(state_dict, prefix)

        @property
        def stored(self) -> bool:
            return self.weight.dtype == torch.uint8

        def __setattr__(self, name, value):
            if name == "weight_lowvram_function" and self.stored:  # it wants real numbers, and leaves them so
                super().__setattr__("patch", value)
                value = None
            super().__setattr__(name, value)

        def real_numbers(self, input: Tensor):
            """(weight, bias, what `uncast_bias_weight` wants), patches applied."""
            patches = self.weight_function
            if patches:  # they come after the blocks have become numbers
                self.weight_function = []
            try:
                weight, bias, stream = comfy.ops.cast_bias_weight(
                    self, dtype=torch.uint8, device=input.device, bias_dtype=input.dtype, offloadable=True
                )
            finally:
                if patches:
                    self.weight_function = patches
            real = dequantized(weight, self.in_features, input.dtype)
            for patch in (*([self.patch] if self.patch is not None else []), *patches):
                real = patch(real)
            return real, bias, stream

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            if not self.stored:
                return super().forward_comfy_cast_weights(input)
            if self.ready is not None:
                return nn.functional.linear(input, *self.ready)
            weight, bias, stream = self.real_numbers(input)
            out = nn.functional.linear(input, weight, bias)
            comfy.ops.uncast_bias_weight(self, weight, bias, stream)
            return out

        # How the host merges a LoRA into such a weight: over real numbers, and then blocks of 8 bits.

        def convert_weight(self, weight: Tensor, inplace=False, **kwargs) -> Tensor:
            # the host hands the bytes over as float32
            return dequantized(weight.to(torch.uint8), self.in_features, torch.float32) if self.stored else weight

        def entries_to_save(self, name: str, weight: Tensor) -> dict[str, Tensor]:
            shape = (self.out_features, self.in_features)

            def make() -> Tensor:
                real = weight.to("cpu")
                return (
                    real.bfloat16()
                    if real.dtype != torch.uint8
                    else dequantized(real, self.in_features, torch.bfloat16)
                )

            return {f"{name}.weight": LaterWeight(shape, torch.bfloat16, make)}

        def set_weight(self, weight: Tensor, inplace_update=False, seed=None, return_weight=False, **kwargs):
            if return_weight:  # for `entries_to_save`
                return weight if self.stored else weight.to(self.weight.dtype)
            if not self.stored:
                weight = weight.to(self.weight.dtype)
            else:
                kind = kind_of(self.weight.shape[1], self.in_features)
                if inplace_update and kind != "Q8_0":
                    raise ValueError(
                        f"A LoRA that comes and goes while sampling needs a GGUF file of Q8_0, this one has {kind}. "
                        "Take another file, or load the LoRA for the whole run."
                    )
                weight = quantized(weight)
            if inplace_update:
                self.weight.data.copy_(weight)
            else:
                self.weight = nn.Parameter(weight, requires_grad=False)
