"""What guidance, caching, the number of steps and formats of weights do: one prompt list under each setting, against the first."""

from dataclasses import dataclass
from pathlib import Path

import report
from intervals import difference

ALIGN = (0, 1, 2, 3, 5)
STEPS = (4, 10, 20, 30, 50)
FORMATS = ("bf16", "fp8", "int8", "mxfp8", "nvfp4", "q8_0")
KERNELS = ("pytorch", "cudnn", "sage")
AS_STORED = "NavaModelLoader.weight_dtype=default"  # also where the first row computes in float32
SHOWN = (
    "sync_f1",
    "sync_correlation",
    "sync_lag_size",
    "voice_own",
    "voice_nearest",
    "picture_flicker",
    "picture_off",
    "sound_off",
    "seconds_taken",
)


@dataclass(frozen=True)
class Variant:
    name: str
    title: str
    set: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    dtype: str | None = None  # the model file is converted to it first


class StudyError(ValueError):
    """A study that cannot be made as asked; the message says why."""


def variants(only: str | None = None) -> list[Variant]:
    """The first is what the others are compared with: the workflow's own settings. only: names of others, with commas, in their order.

    Formats, attention and our own cache are no part of a whole study: they are named.
    """
    out = [Variant("base", "as the workflow says")]
    for scale in ALIGN:
        settings = (f"NavaGuider.video_align={scale}", f"NavaGuider.audio_align={scale}")
        out.append(Variant(f"align_{scale}", f"both alignment scales {scale}", settings))
    out.append(Variant("no_timbre", "without timbre guidance", ("NavaGuider.audio_timbre=0",)))
    out.append(Variant("easycache", "EasyCache, its defaults", (), ("EasyCache",)))
    out += [Variant(f"steps_{n}", f"{n} steps", (f"NavaScheduler.steps={n}",)) for n in STEPS]
    if only is None:
        return out
    out.append(Variant("step_cache", "NavaStepCache, its defaults", (), ("NavaStepCache",)))
    for name in KERNELS:
        settings = (AS_STORED, f"NavaAttention.kernel={name}")
        out.append(Variant(f"attention_{name}", f"attention by {name}", settings, ("NavaAttention",)))
    out += [Variant(name, f"weights in {name}", (AS_STORED,), dtype=name) for name in FORMATS]
    out.append(Variant("fp8_fast", "computed in fp8", ("NavaModelLoader.weight_dtype=fp8_e4m3fn_fast",)))
    known, names = {v.name: v for v in out}, list(dict.fromkeys(name.strip() for name in only.split(",")))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StudyError(f"--only {only}: there is no {', '.join(unknown)}; a study has {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(("base", *names))]


def table(folder: Path, only: str | None = None) -> str:
    """Markdown: each variant's means with intervals, and ↑ or ↓ where it differs from the first (paired, p < 0.05)."""
    known = {v: report.read(folder / v.name) for v in variants(only)}
    base = next(iter(known.values()))
    columns = [s for s in SHOWN if any(report.values(notes, s) for notes in known.values())]
    lines = [
        "Means over prompts with 95 % intervals (bootstrap over prompts). ↑ and ↓: higher or lower than the first row over the "
        "same prompts and seeds, sign-flip test over prompts, p < 0.05, each score by itself.", "",
        "| setting | " + " | ".join(report.SCORES[s][0] for s in columns) + " |", "|---" * (len(columns) + 1) + "|",
    ]  # fmt: skip
    for variant, notes in known.items():
        scores = report.summary(notes)
        cells = []
        for name in columns:
            if name not in scores:
                cells.append("not measured")
                continue
            found = scores[name]
            against = difference(report.values(base, name), report.values(notes, name))
            sign = "" if against is None or against.p >= 0.05 else " ↑" if against.mean > 0 else " ↓"
            cells.append(
                f"{report.number(found.mean)} ({report.number(found.low)} … {report.number(found.high)}){sign}"
            )
        lines.append(f"| {variant.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
