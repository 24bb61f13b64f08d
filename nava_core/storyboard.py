"""A scene of several shots, written as text."""

import math
import re
import unicodedata
from dataclasses import dataclass, field

from .sizes import FPS, FRAMES_PER_LATENT, MAX_SECONDS, ClipLength, latent_frames_more

# What word processors, phones and Chinese keyboards make of hyphens.
DASHES = "\u2010-\u2015\u2212\u2500\u2501\ufe58\ufe63\uff0d"
RULE = re.compile(rf"\s*([-{DASHES}]+)(.*)")
SECONDS = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:s|secs?|seconds?|秒)?", re.IGNORECASE)
GOES_ON, BEGINS = ("continue", "继续"), ("cut", "切")


class StoryboardError(ValueError):
    """The storyboard cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Shot:
    """seconds: its own length; goes_on: it continues the shot before, picture and sound, instead of a cut.

    rows: where its prompt stands in the text, (first line, line after the last).
    """

    prompt: str
    seconds: float
    goes_on: bool = False
    rows: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)

    @property
    def lasts(self) -> float:
        """Seconds that it adds to the clip: whole groups of four frames, and one frame more at a cut."""
        if self.goes_on:
            return latent_frames_more(self.seconds) * FRAMES_PER_LATENT / FPS
        return ClipLength.nearest(self.seconds * FPS).seconds


def parse(text: str, seconds: float) -> list[Shot]:
    """Shots of a text: prompts between lines of `---`, which may say `--- 6 s`, `--- continue` or `--- 4 s, continue`.

    Such a line belongs to the shot after it. Dashes that an editor has put for hyphens are such a line too, unless other words
    follow one of them. seconds: of shots that do not say their own. Without a word a shot is a cut.
    """
    parts: list[
        tuple[str, int, list[str]]
    ] = []  # what stands behind the dashes; the lines below, and the number of the first
    for row, line in enumerate(text.split("\n")):
        head = rule(line)
        if head is not None:
            parts.append((head, row + 1, []))
        elif parts or line.strip():
            if not parts:
                parts.append(("", row, []))
            parts[-1][2].append(line)
    shots = []
    for head, first, lines in parts or [("", 0, [])]:
        prompt, number = "\n".join(lines).strip(), len(shots) + 1
        length, goes_on = headed(head, seconds, number)
        if not prompt:
            raise StoryboardError(f"shot {number} has no prompt. Write one after its line ---{head.rstrip()}")
        if goes_on and not shots:
            raise StoryboardError("shot 1 cannot continue: there is nothing before it")
        shots.append(Shot(prompt, length, goes_on, (first, first + len(lines))))
    return shots


def rule(line: str) -> str | None:
    """What stands behind the dashes of a line that divides shots; None for a line of text."""
    match = RULE.fullmatch(line.rstrip("\r"))
    if match is None:
        return None
    dashes, head = match.groups()
    typographic = bool(dashes.strip("-"))
    readable = typographic and all(SECONDS.fullmatch(word) or word in (*GOES_ON, *BEGINS) for word in words_of(head))
    return head if len(dashes) > (1 if typographic else 2) or readable else None


def words_of(head: str) -> list[str]:
    """The words of a head, in the plain forms of letters, digits and commas; a comma between digits belongs to a number."""
    head = unicodedata.normalize("NFKC", head).strip().lower()
    words = re.split(r"[;、]|,(?!\d)|(?<!\d),|(?<=\D)\s+(?=\d)|(?<=[s秒])\s+", head)
    return [word.strip() for word in words if word.strip()]


def headed(head: str, seconds: float, number: int) -> tuple[float, bool]:
    """(seconds, whether it goes on) of what stands behind `---`."""
    goes_on = False
    for word in words_of(head):
        match = SECONDS.fullmatch(word)
        if match:
            seconds = float(match[1].replace(",", "."))
            if not (0 < seconds <= MAX_SECONDS and math.isfinite(seconds)):
                raise StoryboardError(
                    f"shot {number}: {match[1]} s; a shot lasts more than 0 and up to {MAX_SECONDS:g} s"
                )
        elif word in GOES_ON:
            goes_on = True
        elif word not in BEGINS:
            raise StoryboardError(
                f"shot {number}: {word!r} is no length and neither cut nor continue. Write --- 5 s, continue"
            )
    return seconds, goes_on
