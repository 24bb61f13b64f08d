"""Spoken lines through a rewriting: each of the user's stands in the result once, in order, letter for letter.

A model drops, doubles, translates, reorders, renames and invents lines. Its text is cut at whatever looks like a tag, its
lines are laid against the user's, and the user's take their places. While the text around them is worked on, a line is
one private character that nothing here changes.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import prompt as prompts
from .clean_text import clean
from .dialogue import ended
from .prompt import CLOSE, OPEN, parse_cleaned
from .silence import NOBODY, SOUND_WORDS, chinese, says_nobody_speaks, speaks
from .tidy import FIRST_PRIVATE, SENTENCE_END, TAG, has_line, is_private, private, sentences, unrepeat, whole

MOST_LINES = 100  # of a prompt that is rewritten
MOST_FOUND = 300  # of an answer that are looked at
MOST_LEAD = 160  # characters that lead to a line

parse = lru_cache(8)(prompts.parse)  # the same few texts are asked about from all sides


@dataclass(frozen=True)
class Line:
    """A spoken line. name as in Prompt.names; lead: what the user wrote before it."""

    name: str | None
    words: str
    lead: str = ""

    @property
    def text(self) -> str:
        return f"{OPEN if self.name is None else f'<S:{self.name}>'}{self.words}{CLOSE}"

    @property
    def key(self) -> str:
        """The words as far as a model may write them differently."""
        return "".join(c for c in self.words.casefold() if c.isalnum())


def lines_of(text: str) -> list[Line]:
    """The spoken lines of a prompt, as its writer typed them, each with the part of a sentence that leads to it.

    Cleaning writes full-width commas as others; it is left to the one who reads the prompt. Only where tags or words
    come to light by cleaning are the cleaned ones taken.
    """
    prompt, typed = parse(text), parse_cleaned(" ".join(text.split()))
    if tuple(map(clean, typed.spoken)) == prompt.spoken and typed.names == prompt.names:
        prompt = typed
    before = [prompt.pieces[0], *(piece.partition(CLOSE)[2] for piece in prompt.pieces[1:])]
    leads = [(sentences(text.removesuffix(OPEN).strip()) or [""])[-1].strip() for text in before]
    return [
        Line(name, words, lead if len(lead) <= MOST_LEAD and lead.endswith((":", "：", ",", "，")) else "")
        for name, words, lead in zip(prompt.names, prompt.spoken, leads, strict=False)
    ]


def plain(text: str) -> str:
    """A prompt's text without its spoken lines."""
    prompt = parse(text)
    after = [piece.partition(CLOSE)[2] for piece in prompt.pieces[1:]]
    return " ".join([prompt.pieces[0], *after]).replace(OPEN, "").strip()


def cut(text: str) -> list[str | Line]:
    """Plain pieces and spoken lines of a model's text, in order; any spelling of the tags counts, closed or not."""
    found: list[str | Line] = []
    end, name, is_open = 0, None, False

    def take(piece: str) -> None:
        found.append(Line(name, piece.strip()) if is_open else piece)

    for tag in TAG.finditer(text):
        take(text[end : tag.start()])
        end = tag.end()
        is_open = not tag[1] and tag[2] in "sSＳ" and len(found) < 2 * MOST_FOUND
        name = (tag[3] or "").strip() or None
    rest = text[end:]
    if is_open:  # never closed: what is said ends with its sentence
        said = sentences(rest)
        take(said[0] if said else "")
        rest = rest[len(said[0]) if said else 0 :]
        is_open = False
    take(rest)
    return [piece for piece in found if piece != ""]


def tag_untagged(pieces: list[str | Line], lines: Sequence[Line]) -> list[str | Line]:
    """Words of the user's lines that stand in plain text, in quotation marks or without, become lines."""
    there = {piece.key for piece in pieces if isinstance(piece, Line)}
    for line in lines:
        if line.key in there or len(line.key) < 3:
            continue
        for i, piece in enumerate(pieces):
            if isinstance(piece, Line) or line.words not in piece:
                continue
            before, _, after = piece.partition(line.words)
            if before[-1:] in set("\"“「'‘") and after[:1] in set("\"”」'’"):
                before, after = before[:-1], after[1:]
            pieces = [*pieces[:i], before, Line(line.name, line.words), after, *pieces[i + 1 :]]
            there.add(line.key)
            break
    return pieces


def pair(lines: Sequence[Line], found: Sequence[Line]) -> dict[int, int]:
    """Which of the found lines stand for which of the user's: the order-keeping matching of the greatest weight.

    The same words count most, then the same name, then the same place.
    """

    def weight(a: Line, b: Line) -> int:
        same_name = a.name == b.name or (a.name or "").casefold() == (b.name or "").casefold()
        if a.key == b.key:
            return 8 + same_name
        return (4 if a.name else 2) if same_name else 0

    rows = [[0] * (len(found) + 1) for _ in range(len(lines) + 1)]
    for i in reversed(range(len(lines))):
        for j in reversed(range(len(found))):
            value = weight(lines[i], found[j])
            rows[i][j] = max(rows[i + 1][j], rows[i][j + 1], value and value + rows[i + 1][j + 1])
    pairs, i, j = {}, 0, 0
    while i < len(lines) and j < len(found):
        value = weight(lines[i], found[j])
        if value and rows[i][j] == value + rows[i + 1][j + 1]:
            pairs[j] = i
            i, j = i + 1, j + 1
        elif rows[i][j] == rows[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def last_end(text: str) -> int:
    """Where the last whole sentence or spoken line of a text ends."""
    ends = [found.end() for found in SENTENCE_END.finditer(text)]
    return max([0, *ends[-1:], *(i + 1 for i, c in enumerate(text) if is_private(c))])


def place(text: str, number: int) -> int:
    """Where a line that the model left out belongs: behind the one before it, else before the next, or the sound."""
    if not number:
        following = next((i for i, c in enumerate(text) if is_private(c)), None)
        return sound_starts(text) if following is None else last_end(text[:following])
    start = text.index(private(number - 1)) + 1  # lines are put in in their order, so it is there
    following = next((i for i in range(start, len(text)) if is_private(text[i])), len(text))
    end = SENTENCE_END.search(text, start, following)
    if text[start:].lstrip().startswith(SOUND_WORDS):
        return start
    return end.end() if end else start if following < len(text) else len(text)


def sound_starts(text: str) -> int:
    """The beginning of the sentence that begins the sound, or the end."""
    position = 0
    for sentence in sentences(text):
        if sentence.lstrip().startswith(SOUND_WORDS):
            return position
        position += len(sentence)
    return len(text)


def insert(text: str, position: int, what: str) -> str:
    before, after = text[:position].rstrip(), text[position:].lstrip()
    gap = "" if chinese(what) or chinese(text) else " "
    return gap.join(filter(None, [before, what, after]))


def introduced(line: Line, number: int, in_chinese: bool) -> str:
    """A left out line with the user's own words before it, or plain ones in the result's language."""
    lead = line.lead
    if not lead or chinese(lead) != in_chinese:
        name = line.name if line.name not in (None, "-") else ""
        lead = f"{name or '有人'}说：" if in_chinese else f"{name or 'A voice'} says:"
    return (
        f"{lead}{'' if in_chinese else ' '}{private(number)}{'' if ended(line.words) else '。' if in_chinese else '.'}"
    )


def put_lines(text: str, lines: Sequence[Line], in_chinese: bool) -> str:
    """The model's text with one private character for each of the user's lines, all of them, in order, and no other."""
    text = "".join(c for c in text if not is_private(c))
    pieces = tag_untagged(cut(text), lines)
    found = [p for p in pieces if isinstance(p, Line)][:MOST_FOUND]
    pairs, number, text = pair(lines, found), -1, ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        number += 1
        if number in pairs:
            text += private(pairs[number])
        else:  # invented: what leads to it goes with it
            text = text[: last_end(text)]
    for number, line in enumerate(lines):
        if private(number) not in text:
            text = insert(text, place(text, number), introduced(line, number, in_chinese))
    return text


def said(text: str, lines: Sequence[Line]) -> str:
    """Private characters -> the user's lines."""
    return "".join(lines[ord(c) - FIRST_PRIVATE].text if is_private(c) else c for c in text)


def fit(text: str, lines: Sequence[Line], count: Callable[[str], int], limit: int) -> str:
    """As many sentences as the model reads, without the last ones; those with spoken lines and of the sound stay longest."""
    parts = sentences(text)
    sound = next((i for i, s in enumerate(parts) if s.lstrip().startswith(SOUND_WORDS)), len(parts))
    spoken = [i for i, s in enumerate(parts) if has_line(s)]
    others = [i for i in [*range(sound), *range(sound, len(parts))] if i not in set(spoken)]
    order = [*spoken, *(i for i in others if i == sound), *(i for i in others if i != sound)]

    if count(said(text, lines)) <= limit:
        return text

    def joined(most: int) -> str:
        return "".join(parts[i] for i in sorted(order[:most])).strip()

    most = bisect_left(range(len(parts) + 1), True, key=lambda n: count(said(joined(n), lines)) > limit) - 1
    return joined(max(most, len(spoken)))


def mend(source: str, text: str, in_chinese: bool, count: Callable[[str], int], limit: int) -> str:
    """A model's tidied text with the user's lines in it, without loops, within the limit where that can be.

    count: tokens of a prompt, with the end token. What comes out is to be asked `keeps` and counted all the same.
    """
    lines = lines_of(source)
    loose = whole(unrepeat(put_lines(text, lines, in_chinese)))
    nobody = NOBODY[in_chinese]
    if lines or not loose or says_nobody_speaks(loose) or (speaks(source) and not says_nobody_speaks(source)):
        nobody = ""
    loose = fit(loose, lines, count, limit - (count(nobody) if nobody else 0))
    return said(insert(loose, sound_starts(loose), nobody), lines).strip()


def keeps(source: str, text: str) -> bool:
    """Whether a text, as NAVA will read it, has the spoken lines of the source: the same, in order, and no others."""
    wanted, found = parse(source), parse(text)
    return not found.problems and (found.names, found.spoken) == (wanted.names, wanted.spoken)
