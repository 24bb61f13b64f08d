"""A scene of several shots, written as text."""

import math
import re
from dataclasses import dataclass

from .sizes import FPS, FRAMES_PER_LATENT, MAX_SECONDS, ClipLength, latent_frames_more

RULE = re.compile(r"^\s*-{3,}(.*)$", re.MULTILINE)
SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(?:s|sec|seconds|秒)?", re.IGNORECASE)
GOES_ON, BEGINS = ("continue", "继续"), ("cut", "切")


class StoryboardError(ValueError):
    """The storyboard cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Shot:
    """seconds: its own length; goes_on: it continues the shot before, picture and sound, instead of a cut."""

    prompt: str
    seconds: float
    goes_on: bool = False

    @property
    def lasts(self) -> float:
        """Seconds that it adds to the clip: whole groups of four frames, and one frame more at a cut."""
        if self.goes_on:
            return latent_frames_more(self.seconds) * FRAMES_PER_LATENT / FPS
        return ClipLength.nearest(self.seconds * FPS).seconds


def parse(text: str, seconds: float) -> list[Shot]:
    """Shots of a text: prompts between lines of `---`, which may say `--- 6 s`, `--- continue` or `--- 4 s, continue`.

    Such a line belongs to the shot after it. seconds: of shots that do not say their own. Without a word a shot is a cut.
    """
    pieces = RULE.split("---\n" + text if not re.match(r"\s*-{3,}", text) else text)[1:]
    shots = []
    for head, prompt in zip(pieces[::2], pieces[1::2], strict=True):
        number = len(shots) + 1
        length, goes_on = headed(head, seconds, number)
        if not prompt.strip():
            raise StoryboardError(f"shot {number} has no prompt. Write one after its line ---{head.rstrip()}")
        if goes_on and not shots:
            raise StoryboardError("shot 1 cannot continue: there is nothing before it")
        shots.append(Shot(prompt.strip(), length, goes_on))
    return shots


def headed(head: str, seconds: float, number: int) -> tuple[float, bool]:
    """(seconds, whether it goes on) of what stands behind `---`."""
    goes_on = False
    for word in filter(None, re.split(r"[,，;]|(?<=\D)\s+(?=\d)|(?<=[s秒])\s+", head.strip())):
        word = word.strip().lower()
        match = SECONDS.fullmatch(word)
        if match:
            seconds = float(match[1])
            if not (0 < seconds <= MAX_SECONDS and math.isfinite(seconds)):
                raise StoryboardError(
                    f"shot {number}: {match[1]} s; a shot lasts more than 0 and up to {MAX_SECONDS:g} s"
                )
        elif word in GOES_ON:
            goes_on = True
        elif word not in BEGINS and word:
            raise StoryboardError(
                f"shot {number}: {word!r} is no length and neither cut nor continue. Write --- 5 s, continue"
            )
    return seconds, goes_on
