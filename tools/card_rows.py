"""What is measured of a graphics card: each function makes a row of the report, or several."""

import itertools
import math
import re
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

import torch
from bench import compared, flops, matrix_rate, timed
from card import Card, kernels_here, one_pass, patcher_of, tells_of_a_wait, with_kernel

ATTENTION = (1, 24, 32712, 128)  # batch, heads, tokens and head size of a pass at 1280x704, 145 frames
COMPARED = (7, 30, 52)  # where formats and kernels are compared with float32
BACKENDS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
STEPS = 3
LEFT_FREE = 6e9  # bytes of VRAM left when most of the weights shall not fit
# kernels of a profile, by their names: what they do; the first that fits counts
WORK = {
    "attention": r"flash|fmha|attn|attention|sdpa|per_(block|warp|thread)_int8|MeanScale|TransposePadPermute|QuantInt8|SubMean",
    "matrices": r"gemm|nvjet|cutlass|xmma|gemv|cublas|matmul|scaled_mm|_mm_",
    "copies": r"^Memcpy|^Memset",
}


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
    waits = [w for w in warned if tells_of_a_wait(w)]
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
