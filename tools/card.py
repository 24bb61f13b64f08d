"""The released model inside ComfyUI with random weights, on a graphics card or, for tests, without one."""

import gc
import importlib
import importlib.util
import logging
import math
import os
import sys
import warnings
from dataclasses import dataclass
from functools import cache

import environment
import torch


@dataclass(frozen=True)
class Card:
    """Where to measure, and until when (time.monotonic)."""

    device: str
    until: float
    dtype: torch.dtype = torch.bfloat16

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"

    def peak_of(self, call) -> int:
        """Bytes that a call takes beside what lies there already."""
        if not self.is_gpu:
            call()
            return 0
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


def hears_waits(card: Card) -> bool | None:
    """Whether torch's warnings tell of a wait for the card that is there; None without one."""
    if not card.is_gpu:
        return None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        torch.ones(1, device=card.device).item()
        torch.cuda.set_sync_debug_mode("default")
    return any(tells_of_a_wait(w) for w in warned)


def tells_of_a_wait(warning) -> bool:
    return "called a synchronizing" in str(warning.message)


def inside_comfyui(cpu: bool):
    """nava(name) -> a module of the pack's nodes, imported as ComfyUI imports it."""
    pack, host = "comfyui_nava", os.environ["NAVA_HOST"]
    if pack not in sys.modules:
        if host not in sys.path:
            sys.path.insert(0, host)
        from comfy.cli_args import args

        args.cpu = cpu
        where = environment.ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location(pack, where, submodule_search_locations=[str(environment.ROOT)])
        sys.modules[pack] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return lambda name: importlib.import_module(f"{pack}.{name}")


def weights_as(nava, config, kind: str, card: Card) -> tuple[dict[str, torch.Tensor], dict]:
    """(random weights in a file's format, the same numbers in each; what `build_patcher` is to know): made on the card, kept in RAM."""
    convert, host_formats = nava("nava_core.convert"), nava("nava_core.host_formats")
    weights, fp8 = {}, nava("nodes.fp8_rows")
    draw = torch.Generator(card.device).manual_seed(1)
    for key, shape in nava("nava_core.checkpoint").expected_shapes(config).items():
        weight = torch.randn(shape, device=card.device, generator=draw) * 0.02
        layer = key.removesuffix(".weight")
        entries = {key: weight.to(torch.float32 if kind == "float32" else card.dtype)}
        if convert.is_fp8_layer(key) and kind.startswith("fp8"):
            rows, scale = convert.quantized_rows(weight)
            entries = {key: rows, layer + ".weight_scale": scale}
            entries = fp8.in_hosts_layout(entries) if kind == "fp8_fast" else entries
        elif convert.is_fp8_layer(key) and kind == "int8" and host_formats.fits(kind, shape):
            entries = {layer + suffix: entry for suffix, entry in host_formats.packed(kind, weight).items()}
        weights |= {k: v.cpu() for k, v in entries.items()}
    if kind == "fp8":
        return weights, {"dtype": card.dtype, "operations": fp8.RowScaledOps}
    return weights, {"dtype": {"bf16": card.dtype, "float32": torch.float32}.get(kind)}


def patcher_of(nava, config, kind: str, card: Card):
    weights, options = weights_as(nava, config, kind, card)

    def build(disable_dynamic: bool = False):
        return nava("nodes.host").build_patcher(dict(weights), config, disable_dynamic=disable_dynamic, **options)

    patcher = build()
    patcher.cached_patcher_init = (build, ())  # as a loaded file's: what cannot be dynamic is made anew from it
    return patcher


def with_kernel(nava, patcher, kernel: str):
    return nava("nodes.attention").NavaAttention.execute(patcher, kernel)[0]


@cache
def complaint(attention, name: str, card: Card) -> str | None:
    """Why a kernel does not compute here, or None: the host's functions only log it and compute otherwise."""
    said = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())
    q = torch.randn(1, 1, 256, 128, device=card.device, dtype=card.dtype)
    logging.getLogger().addHandler(handler)
    try:
        attention.function_of(name)(q, q, q, 1, skip_reshape=True, skip_output_reshape=True)
    except RuntimeError as error:
        said.append(str(error))
    finally:
        logging.getLogger().removeHandler(handler)
    return said[0].splitlines()[0] if said else None


def kernels_here(nava, card: Card) -> dict[str, str | None]:
    """Kernels whose packages are installed -> why one does not compute here, or None."""
    attention = nava("nodes.attention")
    installed = [name for name in attention.KERNELS if attention.function_of(name) is not None]
    return {name: complaint(attention, name, card) for name in installed}


def one_pass(patcher, size, card: Card):
    """A call of the network at this size, as ComfyUI's sampler makes it; the model is loaded for it."""
    from comfy import model_management

    model, config = patcher.model, patcher.model.nava_config
    dtype, steps = model.get_dtype_inference(), math.ceil((4 * (size[0] - 1) + 1) * 25 / 24)
    needed = model.memory_required([1, 1, config.vid_in_dim * math.prod(size)])
    model_management.load_models_gpu([patcher], memory_required=needed)
    draw = torch.Generator().manual_seed(2)
    latents = [
        torch.randn(1, config.vid_in_dim, *size, generator=draw),
        torch.randn(1, 8, steps, config.audio_in_dim // 8, generator=draw),
    ]
    latents = [latent.to(card.device, dtype) for latent in latents]
    context = torch.randn(1, config.text_len, config.dim, generator=draw).to(card.device, dtype)
    t = torch.full((1,), 500.0, device=card.device)
    options = {**patcher.model_options["transformer_options"], "prefetch_dynamic_vbars": patcher.is_dynamic()}
    return lambda: model.diffusion_model(latents, t, context, dict(options)), steps


def dynamic_vram() -> bool:
    from comfy import memory_management

    return memory_management.aimdo_enabled


def made_free() -> None:
    from comfy import model_management

    gc.collect()
    model_management.unload_all_models()
    model_management.soft_empty_cache()
