"""Scales of quantised weights, in the spellings of the tools that write them: each is applied, or its file is refused."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from .files import CheckpointError

SCALE = ".weight_scale"  # as the released fp8 file, ComfyUI and ModelOpt call it
WEIGHT_SCALES = (
    SCALE,
    ".scale_weight",
    ".weight_scale_inv",
)  # older ComfyUI; transformers, whose "inv" is a factor too
INPUT_SCALES = (".input_scale", ".scale_input")
FORMAT = ".comfy_quant"  # ComfyUI's description of a layer
SECOND = ".weight_scale_2"  # of nvfp4
MARKER = "scaled_fp8"  # of older ComfyUI: two numbers ask for products in full precision
DESCRIBED = "_quantization_metadata"  # of ComfyUI, in a file's header
KEYS = (*WEIGHT_SCALES, *INPUT_SCALES, FORMAT, SECOND)
FP8 = {torch.float8_e4m3fn: "float8_e4m3fn", torch.float8_e5m2: "float8_e5m2"}
STORED = (*FP8, torch.int8)  # what a scale stands beside
PACKED = (torch.int8, torch.uint8)  # no numbers by themselves
BLOCK = 128  # of scales in two dimensions

Read = Callable[[str], Tensor]


def is_quantization_key(key: str) -> bool:
    """Whether an entry describes how a weight is stored, rather than being one."""
    return key.endswith(KEYS) or key == MARKER


def layer_of(key: str) -> str:
    """The layer that such an entry belongs to."""
    return next(key.removesuffix(ending) for ending in KEYS if key.endswith(ending))


def layer_key(key: str) -> str:
    """Where ComfyUI describes the layer of a weight."""
    return key.removesuffix(".weight") + FORMAT


def applied(weight: Tensor, scale: Tensor, key: str) -> Tensor:
    """A stored weight `[out, in]` times its scale: one number, one a row, one a column `[1, in]`, or one a block. float32.

    Raises CheckpointError for a scale of another shape.
    """
    real, scale = weight.float(), scale.float()
    if scale.numel() == 1:
        return real * scale.reshape(())
    sides = tuple(weight.shape)
    if scale.ndim == 1 and scale.shape[0] == sides[0]:
        return real * scale[:, None]
    if scale.ndim == 2 and scale.shape in ((sides[0], 1), (1, sides[-1])):
        return real * scale
    if scale.ndim == 2 and weight.ndim == 2:
        for blocks in ((BLOCK, BLOCK), tuple(side // count for side, count in zip(sides, scale.shape, strict=True))):
            if all(b and -(-side // b) == count for side, b, count in zip(sides, blocks, scale.shape, strict=True)):
                spread = scale.repeat_interleave(blocks[0], 0)[: sides[0]].repeat_interleave(blocks[1], 1)
                return real * spread[:, : sides[1]]
    raise CheckpointError(f"the scale of {key} has the shape {list(scale.shape)}, which does not fit {list(sides)}")


def scale_key(layer: str, keys: Iterable[str]) -> str | None:
    """Under which name the scale of a layer's weight lies, or None."""
    return next((layer + ending for ending in WEIGHT_SCALES if layer + ending in keys), None)


def described_layers(metadata: Mapping[str, str], prefix: str) -> dict[str, dict]:
    """What a file's header says of its layers, by their unprefixed names."""
    try:
        layers = json.loads(metadata.get(DESCRIBED, "{}")).get("layers", {})
        return {name.removeprefix(prefix): dict(entry) for name, entry in layers.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"its header's {DESCRIBED} cannot be read ({error})") from error


def format_of(entry: Tensor) -> dict:
    try:
        return dict(json.loads(bytes(entry.tolist())))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"a layer's comfy_quant cannot be read ({error})") from error


def settled(
    weights: Mapping[str, Tensor], metadata: Mapping[str, str], name: str, prefix: str = "", keep: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Weights whose scales all stand where a loader looks for them, or are multiplied in (bf16).

    weights: unprefixed. prefix: that the header may use. keep: what the loader takes as it is: "formats" (ComfyUI's
    quantised layers, and fp8 with one scale a matrix as one of them), "rows" (float8_e4m3fn with one scale a row, `[out]`).
    Raises CheckpointError naming a scale that nothing can be done with.
    """
    try:
        return _settled(dict(weights), described_layers(metadata, prefix), name, keep)
    except CheckpointError as error:
        raise CheckpointError(f"{name} is quantised in a way that is not known: {error}. Take another file.") from error


def _settled(weights: dict[str, Tensor], described: dict[str, dict], name: str, keep: tuple[str, ...]):
    marker = weights.pop(MARKER, None)
    full = {"full_precision_matrix_mult": True} if marker is not None and marker.numel() == 2 else {}
    scaled = dict.fromkeys(layer_of(k) for k in weights if is_quantization_key(k))
    layers = scaled | dict.fromkeys(described)
    out = {k: w for k, w in weights.items() if not is_quantization_key(k)}
    unused = []
    for layer in layers:
        weight = weights.get(f"{layer}.weight")
        if weight is None and layer not in scaled:  # a header may speak of other models
            continue
        if weight is None:
            raise CheckpointError(f"there are scales for {layer}, and no weight")
        own = {ending: weights[layer + ending] for ending in KEYS if layer + ending in weights}
        scales = [own[ending] for ending in WEIGHT_SCALES if ending in own]
        if len(scales) > 1:
            raise CheckpointError(f"{layer} has {len(scales)} scales")
        scale = scales[0] if scales else None
        inputs = next((own[e].float().reshape(()) for e in INPUT_SCALES if e in own and own[e].numel() == 1), None)
        form = described.get(layer) or (format_of(own[FORMAT]) if FORMAT in own else {})
        kind = form.get("format", FP8.get(weight.dtype))
        foreign = kind not in FP8.values() or (SECOND in own)
        if form and foreign:  # blocks that ComfyUI alone can read
            if "formats" not in keep:
                raise CheckpointError(f"{layer} is {kind}, which only NAVA's model loader in ComfyUI reads")
            out |= {layer + ending: entry for ending, entry in own.items()} | {layer + FORMAT: bytes_of(form)}
            continue
        if SECOND in own:
            raise CheckpointError(f"{layer} is packed, and nothing says how")
        if form and weight.dtype == torch.uint8:  # as older files keep fp8
            weight = out[f"{layer}.weight"] = weight.view(fp8_of(kind))
        if scale is None:
            continue
        if weight.dtype not in STORED:
            if not bool((scale == 1).all()):
                raise CheckpointError(f"{layer} has a scale and its weight is {weight.dtype}")
            continue
        if weight.dtype in FP8 and scale.numel() == 1 and "formats" in keep:
            form = {**full, **form, "format": FP8[weight.dtype]}
            out |= {layer + SCALE: scale.float().reshape(()), layer + FORMAT: bytes_of(form)}
            if inputs is not None and float(inputs) != 1:
                out[layer + ".input_scale"] = inputs
            continue
        if inputs is not None:
            unused.append(layer)
        rows = scale.numel() == weight.shape[0] and scale.ndim <= 2 and scale.shape[0] == weight.shape[0]
        if weight.dtype == torch.float8_e4m3fn and rows and "rows" in keep:
            out[layer + SCALE] = scale.reshape(-1)
        else:
            out[f"{layer}.weight"] = applied(weight, scale, layer).bfloat16()
    packed = next(
        (k for k, w in out.items() if k.endswith(".weight") and w.dtype in PACKED and layer_key(k) not in out), None
    )
    if packed:
        raise CheckpointError(
            f"{packed} is stored as {str(out[packed].dtype).removeprefix('torch.')}, and nothing says how"
        )
    if unused:
        logging.getLogger(__name__).info("%s: the scales of inputs of %d layers are not needed", name, len(unused))
    return one_way(out)


def one_way(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where layers with scales a row and ComfyUI's layers stand in one file, the rows become bf16: a model is built in one way."""
    rows = [k for k in weights if k.endswith(SCALE) and weights[k].ndim == 1 and layer_of(k) + FORMAT not in weights]
    if rows and any(k.endswith(FORMAT) for k in weights):
        for key in rows:
            layer = layer_of(key)
            weights[f"{layer}.weight"] = applied(weights[f"{layer}.weight"], weights.pop(key), layer).bfloat16()
    return weights


def fp8_of(form: str) -> torch.dtype:
    return next(dtype for dtype, name in FP8.items() if name == form)


def bytes_of(form: dict) -> Tensor:
    return torch.tensor(list(json.dumps(form).encode()), dtype=torch.uint8)


def real_numbers(key: str, read: Read, keys: Iterable[str]) -> Tensor:
    """An entry of a file without formats of ComfyUI's own, its scale multiplied in (then float32). read: an entry by name."""
    weight = read(key)
    scale = scale_key(key.removesuffix(".weight"), keys) if key.endswith(".weight") else None
    if weight.dtype == torch.uint8 and layer_key(key) in keys:  # as older files keep fp8
        weight = weight.view(fp8_of(format_of(read(layer_key(key))).get("format")))
    return weight if scale is None or weight.dtype not in STORED else applied(weight, read(scale), key)


def refuse_packed(shapes: Mapping[str, tuple[int, ...]], read: Read, metadata: Mapping[str, str], name: str) -> None:
    """Raise CheckpointError for layers that only ComfyUI can read, as int8 with a rotation, mxfp8, nvfp4.

    read: an entry by its unprefixed name.
    """
    forms = {k: format_of(read(k)).get("format") for k in shapes if k.endswith(FORMAT)}
    forms |= {k: entry.get("format") for k, entry in described_layers(metadata, "").items()}
    foreign = next((k for k, form in forms.items() if form not in FP8.values()), None)
    foreign = foreign or next((k for k in shapes if k.endswith(SECOND)), None)
    if foreign:
        raise CheckpointError(
            f"{name} is quantised for ComfyUI ({forms.get(foreign) or foreign}), and only Load NAVA Model can read that. Take the float32, the "
            "bf16 or the released fp8 file here."
        )
