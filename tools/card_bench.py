"""What a graphics card makes of the released model inside ComfyUI, with random weights.

What matters most is measured first; when the time is up, the rest is listed as left out. Nothing is downloaded.
"""

import gc
import importlib
import importlib.util
import itertools
import json
import logging
import math
import os
import re
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import environment
import torch
from bench import compared, flops, matrix_rate, plot, table, timed

ATTENTION = (1, 24, 32712, 128)  # batch, heads, tokens and head size of a pass at 1280x704, 145 frames
SIZES = {"480p": (37, 30, 52), "720p": (37, 44, 80)}  # latent frames, rows and columns of 145 frames
COMPARED = (7, 30, 52)  # where formats and kernels are compared with float32
FORMATS = ("bf16", "fp8", "int8", "fp8_fast")
BACKENDS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
GROUPS = ("ceilings", "attention", "speed", "steps", "kernels", "errors", "decode")
STEPS = 3
LEFT_FREE = 6e9  # bytes of VRAM left when most of the weights shall not fit
# kernels of a profile, by their names: what they do; the first that fits counts
WORK = {
    "attention": r"flash|fmha|attn|attention|sdpa|per_(block|warp|thread)_int8|MeanScale|TransposePadPermute|QuantInt8|SubMean",
    "matrices": r"gemm|nvjet|cutlass|xmma|gemv|cublas|matmul|scaled_mm|_mm_",
    "copies": r"^Memcpy|^Memset",
}


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


def ceilings(card: Card, side: int = 8192) -> dict:
    """What this card reaches at best: a matrix product, copies in its own memory (read and written), copies from RAM."""
    rate = matrix_rate(card.device, card.dtype, side)
    here = torch.empty(side * side * 16, dtype=torch.uint8, device=card.device)
    there, ram = torch.empty_like(here), torch.empty(here.shape, dtype=torch.uint8, pin_memory=card.is_gpu)
    return {
        "matrices_tflops": round(rate / 1e12, 1),
        "memory_gb_s": round(2 * here.numel() / timed(lambda: there.copy_(here), card.device) / 1e9, 1),
        "bus_gb_s": round(here.numel() / timed(lambda: there.copy_(ram, non_blocking=True), card.device) / 1e9, 1),
    }


def attention_rates(nava, card: Card, shape=ATTENTION) -> list[dict]:
    """Torch's own attention back ends, and what NavaAttention offers beside them, on random numbers."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (torch.randn(shape, device=card.device, dtype=card.dtype) for _ in range(3))
    batch, heads, tokens, size = shape
    work, rows = 4 * batch * heads * tokens**2 * size, []

    def torchs(name: str) -> torch.Tensor:
        with sdpa_kernel([getattr(SDPBackend, name)]):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    def nodes(name: str) -> torch.Tensor:
        function = nava("nodes.attention").function_of(name)
        return function(q, k, v, heads, skip_reshape=True, skip_output_reshape=True)

    calls = {name: partial(torchs, name) for name in (*BACKENDS, *(() if card.is_gpu else ("MATH",)))}
    others = (
        [name for name, why in kernels_here(nava, card).items() if why is None and name not in ("pytorch", "cudnn")]
        if card.is_gpu
        else []
    )
    calls |= {name: partial(nodes, name) for name in others}
    first = slice(0, 128)
    exact = torch.nn.functional.scaled_dot_product_attention(q[:, :, first].float(), k.float(), v.float())
    for name, call in calls.items():
        row = {"backend": name, "ms": None, "tflops": None, "error": None, "note": ""}
        try:
            row["error"] = compared(call()[:, :, first], exact)["relative_error"]
            seconds = timed(call, card.device)
            row |= {"ms": round(seconds * 1e3, 2), "tflops": round(work / seconds / 1e12, 1)}
        except RuntimeError as error:
            row["note"] = str(error).splitlines()[0][:60]
        rows.append(row)
    return rows


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


def passes(nava, patcher, kind: str, kernel: str, name: str, size, card: Card) -> dict:
    """One row of the table of passes."""
    patcher = with_kernel(nava, patcher, kernel)
    call, steps = one_pass(patcher, size, card)
    rate = matrix_rate(card.device, card.dtype, 8192 if card.is_gpu else 256)
    seconds, peak = timed(call, card.device, 2), card.peak_of(call)
    config = patcher.model.nava_config
    grid = (size[0], math.ceil(size[1] / 2), math.ceil(size[2] / 2))
    work, tokens = flops(config, grid, steps), math.prod(grid) + steps
    return {
        "name": f"{name}, {kind}, {kernel}",
        "ms_per_pass": round(seconds * 1e3, 1),
        "of_matrix_rate": round(work / seconds / rate, 3),
        "matrix_tflops": round(rate / 1e12, 1),
        "peak_mb": round(peak / 1e6, 1),
        "estimated_mb": round(config.activation_values(tokens) * 2 / 1e6, 1),
    }


def profiled(nava, patcher, kind: str, kernel: str, name: str, size, card: Card) -> dict:
    """Where a pass spends the card's time: milliseconds of kernels by what they do, and the longest of the rest."""
    from torch.profiler import ProfilerActivity, profile

    call, _ = one_pass(with_kernel(nava, patcher, kernel), size, card)
    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        call()
        torch.cuda.synchronize()
    spent, rest = dict.fromkeys((*WORK, "rest"), 0.0), {}
    for event in found.key_averages():
        if not (ms := event.self_device_time_total / 1e3):
            continue
        what = next((w for w, names in WORK.items() if re.search(names, event.key)), "rest")
        spent[what] += ms
        if what == "rest":
            rest[event.key] = rest.get(event.key, 0) + ms
    longest = sorted(rest, key=rest.get, reverse=True)[:6]
    return {
        "name": f"{name}, {kind}, {kernel}",
        **{f"{what}_ms": round(ms, 1) for what, ms in spent.items()},
        "longest": [f"{key[:90]}: {rest[key]:.1f} ms" for key in longest],
    }


def guided_steps(nava, patcher, kind: str, name: str, size, card: Card, free: float | None = None) -> dict:
    """Seconds of a guided step (three passes and a solver's step); free: bytes of VRAM to leave."""
    import comfy.sample
    from comfy import model_management
    from comfy.nested_tensor import NestedTensor

    model, config = patcher.model, patcher.model.nava_config
    steps = math.ceil((4 * (size[0] - 1) + 1) * 25 / 24)
    video, audio = torch.zeros(1, config.vid_in_dim, *size), torch.zeros(1, 8, steps, config.audio_in_dim // 8)
    latent, text = NestedTensor([video, audio]), [[torch.randn(1, config.text_len, config.text_dim), {}]]
    ballast, marks, rows = None, [], [1]
    if free is not None:
        model_management.unload_all_models()
        model_management.soft_empty_cache(True)
        taken = max(0, int(torch.cuda.mem_get_info()[0] - free))
        ballast = torch.empty(taken, dtype=torch.uint8, device="cuda")
    watched = patcher.clone()

    def watch(apply_model, given):
        rows.append(given["input"].shape[0])  # passes that ComfyUI computes together
        return apply_model(given["input"], given["timestep"], **given["c"])

    watched.set_model_unet_function_wrapper(watch)
    guider = nava("nodes.guide").NavaGuider.execute(watched, text, text, 3.0, 3.0, 2.0, 2.0, 0.0)[0]
    sigmas = nava("nodes.sample").NavaScheduler.execute(watched, STEPS, 5.0, 1.0)[0]
    sampler = nava("nodes.sample").NavaSamplerSelect.execute("unipc")[0]
    noise = comfy.sample.prepare_noise(latent, 1)

    def mark(*_):
        if card.is_gpu:
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        if card.is_gpu and 1 <= len(marks) < STEPS:
            torch.cuda.set_sync_debug_mode("warn")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = partial(guider.sample, noise, latent, sampler, sigmas, callback=mark, disable_pbar=True)
        peak = card.peak_of(run)
    waits = [w for w in warned if "called a synchronizing" in str(w.message)]
    lies_there = patcher.loaded_size()
    del ballast
    return {
        "name": f"{name}, {kind}{'' if free is None else f', {free / 1e9:.0f} GB free'}",
        "s_per_step": round(statistics.median(b - a for a, b in itertools.pairwise(marks)), 3),
        "waits_per_step": round(len(waits) / max(1, STEPS - 1), 2),
        "waits_at": sorted({f"{Path(w.filename).name}:{w.lineno}" for w in waits})[:4],
        "peak_mb": round(peak / 1e6, 1),
        "estimated_mb": round(model.memory_required([max(rows), 1, video.numel() + audio.numel()]) / 1e6, 1),
        "passes_at_once": max(rows),
        "weights_mb": round(patcher.model_size() / 1e6, 1),
        "in_vram_mb": round(lies_there / 1e6, 1),
    }


def compiled_steps(nava, patcher, kind: str, name: str, size, card: Card) -> dict:
    """As `guided_steps`, through ComfyUI's TorchCompileModel; the first step, which compiles, does not count."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    began = time.perf_counter()
    compiled = TorchCompileModel.execute(patcher, "inductor")[0]
    row = guided_steps(nava, compiled, f"{kind}, compiled", name, size, card)
    return {**row, "whole_s": round(time.perf_counter() - began, 1)}


class Errors:
    """A pass of each format and kernel against the same numbers in float32."""

    def __init__(self, nava, config, card: Card, size=COMPARED):
        self.nava, self.config, self.card, self.size, self.exact = nava, config, card, size, None

    def outputs(self, patcher, kernel: str) -> list[torch.Tensor]:
        call, _ = one_pass(with_kernel(self.nava, patcher, kernel), self.size, self.card)
        return [x.float().cpu() for x in call()]

    def begin(self) -> list[dict]:
        patcher = patcher_of(self.nava, self.config, "float32", self.card)
        self.exact = self.outputs(patcher, "pytorch")
        return []

    def row(self, patcher, kind: str, kernel: str) -> dict:
        if self.exact is None:
            raise RuntimeError("there is no float32 pass to compare with")
        errors = [
            compared(a, b)["relative_error"] for a, b in zip(self.outputs(patcher, kernel), self.exact, strict=True)
        ]
        return {"name": f"{kind}, {kernel}", "picture": errors[0], "sound": errors[1]}


def decoding(name: str, size, card: Card) -> dict:
    """Seconds to decode a picture with the released sizes of the Wan 2.2 VAE, random weights."""
    import comfy.sd
    from comfy.ldm.wan.vae2_2 import WanVAE

    released = {"dim": 160, "dec_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
    with torch.device("meta"):
        shapes = {
            k: v.shape for k, v in WanVAE(**released, temperal_downsample=[False, True, True]).state_dict().items()
        }
    vae = comfy.sd.VAE(sd={k: torch.randn(s) * 0.02 for k, s in shapes.items()})
    latent = torch.randn(1, 48, *size)
    seconds, peak = timed(lambda: vae.decode(latent), card.device, 1), card.peak_of(lambda: vae.decode(latent))
    estimated = vae.memory_used_decode(latent.shape, vae.vae_dtype)
    return {
        "name": f"decode {name}, {str(vae.vae_dtype).removeprefix('torch.')}",
        "s": round(seconds, 2),
        "peak_mb": round(peak / 1e6, 1),
        "estimated_mb": round(estimated / 1e6, 1),
    }


class Report:
    """What has been measured so far, and what was left out; written after every row."""

    def __init__(self, nava, card: Card, keep):
        self.card, self.keep, self.began = card, keep, time.monotonic()
        self.found = {
            "device": torch.cuda.get_device_name() if card.is_gpu else "cpu",
            "torch": torch.__version__,
            "auto": nava("nodes.attention").auto_choice()[1],
            "fused": {name: nava("nodes.kernels").has_kernel(name) for name in ("apply_rope1_", "adaln")},
            "dynamic_vram": dynamic_vram(),
            "complete": False,
            "left_out": [f"{name}: {why}" for name, why in kernels_here(nava, card).items() if why],
            **{group: [] for group in GROUPS},
        }

    def is_late(self, what: str) -> bool:
        if late := time.monotonic() > self.card.until:
            self.found["left_out"].append(what)
        return late

    def row(self, group: str, what: str, make, *args) -> None:
        """Adds what `make(*args)` gives, a row or several, if there is time; one that fails does not take the rest."""
        if self.is_late(what):
            return
        try:
            made = make(*args)
        except (RuntimeError, ValueError, TypeError, AttributeError, ImportError) as error:
            self.found["left_out"].append(f"{what}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            return
        self.found[group] += made if isinstance(made, list) else [made]
        self.found["seconds"] = round(time.monotonic() - self.began, 1)
        print(f"{self.found['seconds']:7.1f} s  {what}", flush=True)
        self.keep(self.found)


def dynamic_vram() -> bool:
    from comfy import memory_management

    return memory_management.aimdo_enabled


def of_format(report: Report, nava, errors: Errors, kind: str, sizes: dict, card: Card) -> None:
    """All rows of one weight format whose weights need not cross the bus twice."""
    if report.is_late(kind):
        return
    patcher = patcher_of(nava, errors.config, kind, card)
    for kernel in (name for name, why in kernels_here(nava, card).items() if why is None):
        report.row("errors", f"{kind}, {kernel}, errors", errors.row, patcher, kind, kernel)
        for name, size in sizes.items():
            report.row("speed", f"{name}, {kind}, {kernel}", passes, nava, patcher, kind, kernel, name, size, card)
    largest, size = list(sizes.items())[-1]
    for name in sizes:
        report.row("steps", f"{name}, {kind}, steps", guided_steps, nava, patcher, kind, name, sizes[name], card)
    if card.is_gpu:
        what = f"{largest}, {kind}, offloaded"
        report.row("steps", what, guided_steps, nava, patcher, kind, largest, size, card, LEFT_FREE)
        what = f"{largest}, {kind}, kernels"
        report.row("kernels", what, profiled, nava, patcher, kind, "pytorch", largest, size, card)


def made_free() -> None:
    from comfy import model_management

    gc.collect()
    model_management.unload_all_models()
    model_management.soft_empty_cache()


def measure(
    nava, card: Card, config, sizes: dict, keep=lambda report: None, attention=ATTENTION, size=COMPARED
) -> dict:
    """Everything, in the order of its worth; `keep` gets the report as it grows."""
    report, errors = Report(nava, card, keep), Errors(nava, config, card, size)
    report.row("ceilings", "ceilings", ceilings, card, 8192 if card.is_gpu else 256)
    report.row("attention", "attention back ends", attention_rates, nava, card, attention)
    report.row("errors", "float32", errors.begin)
    for kind in FORMATS:
        made_free()
        of_format(report, nava, errors, kind, sizes, card)
        if card.is_gpu and kind == FORMATS[0]:
            made_free()
            report.row("decode", "decode", decoding, *list(sizes.items())[-1], card)
    if card.is_gpu:
        made_free()
        if not report.is_late("compiled"):
            patcher = patcher_of(nava, config, "bf16", card)
            for name, size in sizes.items():
                report.row("steps", f"{name}, compiled", compiled_steps, nava, patcher, "bf16", name, size, card)
    report.found["complete"] = not report.found["left_out"]
    keep(report.found)
    return report.found


def run(out: Path, until: float) -> int:
    """The whole bench on this machine's card, into `out`."""
    if not torch.cuda.is_available():
        print(
            "There is no NVIDIA or AMD card here that torch can use. `run.py bench` measures on the processor.",
            file=sys.stderr,
        )
        return 1
    out.mkdir(parents=True, exist_ok=True)
    nava = inside_comfyui(cpu=False)

    def keep(report: dict) -> None:
        (out / "bench_gpu.json").write_text(json.dumps(report, indent=1) + "\n")
        if report["speed"]:
            (out / "bench_gpu.svg").write_text(plot(report["speed"]), encoding="utf-8")

    with torch.inference_mode():
        report = measure(nava, Card("cuda", until), nava("nava_core").NavaConfig(), SIZES, keep=keep)
    print(report["device"], "·", report["auto"], "\n")
    for group in GROUPS:
        table([{k: v for k, v in row.items() if k not in ("longest", "waits_at")} for row in report[group]])
    for what in report["left_out"]:
        print("left out:", what)
    print(f"Wrote {out / 'bench_gpu.json'} and bench_gpu.svg")
    return 0
