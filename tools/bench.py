"""Speed, memory and precision of the transformer, as ratios from one run. Runs in the pack's virtual environment.

Small sizes on the CPU; the released configuration (random weights) when there is an NVIDIA GPU.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environment
import torch
from trace_memory import PeakMemory

sys.path.insert(0, str(environment.ROOT))
import nava_core
from nava_core import NavaConfig, NavaTransformer, checkpoint, convert
from nava_core.sizes import ClipLength

sys.path.remove(str(environment.ROOT))

DATA = environment.ROOT / "tests" / "data"
MID = NavaConfig(dim=1024, num_heads=8, num_double_layers=2, num_single_layers=4, ffn_dim=4096)
SMALL = NavaConfig(dim=512, num_heads=4, num_double_layers=2, num_single_layers=4, ffn_dim=2048)


def timed(function, device="cpu", repeats: int = 5) -> float:
    """Median seconds of a call, after one to warm up."""
    seconds = []
    for i in range(repeats + 1):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        if i:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def matrix_rate(device="cpu", dtype=torch.float32, size: int = 2048) -> float:
    """FLOP/s of torch's own matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / timed(lambda: a @ b, device, 9)


def flops(config: NavaConfig, grid: tuple[int, int, int], audio: int) -> float:
    """Multiply-adds times two of one joint pass."""
    c, video = config, math.prod(grid)
    n, d = video + audio, config.dim
    blocks = c.num_double_layers + c.num_single_layers
    attention = blocks * (4 * n * n * d + 4 * n * c.text_len * d)
    per_token = blocks * n * 2 * (6 * d * d + 2 * d * c.ffn_dim)  # q k v o, cross q o, feed-forward
    context = (2 * c.num_double_layers + c.num_single_layers) * c.text_len * 2 * 2 * d * d
    text = c.text_len * 2 * (c.text_dim * d + d * d)
    patches = video * 2 * 4 * d * (c.vid_in_dim + c.vid_out_dim)
    sound = audio * 2 * (7 * (c.audio_in_dim * d + 3 * d * c.audio_mlp_dim) + d * c.audio_out_dim)
    return attention + per_token + context + text + patches + sound


def random_model(config: NavaConfig, device="cpu", dtype=torch.float32, operations=None) -> NavaTransformer:
    model = NavaTransformer(config, device=device, dtype=dtype, **({"operations": operations} if operations else {}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return model.eval().requires_grad_(False)


def inputs(config: NavaConfig, size: tuple[int, int, int] | None, steps: int, device="cpu", dtype=torch.float32):
    """(video, audio, timestep, context) of random numbers."""
    video = None if size is None else torch.randn(1, config.vid_in_dim, *size, device=device, dtype=dtype)
    audio = torch.randn(1, steps, config.audio_in_dim, device=device, dtype=dtype)
    context = torch.randn(1, config.text_len, config.text_dim, device=device, dtype=dtype)
    return video, audio, torch.tensor([500.0], device=device), context


def speed(name: str, config: NavaConfig, size, steps: int, device="cpu", dtype=torch.float32) -> dict:
    """One row of the speed table; the machine's matrix rate is measured before and after and the better one counts."""
    model = random_model(config, device, dtype)
    arguments = inputs(config, size, steps, device, dtype)
    rate = matrix_rate(device, dtype)
    seconds = timed(lambda: model(*arguments), device)
    rate = max(rate, matrix_rate(device, dtype))
    grid = (size[0], math.ceil(size[1] / 2), math.ceil(size[2] / 2))
    work = flops(config, grid, steps)
    tokens = math.prod(grid) + steps
    if device == "cpu":
        with PeakMemory() as memory:
            model(*arguments)
        peak = memory.peak
    else:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model(*arguments)
        peak = torch.cuda.max_memory_allocated() - before
    return {
        "name": name,
        "tokens": tokens,
        "gflop": round(work / 1e9, 1),
        "ms_per_pass": round(seconds * 1e3, 1),
        "of_matrix_rate": round(work / seconds / rate, 3),
        "matrix_gflops": round(rate / 1e9, 1),
        "peak_mb": round(peak / 1e6, 1),
        "estimated_mb": round(config.activation_values(tokens, 1, dtype.itemsize) * dtype.itemsize / 1e6, 1),
    }


def against_plain() -> dict:
    """The mid size with torch's own Linear, in the same run."""
    arguments = inputs(MID, (7, 22, 40), 26)
    ours, plain = random_model(MID), random_model(MID, operations=torch.nn)
    seconds = {"ours": [], "plain": []}
    for _ in range(3):  # interleaved, for the machine is not quiet
        seconds["ours"].append(timed(lambda: ours(*arguments), repeats=2))
        seconds["plain"].append(timed(lambda: plain(*arguments), repeats=2))
    return {"speedup": round(statistics.median(seconds["plain"]) / statistics.median(seconds["ours"]), 2)}


def text_memory() -> dict:
    """Steps with remembered text keys and values against steps without, sound alone and with picture."""
    model, found = random_model(MID), {}
    for name, size, steps in (("sound alone", None, 150), ("picture and sound", (7, 22, 40), 26)):
        video, audio, t, context = inputs(MID, size, steps)
        rows = model.embed_context(context)
        memory = {}
        without = timed(lambda v=video, a=audio, t=t, r=rows: model.velocity(v, a, t, r))
        with_ = timed(lambda v=video, a=audio, t=t, r=rows, m=memory: model.velocity(v, a, t, r, text_memory=m))
        found[name] = round(without / with_, 3)
    return found


def fp8_weights(model: NavaTransformer) -> None:
    """Round the weights that the released fp8 file rounds, in place."""
    for key, parameter in model.named_parameters():
        if convert.is_fp8_layer(key):
            rows, scale = convert.quantized_rows(parameter)
            parameter.copy_(checkpoint.dequantized_rows(rows, scale, parameter.dtype))


def compared(found: torch.Tensor, wanted: torch.Tensor) -> dict:
    found, wanted = found.double().flatten(), wanted.double().flatten()
    return {
        "cosine": round(torch.cosine_similarity(found, wanted, dim=0).item(), 6),
        "relative_error": round(((found - wanted).norm() / wanted.norm()).item(), 5),
    }


def precision() -> list[dict]:
    """bf16, and fp8 weights in float32 and bf16, against float32: one pass, and a whole guided run."""
    rows = []
    for name, make, size, steps in (
        ("golden", lambda: nava_core.load_transformer(DATA / "nava_tiny.safetensors"), (3, 4, 6), 7),
        ("mid", lambda: random_model(MID), (3, 12, 20), 10),
    ):
        torch.manual_seed(0)
        model = make()
        video, audio, t, context = inputs(model.config, size, steps)
        guidance, sigmas = nava_core.Guidance(), nava_core.flow_sigmas(8)
        reference = {k: v.clone() for k, v in model.state_dict().items()}

        def run(model=model, video=video, audio=audio, t=t, context=context, sigmas=sigmas, guidance=guidance):
            kind = model.head.head.weight.dtype
            one = model(video.to(kind), audio.to(kind), t, context.to(kind))

            class Cast:  # the solver and the guidance stay in float32, as in ComfyUI
                config = model.config

                def embed_context(self, *rows):
                    return model.embed_context(*(r.to(kind) for r in rows))

                def velocity(self, video, audio, *rest, **options):
                    return tuple(x.float() for x in model.velocity(video.to(kind), audio.to(kind), *rest, **options))

            end = nava_core.sample(Cast(), video, audio, context, -context, sigmas=sigmas, guidance=guidance)
            return torch.cat([x.flatten().float() for x in one]), torch.cat([x.flatten() for x in end])

        wanted = run()
        for kind, change in (("bf16", None), ("fp8 weights", fp8_weights), ("fp8 weights, bf16", fp8_weights)):
            model.load_state_dict(reference)
            if change:
                change(model)
            if "bf16" in kind:
                model.bfloat16()
            found = run()
            for what, a, b in zip(("one pass", "8 guided steps"), found, wanted, strict=True):
                rows.append({"model": name, "kind": kind, "what": what, **compared(a, b)})
            model.float()
    return rows


def loading() -> dict:
    """Peak memory of loading a bf16 file of the released layout, of more than 4 GB, in a process of its own."""
    config = NavaConfig(num_double_layers=4, num_single_layers=5)
    shapes = checkpoint.expected_shapes(config)
    layout = {f"backbone.{k}": (torch.bfloat16, s) for k, s in shapes.items()}
    with tempfile.TemporaryDirectory(dir=environment.CACHE) as folder:
        path = Path(folder) / "large.safetensors"
        tensors = (torch.full(s, 0.01, dtype=torch.bfloat16) for _, s in layout.values())
        convert.write_safetensors(path, layout, {}, tensors)
        code = f"""
import importlib, json, os, sys, threading, time
sys.path.insert(0, {str(environment.ROOT / "tests")!r})
import conftest, torch
load = importlib.import_module("comfyui_nava.nodes.load")
def resident():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {{k: int(fields[k].split()[0]) * 1024 for k in ("VmRSS", "RssAnon")}}
before, peak, done = resident(), {{"VmRSS": 0, "RssAnon": 0}}, False
def watch():
    while not done:
        for k, v in resident().items():
            peak[k] = max(peak[k], v)
        time.sleep(0.01)
thread = threading.Thread(target=watch); thread.start()
model = load.load_model({str(path)!r}, "bf16")
total = sum(float(p.float().sum()) for p in model.model.diffusion_model.parameters())  # every weight is touched
done = True; thread.join()
print(json.dumps({{k: peak[k] - before[k] for k in peak}}))
"""
        variables = {**os.environ, "NAVA_HOST": os.environ["NAVA_HOST"]}
        out = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        found, size = json.loads(out.stdout.splitlines()[-1]), path.stat().st_size
    return {
        "file_gb": round(size / 1e9, 2),
        "peak_resident_of_file": round(found["VmRSS"] / size, 3),
        "of_it_not_the_file_itself": round(found["RssAnon"] / size, 3),
    }


def on_gpu() -> list[dict]:
    rows = []
    for name, size in (("480p, 49 frames", (13, 30, 52)), ("1280x704, 145 frames", (37, 44, 80))):
        steps = ClipLength(size[0]).audio_steps
        rows.append(speed(f"released, bf16, {name}", NavaConfig(), size, steps, "cuda", torch.bfloat16))
    return rows


def plot(rows: list[dict]) -> str:
    """Share of the matrix rate and peak memory as an SVG."""
    width, line, left = 760, 54, 250
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{line * len(rows) + 60}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>',
        '<text x="12" y="24" font-size="15">One pass: speed against torch’s matrix product, and peak memory</text>',
    ]
    top_rate, top_memory = (max(r[k] for r in rows) for k in ("of_matrix_rate", "peak_mb"))
    for i, row in enumerate(rows):
        y = 44 + i * line
        speed_width, memory_width = (
            round((width - left - 130) * row[k] / top)
            for k, top in (("of_matrix_rate", top_rate), ("peak_mb", top_memory))
        )
        label = row["name"].replace("&", "&amp;").replace("<", "&lt;")
        parts.append(
            f'<text x="12" y="{y + 22}">{label}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{speed_width}" height="16" fill="#2f7d6d"/>'
            f'<text x="{left + speed_width + 6}" y="{y + 17}">{row["of_matrix_rate"]:.0%}, {row["ms_per_pass"]:g} ms</text>'
            f'<rect x="{left}" y="{y + 24}" width="{memory_width}" height="16" fill="#c98a2b"/>'
            f'<text x="{left + memory_width + 6}" y="{y + 37}">{row["peak_mb"]:g} MB</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def table(rows: list[dict]) -> None:
    if not rows:
        return
    widths = {k: max(len(k), *(len(str(r[k])) for r in rows)) for k in rows[0]}
    print("  ".join(k.ljust(w) for k, w in widths.items()))
    for row in rows:
        print("  ".join(str(row[k]).ljust(w) for k, w in widths.items()))
    print(flush=True)


SIZES = (
    ("dim 512, 3x22x40, 10 steps", SMALL, (3, 22, 40), 10),
    ("dim 512, 7x22x40, 26 steps", SMALL, (7, 22, 40), 26),
    ("dim 1024, 3x22x40, 10 steps", MID, (3, 22, 40), 10),
    ("dim 1024, 7x22x40, 26 steps", MID, (7, 22, 40), 26),
    ("dim 1024, 13x22x40, 52 steps", MID, (13, 22, 40), 52),
)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--load", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    report = {"torch": torch.__version__, "threads": torch.get_num_threads(), "complete": False, "speed": rows}

    def keep() -> None:  # what there is so far: a bench that is cut short has written what it had
        (options.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.out / "bench.svg").write_text(plot(rows), encoding="utf-8")

    with torch.inference_mode():
        for case in SIZES:
            rows.append(speed(*case))
            keep()
        if torch.cuda.is_available():
            rows += on_gpu()
        table(rows)
        report["against_plain_linear"] = against_plain()
        keep()
        report["text_memory_speedup"] = text_memory()
        keep()
        print("mid size against torch.nn.Linear:", report["against_plain_linear"])
        print("remembered text, speed-up:", report["text_memory_speedup"], "\n")
        report["precision"] = precision()
        table(report["precision"])
        if options.load:
            keep()
            report["loading"] = loading()
            print("loading:", report["loading"])
    report["complete"] = True
    keep()
    print(f"Wrote {options.out / 'bench.json'} and bench.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
