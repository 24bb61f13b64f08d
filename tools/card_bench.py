"""What a graphics card makes of the released model inside ComfyUI: the report.

What matters most is measured first; when the time is up, the rest is listed as left out. Nothing is downloaded.
"""

import json
import sys
import time
from pathlib import Path

import torch
from bench import plot, table
from card import Card, dynamic_vram, hears_waits, inside_comfyui, kernels_here, made_free, patcher_of
from card_rows import (
    ATTENTION,
    COMPARED,
    LEFT_FREE,
    Errors,
    attention_rates,
    ceilings,
    compiled_steps,
    decoding,
    guided_steps,
    passes,
    profiled,
)

SIZES = {"480p": (37, 30, 52), "720p": (37, 44, 80)}  # latent frames, rows and columns of 145 frames
FORMATS = ("bf16", "fp8", "int8", "fp8_fast")
GROUPS = ("ceilings", "attention", "speed", "steps", "kernels", "errors", "decode")


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
            "waits_are_heard": hears_waits(card),
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
