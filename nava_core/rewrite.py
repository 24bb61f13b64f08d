"""A prompt rewritten by a language model: tries, checks, and the user's own prompt where nothing else is sure."""

from collections.abc import Callable
from dataclasses import dataclass

from .prompt import TOKEN_LIMIT, few
from .silence import chinese
from .spoken import MOST_LINES, keeps, mend, parse, plain
from .tidy import MOST_CHARACTERS, tidy, unrepeat

TRIES = 3
LEAST_SHARE = 0.5  # of the source's tokens, without its lines, that a rewriting may come down to
LEAST_CHARACTERS = 12


class RewriteError(ValueError):
    """A prompt that cannot be rewritten as it stands; the message says what to change."""


@dataclass(frozen=True)
class Rewriting:
    """text is always a usable prompt. rewritten: whether it is not the source itself. notes: in the user's words."""

    text: str
    rewritten: bool
    notes: tuple[str, ...]
    tries: int


def check_source(source: str) -> None:
    """Raise RewriteError for a prompt whose lines could not be kept."""
    prompt = parse(source)
    if prompt.problems:
        raise RewriteError("; ".join(prompt.problems))
    if len(prompt.names) > MOST_LINES:
        raise RewriteError(f"it has {len(prompt.names)} spoken lines, at most {MOST_LINES} can be kept apart")
    if len(source) > MOST_CHARACTERS:
        raise RewriteError(f"it has {len(source)} characters; give an idea of at most {MOST_CHARACTERS}")


def faults(source: str, text: str, in_chinese: bool, count: Callable[[str], int], limit: int) -> list[str]:
    """What is wrong with a tidied answer, before it is mended; a reason to try again."""
    if len(text) < LEAST_CHARACTERS:
        return ["the language model gave no text"]
    found = []
    if not keeps(source, text):
        found.append("it changed, dropped or invented spoken lines")
    if unrepeat(text) != text:
        found.append("it repeated itself")
    if count(text) > limit:
        found.append(f"it was longer than the {limit} tokens that NAVA reads")
    if chinese(plain(text)) != in_chinese:
        found.append(f"it did not answer in {'Chinese' if in_chinese else 'English'}")
    if (shrunk := shrinkage(source, text, count, limit)) is not None:
        found.append(shrunk)
    return found


def shrinkage(source: str, text: str, count: Callable[[str], int], limit: int) -> str | None:
    """What to say of a rewriting that has lost most of what the user described."""
    had, has = count(plain(source)), count(plain(text))
    return "it left out most of the prompt" if has < LEAST_SHARE * min(had, limit) else None


def unusable(source: str, text: str, count: Callable[[str], int], limit: int) -> str | None:
    """Why a mended answer cannot take the source's place; asked of what is given out, however it came about."""
    if not keeps(source, text):
        return "the spoken lines could not be put back"
    if count(text) > limit:
        return f"it was longer than the {limit} tokens that NAVA reads"
    return shrinkage(source, text, count, limit)


def rewrite(
    source: str,
    answer: Callable[[int], str],
    in_chinese: bool,
    count: Callable[[str], int],
    limit: int = TOKEN_LIMIT,
    tries: int = TRIES,
) -> Rewriting:
    """The source as the language model rewrites it.

    answer: number of the try, from 0 -> the model's raw text. count: tokens of a prompt, with the end token. The first
    answer without faults is taken, else the one with the fewest, mended, else the source. In what is returned every
    spoken line of the source stands once, in order, letter for letter, under its name, and no other. Raises RewriteError.
    """
    check_source(source)
    best: tuple[int, str, list[str]] | None = None
    reasons: list[str] = []
    for number in range(tries):
        raw = answer(number)
        text = tidy(raw)
        wrong = faults(source, text, in_chinese, count, limit)
        mended = mend(source, text, in_chinese, count, limit) if text else ""
        empty = len(plain(text)) < LEAST_CHARACTERS
        refused = "the language model gave no text" if empty else unusable(source, mended, count, limit)
        usable = refused is None
        if usable and not wrong:
            return Rewriting(mended, True, (), number + 1)
        if usable and (best is None or len(wrong) < best[0]):
            best = (len(wrong), mended, wrong)
        reasons += [reason for reason in [*wrong, refused] if reason and reason not in reasons]
    if best is not None:
        note = (
            f"none of {tries} tries came out clean, this one was mended ({'; '.join(few(best[2]))}): read it before use"
        )
        return Rewriting(best[1], True, (note,), tries)
    return Rewriting(source, False, (f"the prompt was left as it is: {'; '.join(few(reasons))}",), tries)
