"""What a graphics card makes of the released model inside ComfyUI, with random weights. Runs in the pack's virtual environment.

What matters most is measured first; when the time is up, the rest is listed as left out. Nothing is downloaded.
"""

import argparse
import importlib
import importlib.util
import itertools
import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import environment
import torch
from bench import flops, matrix_rate, plot, table, timed

MINUTES = 8.0
ATTENTION = (1, 24, 32712, 128)  # batch, heads, tokens and head size of a pass at 1280x704, 145 frames
SIZES = {"480p": (37, 30, 52), "720p": (37, 44, 80)}  # latent frames, rows and columns of 145 frames
FORMATS = ("bf16", "fp8", "int8")
BACKENDS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
GROUPS = ("attention", "speed", "steps", "decode")
STEPS = 4
LEFT_FREE = 8e9  # bytes of VRAM left when most of the weights shall not fit


@dataclass
class Card:
    """Where to measure, and for how long."""

    device: str
    until: float
    dtype: torch.dtype = torch.bfloat16

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"


def inside_comfyui(cpu: bool):
    """nava(name) -> a module of the pack's nodes, imported as ComfyUI imports it."""
    pack, host = "comfyui_nava", os.environ["NAVA_HOST"]
    if pack not in sys.modules:
        sys.path.insert(0, host)
        from comfy.cli_args import args

        args.cpu = cpu
        where = environment.ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location(pack, where, submodule_search_locations=[str(environment.ROOT)])
        sys.modules[pack] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return lambda name: importlib.import_module(f"{pack}.{name}")


def weights_as(nava, config, kind: str, card: Card) -> tuple[dict[str, torch.Tensor], dict]:
    """(random weights in a file's format, what `build_patcher` is to know), made on the card, kept in RAM."""
    convert, host_formats = nava("nava_core.convert"), nava("nava_core.host_formats")
    weights = {}
    for key, shape in nava("nava_core.checkpoint").expected_shapes(config).items():
        weight, layer = torch.randn(shape, device=card.device) * 0.02, key.removesuffix(".weight")
        entries = {key: weight.to(card.dtype)}
        if convert.is_fp8_layer(key) and kind == "fp8":
            rows, scale = convert.quantized_rows(weight)
            entries = {key: rows, layer + ".weight_scale": scale}
        elif convert.is_fp8_layer(key) and kind == "int8" and host_formats.fits(kind, shape):
            entries = {layer + suffix: entry for suffix, entry in host_formats.packed(kind, weight).items()}
        weights |= {k: v.cpu() for k, v in entries.items()}
    if kind == "fp8":
        return weights, {"dtype": card.dtype, "operations": nava("nodes.fp8_rows").RowScaledOps}
    return weights, {"dtype": card.dtype if kind == "bf16" else None}


def patcher_of(nava, config, kind: str, card: Card):
    weights, options = weights_as(nava, config, kind, card)
    return nava("nodes.host").build_patcher(weights, config, **options)


def with_kernel(nava, patcher, kernel: str):
    return nava("nodes.attention").NavaAttention.execute(patcher, kernel)[0]


def kernels_here(nava) -> list[str]:
    attention = nava("nodes.attention")
    return [name for name in attention.KERNELS if attention.function_of(name) is not None]


def attention_rates(card: Card, shape=ATTENTION) -> list[dict]:
    """Torch's own attention back ends on random numbers."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (torch.randn(shape, device=card.device, dtype=card.dtype) for _ in range(3))
    batch, heads, tokens, size = shape
    work, rows = 4 * batch * heads * tokens**2 * size, []
    for name in (*BACKENDS, "MATH")[: None if not card.is_gpu else -1]:
        try:
            with sdpa_kernel([getattr(SDPBackend, name)]):
                seconds = timed(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v), card.device)
        except RuntimeError as error:
            rows.append({"backend": name, "ms": None, "tflops": None, "note": str(error).splitlines()[0][:60]})
        else:
            rows.append(
                {"backend": name, "ms": round(seconds * 1e3, 2), "tflops": round(work / seconds / 1e12, 1), "note": ""}
            )
    return rows


def one_pass(patcher, size, card: Card):
    """A call of the network at this size, as ComfyUI's sampler makes it; the model is loaded for it."""
    from comfy import model_management

    model, config = patcher.model, patcher.model.nava_config
    dtype, steps = model.get_dtype_inference(), math.ceil((4 * (size[0] - 1) + 1) * 25 / 24)
    needed = model.memory_required([1, 1, config.vid_in_dim * math.prod(size)])
    model_management.load_models_gpu([patcher], memory_required=needed)
    latents = [torch.randn(1, config.vid_in_dim, *size), torch.randn(1, 8, steps, config.audio_in_dim // 8)]
    latents = [latent.to(card.device, dtype) for latent in latents]
    context = torch.randn(1, config.text_len, config.dim, device=card.device, dtype=dtype)
    t = torch.full((1,), 500.0, device=card.device)
    options = {**patcher.model_options["transformer_options"], "prefetch_dynamic_vbars": patcher.is_dynamic()}
    return lambda: model.diffusion_model(latents, t, context, dict(options)), steps


def passes(nava, patcher, kind: str, kernel: str, name: str, size, card: Card, compiled: bool = False) -> dict:
    """One row of the table of passes."""
    patcher = with_kernel(nava, patcher, kernel)
    call, steps = one_pass(patcher, size, card)
    if compiled:
        call = torch.compile(call)
    rate = matrix_rate(card.device, card.dtype, 4096 if card.is_gpu else 256)
    seconds, peak = timed(call, card.device, 3), 0
    if card.is_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        peak = torch.cuda.max_memory_allocated() - before
    config = patcher.model.nava_config
    grid = (size[0], math.ceil(size[1] / 2), math.ceil(size[2] / 2))
    work, tokens = flops(config, grid, steps), math.prod(grid) + steps
    return {
        "name": f"{name}, {kind}, {kernel}{', compiled' if compiled else ''}",
        "ms_per_pass": round(seconds * 1e3, 1),
        "of_matrix_rate": round(work / seconds / rate, 3),
        "peak_mb": round(peak / 1e6, 1),
        "estimated_mb": round(config.activation_values(tokens) * 2 / 1e6, 1),
    }


def guided_steps(nava, patcher, kind: str, name: str, size, free: float | None = None) -> dict:
    """Seconds of a guided step (three passes and a solver's step), the model as it lies; free: bytes of VRAM to leave."""
    import comfy.sample
    from comfy import model_management
    from comfy.nested_tensor import NestedTensor

    config, steps = patcher.model.nava_config, math.ceil((4 * (size[0] - 1) + 1) * 25 / 24)
    video, audio = torch.zeros(1, config.vid_in_dim, *size), torch.zeros(1, 8, steps, config.audio_in_dim // 8)
    latent, text = NestedTensor([video, audio]), [[torch.randn(1, config.text_len, config.text_dim), {}]]
    ballast, marks = None, []
    if free is not None:
        model_management.unload_all_models()
        taken = max(0, int(torch.cuda.mem_get_info()[0] - free))
        ballast = torch.empty(taken, dtype=torch.uint8, device="cuda")
    guider = nava("nodes.guide").NavaGuider.execute(patcher, text, text, 3.0, 3.0, 2.0, 2.0, 0.0)[0]
    sigmas = nava("nodes.sample").NavaScheduler.execute(patcher, STEPS, 5.0, 1.0)[0]
    sampler = nava("nodes.sample").NavaSamplerSelect.execute("unipc")[0]
    noise = comfy.sample.prepare_noise(latent, 1)
    guider.sample(
        noise, latent, sampler, sigmas, callback=lambda *_: marks.append(time.perf_counter()), disable_pbar=True
    )
    del ballast
    seconds = [b - a for a, b in itertools.pairwise(marks)]
    return {
        "name": f"{name}, {kind}{'' if free is None else f', {free / 1e9:.0f} GB free'}",
        "s_per_step": round(statistics.median(seconds), 3),
    }


def decoding(size, card: Card) -> dict:
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
    seconds = timed(lambda: vae.decode(latent), card.device, 1)
    return {"name": f"decode {size[0]}x{size[1]}x{size[2]}", "s": round(seconds, 2)}


class Report:
    """What has been measured so far, and what was left out; written after every row."""

    def __init__(self, nava, card: Card, keep):
        self.card, self.keep = card, keep
        self.found = {
            "device": torch.cuda.get_device_name() if card.is_gpu else "cpu",
            "torch": torch.__version__,
            "auto": nava("nodes.attention").what_auto_takes(),
            "complete": False,
            "left_out": [],
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
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            self.found["left_out"].append(f"{what}: {str(error).splitlines()[0]}")
            return
        self.found[group] += made if isinstance(made, list) else [made]
        self.keep(self.found)


def of_format(report: Report, nava, config, kind: str, sizes: dict, card: Card) -> None:
    """All rows of one weight format."""
    if report.is_late(kind):
        return
    patcher = patcher_of(nava, config, kind, card)
    for kernel in kernels_here(nava):
        for name, size in sizes.items():
            report.row("speed", f"{name}, {kind}, {kernel}", passes, nava, patcher, kind, kernel, name, size, card)
    name, size = list(sizes.items())[-1]
    report.row("steps", f"{name}, {kind}, steps", guided_steps, nava, patcher, kind, name, size)
    if card.is_gpu:
        report.row("steps", f"{name}, {kind}, offloaded", guided_steps, nava, patcher, kind, name, size, LEFT_FREE)
        compiled = f"{name}, {kind}, compiled"
        report.row("speed", compiled, passes, nava, patcher, kind, "pytorch", name, size, card, True)


def measure(nava, card: Card, config, sizes: dict, keep=lambda report: None, attention=ATTENTION) -> dict:
    """Everything, in the order of its worth; `keep` gets the report as it grows."""
    report = Report(nava, card, keep)
    report.row("attention", "attention back ends", attention_rates, card, attention)
    for kind in FORMATS:
        of_format(report, nava, config, kind, sizes, card)
    if card.is_gpu:
        report.row("decode", "decode", decoding, list(sizes.values())[-1], card)
    report.found["complete"] = not report.found["left_out"]
    keep(report.found)
    return report.found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "There is no NVIDIA or AMD card here that torch can use. `run.py bench` measures on the processor.",
            file=sys.stderr,
        )
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    nava = inside_comfyui(cpu=False)

    def keep(report: dict) -> None:
        (options.out / "bench_gpu.json").write_text(json.dumps(report, indent=1) + "\n")
        if report["speed"]:
            (options.out / "bench_gpu.svg").write_text(plot(report["speed"]), encoding="utf-8")

    card = Card("cuda", time.monotonic() + options.minutes * 60)
    with torch.inference_mode():
        report = measure(nava, card, nava("nava_core").NavaConfig(), SIZES, keep=keep)
    print(report["device"], "·", report["auto"], "\n")
    for group in GROUPS:
        table(report[group])
    for what in report["left_out"]:
        print("left out:", what)
    print(f"Wrote {options.out / 'bench_gpu.json'} and bench_gpu.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
