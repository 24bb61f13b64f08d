"""Another attention kernel for one MODEL, without touching the host's choice."""

import logging
import sys

import torch
from comfy.ldm.modules.attention import get_attention_function
from comfy_api.latest import io

from .host import require_nava

# kernel -> (pip package, head sizes it takes, dtypes it takes)
OVERRIDE = "optimized_attention_override"
HALF = (torch.float16, torch.bfloat16)
KERNELS = {
    "pytorch": ("torch", None, None),
    "sage": ("sageattention", (64, 96, 128), HALF),
    "sage3": ("sageattn3", (64, 128), HALF),
    "flash": ("flash-attn", (32, 64, 96, 128, 160, 192, 224, 256), HALF),
}


def obstacle(name: str, q: torch.Tensor, head_size: int, mask) -> str | None:
    """Why a kernel cannot take this case, or None."""
    _, head_sizes, dtypes = KERNELS[name]
    if head_sizes is None:
        return None
    if q.device.type != "cuda":
        return f"it needs an NVIDIA or AMD GPU, the model runs on {q.device.type}"
    if mask is not None:
        return "it takes no attention mask"
    if head_size not in head_sizes:
        return f"it takes heads of {head_sizes}, these have {head_size}"
    if q.dtype not in dtypes:
        return f"it takes half precision, the model runs in {q.dtype}"
    return None


def override_with(name: str, kernel):
    """An `optimized_attention_override` that uses `kernel` where it can, and says once where it cannot."""
    told = set()

    def override(selected, q, k, v, heads, mask=None, **kwargs):
        head_size = q.shape[-1] if kwargs.get("skip_reshape") else q.shape[-1] // heads
        reason = obstacle(name, q, head_size, mask)
        if reason is None:
            return kernel(q, k, v, heads, mask=mask, **kwargs)
        if reason not in told:
            told.add(reason)
            logging.warning("NavaAttention: not using %s here, %s; using the host's attention instead", name, reason)
        return selected(q, k, v, heads, mask=mask, **kwargs)

    override.made_by_nava = True
    return override


class NavaAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaAttention",
            display_name="NAVA Attention",
            category="NAVA/model",
            description="Chooses the attention kernel of this model alone. Long clips spend half of their time there.",
            inputs=[
                io.Model.Input("model", tooltip="From NavaModelLoader."),
                io.Combo.Input(
                    "kernel",
                    options=["auto", *KERNELS],
                    default="auto",
                    tooltip="auto: what ComfyUI was started with. sage, sage3 and flash need their package; where they "
                    "cannot take a case they step aside and say so.",
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, kernel) -> io.NodeOutput:
        require_nava(model, "NavaAttention, model")
        model = model.clone()
        options = model.model_options["transformer_options"] = model.model_options.get("transformer_options", {}).copy()
        if getattr(options.get(OVERRIDE), "made_by_nava", False):
            del options[OVERRIDE]  # another node's is left where it is
        if kernel != "auto":
            function = get_attention_function(kernel, None)
            if function is None:
                package = KERNELS[kernel][0]
                raise ValueError(
                    f"NavaAttention, kernel: {kernel} is not installed. Install it with\n"
                    f"  {sys.executable} -m pip install {package}\nand restart ComfyUI, or choose auto or pytorch."
                )
            options[OVERRIDE] = override_with(kernel, function)
        return io.NodeOutput(model)
