"""Whether the best of several seeds is better in a meter that did not choose it: over the clips of a finished evaluation."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import measure
import report
from intervals import difference

JUDGES = {"F1": "sync_f1", "correlation": "sync_correlation"}
CHOOSERS: dict[str, Callable[[dict], float | None]] = {
    "F1": lambda scores: scores.get("sync_f1"),
    "correlation": lambda scores: scores.get("sync_correlation"),
    "NavaBestOf's score": measure.node_score,
}
PAIRS = (
    ("F1", "correlation"), ("NavaBestOf's score", "correlation"), ("correlation", "F1"), ("F1", "F1"),
)  # fmt: skip


def chosen(notes: list[dict], chooser: Callable[[dict], float | None], judge: str) -> tuple[dict, dict, int]:
    """({prompt: judge's score of the best}, {prompt: mean of all its candidates}, candidates a prompt at most).

    Candidates that the judge cannot measure count 0, as in `nava_core.meters.score`; of equals, the mean is taken. Prompts with
    one candidate, or none that the chooser or the judge can measure, are left out.
    """
    groups = defaultdict(list)
    for note in notes:
        groups[note["row"]].append(note["scores"])
    best, mean, most = {}, {}, 0
    for row, candidates in groups.items():
        marks_of = [chooser(s) for s in candidates]
        judged = [s.get(judge) for s in candidates]
        if len(candidates) < 2 or all(m is None for m in marks_of) or all(j is None for j in judged):
            continue
        top = max(m for m in marks_of if m is not None)
        values = [j or 0.0 for j in judged]
        picked = [v for v, m in zip(values, marks_of, strict=True) if m == top]
        best[row, 0], mean[row, 0] = sum(picked) / len(picked), sum(values) / len(values)
        most = max(most, len(candidates))
    return best, mean, most


def table(folder: Path) -> str:
    """Markdown: for each pair of chooser and judge, the best against the mean of its candidates, paired over prompts."""
    notes = report.read(folder)
    lines = [
        "Best of the seeds of each prompt against the mean of them, over prompts. p: sign-flip test, two-sided. The last row is "
        "chosen and judged by the same meter: so much of a gain is the choosing itself.", "",
        "| chosen by | judged by | best | mean | difference | 95 % interval | p | prompts (seeds) |", "|---" * 8 + "|",
    ]  # fmt: skip
    for chooser, judge in PAIRS:
        best, mean, most = chosen(notes, CHOOSERS[chooser], JUDGES[judge])
        found = difference(mean, best)
        if found is None:
            continue
        averages = [sum(v.values()) / len(v) for v in (best, mean)]
        lines.append(
            f"| {chooser} | {judge} | {averages[0]:.3f} | {averages[1]:.3f} | {found.mean:+.3f} "
            f"| {report.number(found.low)} … {report.number(found.high)} | {found.p:.3f} | {found.prompts} ({most}) |"
        )
    if len(lines) == 4:
        raise report.ReportError(f"{folder} has no prompt with several measured seeds; make it with --seeds 8")
    return "\n".join(lines)
