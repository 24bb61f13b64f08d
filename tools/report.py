"""Scores of a folder of clips -> JSON, a Markdown table, a page that plays; and two folders compared."""

import html
import json
import math
from pathlib import Path
from urllib.parse import quote

from intervals import Interval, difference, interval

# score -> (what it is, whether more is better: None where neither is)
SCORES = {
    "sync_f1": ("sound and picture events that meet, two-way F1", True),
    "sync_precision": ("sounds that have an event", True),
    "sync_recall": ("events that have a sound", True),
    "sync_av_align": ("AV-Align", True),
    "sync_correlation": ("correlation of onset and event curves", True),
    "sync_lag": ("lag of the sound, s", None),
    "sync_lag_size": ("size of the lag, s", False),
    "sync_sharpness": ("sharpness of the lag", True),
    "voice_own": ("cosine to its own voice", True),
    "voice_other": ("cosine to other voices", False),
    "voice_nearest": ("lines nearest to their own voice", True),
    "sound_loudness": ("loudness, LUFS", None),
    "sound_clipped": ("clipped samples", False),
    "sound_silence": ("silence", None),
    "sound_dc": ("DC offset", False),
    "sound_balance": ("balance, -1 left to 1 right", None),
    "sound_bandwidth": ("bandwidth, Hz", None),
    "picture_stillness": ("frames that repeat the one before", False),
    "picture_flicker": ("flicker", False),
    "picture_drift": ("drift from the first picture", None),
    "picture_jump": ("jump after the first picture", False),
    "picture_off": ("picture away from the first row's, % of its range", None),
    "sound_off": ("sound away from the first row's, % of its loudness", None),
    "seconds_taken": ("seconds to make a clip (the first one loads the models)", None),
}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em; background: #14161a; color: #ddd }}
table {{ border-collapse: collapse }} td, th {{ padding: .2em .8em; text-align: left; border-bottom: 1px solid #333 }}
.clips {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 1.2em; margin-top: 1.5em }}
figure {{ margin: 0 }} video, audio {{ width: 100%; background: #000 }} figcaption {{ overflow-wrap: anywhere }}
small {{ color: #999 }}
</style>
<h1>{title}</h1>
{table}
<div class="clips">
{clips}
</div>
<script>
// one clip sounds at a time
document.addEventListener("play", (event) => {{
  for (const media of document.querySelectorAll("video, audio")) if (media !== event.target) media.pause();
}}, true);
</script>
</html>
"""


class ReportError(ValueError):
    """There is nothing to report."""


def read(folder: Path) -> list[dict]:
    """What is known of every finished and measured clip of an evaluation."""
    notes = [json.loads(f.read_text(encoding="utf-8")) for f in sorted((folder / "clips").glob("*.json"))]
    found = [n for n in notes if "scores" in n and (folder / "clips" / n["file"]).exists()]
    for note in found:
        note["scores"]["seconds_taken"] = note["seconds_taken"]
    if not found:
        raise ReportError(f"{folder} holds no measured clips")
    return found


def values(notes: list[dict], score: str) -> dict[tuple[str, int], float]:
    return {(n["row"], n["seed"]): n["scores"][score] for n in notes if n["scores"].get(score) is not None}


def summary(notes: list[dict]) -> dict[str, Interval]:
    out = {}
    for score in SCORES:
        known = values(notes, score)
        if known:
            out[score] = interval(list(known.values()), [row for row, _ in known])
    return out


def number(value: float) -> str:
    return "–" if math.isinf(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def markdown(scores: dict[str, Interval], notes: list[dict], failed: list[str]) -> str:
    from measure import NOT_MEASURED

    lines = [
        f"{len(notes)} clips of {len({n['row'] for n in notes})} prompts. Means over prompts with their 95 % intervals "
        "(bootstrap over prompts).", "",
        "| score | mean | 95 % interval | clips |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, found in scores.items():
        lines.append(
            f"| {SCORES[name][0]} | {number(found.mean)} | {number(found.low)} … {number(found.high)} | {found.count} |"
        )
    lines += ["", *(f"- {line}" for line in NOT_MEASURED)]
    reasons: dict[str, int] = {}
    for note in notes:
        for reason in note["notes"]:
            reasons[reason] = reasons.get(reason, 0) + 1
    lines += [f"- in {count} clips: {reason}" for reason, count in sorted(reasons.items())]
    lines += [f"- **failed**: {line}" for line in failed]
    return "\n".join(lines) + "\n"


def json_number(value):
    """JSON knows no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(folder: Path, failed: list[str]) -> str:
    """Write evaluation.json, evaluation.md and index.html; return the table."""
    notes = read(folder)
    scores = summary(notes)
    table = markdown(scores, notes, failed)
    content = {
        "scores": {k: {f: json_number(x) for f, x in vars(v).items()} for k, v in scores.items()},
        "clips": notes,
        "failed": failed,
    }
    (folder / "evaluation.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(table, encoding="utf-8")
    (folder / "index.html").write_text(page(folder.resolve().name, scores, notes), encoding="utf-8")
    return table


def page(title: str, scores: dict[str, Interval], notes: list[dict]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(SCORES[k][0])}<td>{number(v.mean)}<td>{number(v.low)} … {number(v.high)}<td>{v.count}"
        for k, v in scores.items()
    )
    table = f"<table><tr><th>score<th>mean<th>95 % interval<th>clips{rows}</table>"
    return PAGE.format(title=html.escape(title), table=table, clips="\n".join(figure(n) for n in notes))


def figure(note: dict) -> str:
    source = "clips/" + quote(note["file"])
    kind = "video" if note["file"].endswith((".mp4", ".webm")) else "audio"
    shown = [f"{name.split('_', 1)[1]} {number(note['scores'][name])}"
             for name in ("sync_f1", "sync_correlation", "sync_lag", "voice_own") if note["scores"].get(name) is not None]  # fmt: skip
    return (
        f'<figure><{kind} controls loop preload="metadata" src="{source}"></{kind}><figcaption>'
        f"{html.escape(note['row'])}, seed {note['seed']} <small>{html.escape(' · '.join(shown))}</small><br>"
        f"<small>{html.escape(note['prompt'])}</small></figcaption></figure>"
    )


def compare(first: Path, second: Path) -> str:
    """A Markdown table of second - first over the prompts and seeds that both have."""
    one, two = read(first), read(second)
    changed = {n["row"]: n["prompt"] for n in one}
    other = {n["row"]: n["prompt"] for n in two}
    if any(changed[row] != other[row] for row in changed.keys() & other.keys()):
        raise ReportError(f"{first} and {second} have rows of the same name with different prompts")
    lines = [
        f"{second} minus {first}, same prompts and seeds. p: sign-flip test over prompts, two-sided, each score by itself.",
        "", "| score | difference | 95 % interval | p | pairs (prompts) | |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, (title, more) in SCORES.items():
        found = difference(values(one, name), values(two, name))
        if found is None:
            continue
        verdict = ""
        if more is not None and found.p < 0.05:
            verdict = "better" if (found.mean > 0) == more else "worse"
        lines.append(
            f"| {title} | {found.mean:+.3f} | {number(found.low)} … {number(found.high)} | {found.p:.3f} "
            f"| {found.count} ({found.prompts}) | {verdict} |"
        )
    if len(lines) == 4:
        raise ReportError(f"{first} and {second} have no prompt and seed in common")
    return "\n".join(lines)
