"""Whose voice is heard: cosine of spoken spans to reference voices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_waveform
from .mouths import loudness_curve

STEP = 50  # a second, at which loudness is looked at
GAP = 0.25  # seconds of quiet that part two spans
SHORTEST = 0.25  # seconds in which a voice can be told
BELOW = 10 ** (-30 / 20)  # of the loudest: quieter is a pause
QUIET = 1e-3

Span = tuple[float, float]


@dataclass(frozen=True)
class SpanVoice:
    """start, end in seconds; cosines: to each reference, in order, or None when the span is too short or quiet to tell;
    own: the reference it should be nearest to, or None when unknown; right: whether it is (None: cannot be told)."""

    start: float
    end: float
    cosines: list[float] | None
    own: int | None
    right: bool | None


def voiced_spans(waveform: Tensor, sample_rate: int) -> list[Span]:
    """Stretches (start, end) in seconds of `waveform [C, N]` where something is heard, parted by quiet of 0.25 s."""
    check_waveform(waveform, sample_rate)
    count = int(waveform.shape[-1] / sample_rate * STEP) + 1
    loud = loudness_curve(waveform, sample_rate, STEP, count)
    heard = (loud > max(QUIET, BELOW * loud.max().item())).nonzero().flatten().tolist()
    spans: list[list[float]] = []
    for k in heard:
        at = k / STEP
        if spans and at - spans[-1][1] <= GAP:
            spans[-1][1] = at
        else:
            spans.append([at, at])
    end = waveform.shape[-1] / sample_rate
    half = 0.5 / STEP
    return [(max(0.0, a - half), min(end, b + half)) for a, b in spans if b - a + 2 * half >= SHORTEST]


def voice_match(
    waveform: Tensor,
    sample_rate: int,
    encode: Callable[[Tensor, int], Tensor],
    references: list[Tensor],
    spans: list[Span] | None = None,
    owners: Sequence[int | None] | None = None,
) -> list[SpanVoice]:
    """Compare every span of `waveform [C, N]` with the `references`, each `[D]`.

    encode(waveform, sample_rate) -> `[1, D]` or `[D]`: the speaker encoder that made the references. spans: (start, end) in
    seconds, or None for what `voiced_spans` finds; owners: per span the reference that should speak, None where any may; None:
    unknown, but with a single reference it is that one. Raises ValueError for no references, references of another encoder,
    unknown owners or spans outside of the sound.
    """
    check_waveform(waveform, sample_rate)
    if not references:
        raise ValueError("there is no voice to compare with")
    spans = voiced_spans(waveform, sample_rate) if spans is None else spans
    if owners is None and len(references) == 1:
        owners = [0] * len(spans)
    if owners is not None:
        if len(owners) != len(spans):
            raise ValueError(f"there are {len(spans)} spans and {len(owners)} owners; each span needs one")
        if not all(o is None or 0 <= o < len(references) for o in owners):
            raise ValueError(f"owners {owners} must be numbers of the {len(references)} voices, from 0")
    known = F.normalize(torch.stack([r.float().flatten().cpu() for r in references]), dim=-1)
    found = []
    for i, (start, end) in enumerate(spans):
        if not 0 <= start < end or start >= waveform.shape[-1] / sample_rate:
            raise ValueError(f"the span {start:g} to {end:g} s is not within the sound")
        part = waveform[:, round(start * sample_rate) : round(end * sample_rate)]
        own = owners[i] if owners is not None else None
        cosines = None
        if part.shape[-1] >= SHORTEST * sample_rate and part.abs().max() > QUIET:
            heard = F.normalize(encode(part, sample_rate).float().flatten().cpu(), dim=-1)
            if len(heard) != known.shape[-1]:
                raise ValueError("the voices were made with another speaker encoder")
            cosines = (known @ heard).tolist()
        right = None
        if cosines is not None and own is not None and len(cosines) > 1:
            right = max(range(len(cosines)), key=cosines.__getitem__) == own
        found.append(SpanVoice(start, end, cosines, own, right))
    return found


def as_lines(spans: list[Span], count: int) -> list[Span] | None:
    """Voiced spans joined over their shortest pauses until there are `count`; None when there are fewer."""
    if count < 1 or len(spans) < count:
        return None
    joined = list(spans)
    while len(joined) > count:
        i = min(range(len(joined) - 1), key=lambda i: joined[i + 1][0] - joined[i][1])
        joined[i : i + 2] = [(joined[i][0], joined[i + 1][1])]
    return joined


def line_voices(
    waveform: Tensor,
    sample_rate: int,
    encode: Callable[[Tensor, int], Tensor],
    references: list[Tensor],
    owners: Sequence[int | None],
) -> list[SpanVoice] | None:
    """As `voice_match`, of as many spoken lines as there are owners, told apart by pauses; None: fewer lines are heard."""
    spans = as_lines(voiced_spans(waveform, sample_rate), len(owners))
    if spans is None:
        return None
    return voice_match(waveform, sample_rate, encode, references, spans, owners)


@dataclass(frozen=True)
class VoiceScore:
    """Means over spans whose owner is known. own: cosine to it; other: to the other voices; nearest: share of them that are
    nearer to their own than to any other. None: cannot be measured."""

    own: float | None
    other: float | None
    nearest: float | None


def voice_score(found: list[SpanVoice]) -> VoiceScore:
    """What `voice_match` found, in three numbers."""
    told = [s for s in found if s.cosines is not None and s.own is not None]
    return VoiceScore(
        own=mean([s.cosines[s.own] for s in told]),
        other=mean([c for s in told for i, c in enumerate(s.cosines) if i != s.own]),
        nearest=mean([float(s.right) for s in told if s.right is not None]),
    )


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
