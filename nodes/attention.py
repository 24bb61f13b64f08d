"""Another attention kernel for one MODEL, without touching the host's choice."""

import logging
import sys

import torch
import torch.nn.functional as F
from comfy.ldm.modules import attention as host_attention
from comfy_api.latest import io
from torch.nn.attention import SDPBackend, sdpa_kernel

from .host import require_nava

# kernel -> (pip package, head sizes it takes, dtypes it takes)
OVERRIDE = "optimized_attention_override"
HALF = (torch.float16, torch.bfloat16)
KERNELS = {
    "pytorch": ("torch", None, None),
    "cudnn": ("torch", tuple(range(8, 129, 8)), HALF),
    "sage": ("sageattention", (64, 96, 128), HALF),
    "sage3": ("sageattn3", (64, 128), HALF),
    "flash": ("flash-attn", (32, 64, 96, 128, 160, 192, 224, 256), HALF),
    "int8": ("comfy-kitchen", tuple(range(8, 257, 8)), HALF),
}
HOSTS_NAMES = {"int8": "comfy_kitchen_int8"}  # under which ComfyUI registers them, where that is another


# cuDNN first; what it cannot take, torch gives to the others
CUDNN_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def attention_cudnn(q, k, v, heads, mask=None, skip_reshape=False, skip_output_reshape=False, **_):
    """As the host's attention functions, by cuDNN: the host asks torch for flash attention first."""
    if not skip_reshape:
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    with sdpa_kernel(CUDNN_FIRST, set_priority=True):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out if skip_output_reshape else out.transpose(1, 2).flatten(2)


def function_of(kernel: str):
    """The attention function of this name, or None where its package is missing."""
    return (
        attention_cudnn
        if kernel == "cudnn"
        else host_attention.get_attention_function(HOSTS_NAMES.get(kernel, kernel), None)
    )


def auto_choice() -> tuple[str | None, str]:
    """(the kernel that `auto` puts in place of the host's choice, or None; what it takes here, why, and what else there is)."""
    chosen = host_attention.optimized_attention.__name__
    if not torch.cuda.is_available():
        why = "there is no NVIDIA or AMD card here, so nothing else would be faster"
        return None, f"auto takes ComfyUI's {chosen}; {why}"
    major, minor = torch.cuda.get_device_capability()
    card = f"{torch.cuda.get_device_name()} (compute capability {major}.{minor})"
    installed = f"installed: {', '.join(name for name in KERNELS if function_of(name) is not None)}"
    if chosen == "attention_pytorch" and major == 9:
        why = "as exact as ComfyUI's choice, which asks for flash attention first; 1.35 times as fast a pass on an H200"
        return "cudnn", f"auto takes cudnn on {card}: {why}; {installed}"
    if chosen == "attention_sage":
        why = "the sageattention package picks the number formats that fit this card by itself"
    elif chosen == "attention_pytorch":
        why = "torch tries flash attention first and cuDNN next"
    else:
        why = "ComfyUI was started so"
    return None, f"auto takes ComfyUI's {chosen} on {card}, {why}; {installed}"


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
            logging.warning("NavaAttention: %s is not used here, %s; ComfyUI's attention is used instead", name, reason)
        return selected(q, k, v, heads, mask=mask, **kwargs)

    override.nava_kernel = name
    return override


class NavaAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaAttention",
            display_name="NAVA Attention",
            category="NAVA/model",
            description="Chooses how this model computes attention, where long clips spend half of their time. A matter of speed: try it "
            "when clips take too long.",
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model."),
                io.Combo.Input(
                    "kernel",
                    options=["auto", *KERNELS],
                    default="auto",
                    tooltip="auto: what ComfyUI was started with, and cudnn on Hopper cards, where that is faster and as exact; the "
                    "log says what it took and why. sage, sage3 and flash need their package; sage is the fastest there and "
                    "less exact; int8 is ComfyUI's own of that kind, from 0.33 on. What a kernel cannot compute is left to ComfyUI's, and the log says so.",
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, kernel) -> io.NodeOutput:
        require_nava(model, "NavaAttention, model")
        model = model.clone()
        options = model.model_options["transformer_options"] = model.model_options.get("transformer_options", {}).copy()
        if hasattr(options.get(OVERRIDE), "nava_kernel"):
            del options[OVERRIDE]  # another node's is left where it is
        if kernel == "auto":
            kernel, said = auto_choice()
            logging.info("NavaAttention: %s", said)
            kernel = None if OVERRIDE in options else kernel
        if kernel is not None:
            function = function_of(kernel)
            if function is None and kernel in HOSTS_NAMES:
                raise ValueError(
                    f"NavaAttention, kernel: this ComfyUI has no {kernel} attention. It comes with ComfyUI 0.33 and its comfy-kitchen, on cards "
                    "that can compute it. Update ComfyUI, or choose auto or pytorch."
                )
            if function is None:
                package = KERNELS[kernel][0]
                raise ValueError(
                    f"NavaAttention, kernel: {kernel} is not installed. Install it with\n"
                    f"  {sys.executable} -m pip install {package}\nand restart ComfyUI, or choose auto or pytorch."
                )
            options[OVERRIDE] = override_with(kernel, function)
        return io.NodeOutput(model)
