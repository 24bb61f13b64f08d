"""One pass of the released model inside ComfyUI, followed on fake tensors: no card, no weights, the real code paths."""

from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nava_core import NavaConfig
from nava_core.convert import is_fp8_layer
from nava_core.sizes import ClipLength

SIX_SECONDS, TEN_SECONDS = (37, 44, 80), (61, 44, 80)  # latent frames, rows and columns of 1280x704
ONE_OF_EACH = NavaConfig(num_double_layers=1, num_single_layers=1)
CARD = {"device": "cuda", "dtype": torch.bfloat16}


@contextmanager
def no_numbers():
    with torch.inference_mode(False), torch.no_grad(), FakeTensorMode():
        yield


def network(nava, kind: str, device="cuda"):
    """The network of ComfyUI's MODEL with one block of each sort, its weights in `kind`: "bf16" or "fp8" rows."""
    import comfy.ops

    rows = nava("fp8_rows").RowScaledOps
    operations = rows if kind == "fp8" else comfy.ops.manual_cast
    model = nava("host").NavaDiffusionModel(ONE_OF_EACH, device=device, dtype=torch.bfloat16, operations=operations)
    if kind == "fp8":
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Linear):
                weights = {"weight": layer.weight.data, "bias": layer.bias.data}
                if is_fp8_layer(name + ".weight"):
                    weights["weight"] = weights["weight"].to(torch.float8_e4m3fn)
                    weights["weight_scale"] = torch.empty(layer.out_features, dtype=torch.bfloat16, device=device)
                layer.load_state_dict(weights)
    return model.requires_grad_(False)


def offloaded(model):
    """The network as ComfyUI leaves it where nothing fits: layers in RAM, cast for each use; bare parameters on the card."""
    for layer in model.modules():
        if hasattr(layer, "comfy_cast_weights"):
            layer.comfy_cast_weights = True
        else:
            for name, parameter in layer.named_parameters(recurse=False):
                setattr(layer, name, torch.nn.Parameter(parameter.to("cuda"), requires_grad=False))
    return model


def one_pass(model, size, batch: int = 1, joint: bool = True, levels=None):
    """Arguments of the network for a pass at this size, attention giving only its result."""
    steps = ClipLength(size[0]).audio_steps
    latents = [torch.empty(batch, 48, *size, **CARD), torch.empty(batch, 8, steps, 16, **CARD)]
    context = torch.empty(batch, 512, model.config.dim, **CARD)
    options = {"optimized_attention_override": lambda _, q, *a, **k: torch.empty_like(q)}
    t = torch.full((batch,), 500.0, device="cuda")
    return lambda: model(latents, t, context, options, nava={"joint": joint, **(levels or {})})


def whole(model, run, mode, measure) -> float:
    """`measure(mode)` of a pass of the released depth, from a pass through one block of each sort."""
    within = [0.0, 0.0]
    marks = []

    def before(*_):
        marks.append(measure(mode))

    hooks = []
    for i, (block, depth) in enumerate(((model.double_blocks[0], 10), (model.single_blocks[0], 20))):

        def after(*_, i=i, depth=depth):
            within[i] = (depth - 1) * (measure(mode) - marks.pop())

        hooks += [block.register_forward_pre_hook(before), block.register_forward_hook(after)]
    with mode:
        run()
    for hook in hooks:
        hook.remove()
    return measure(mode) + sum(within)
