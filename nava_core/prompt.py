"""Prompts: cleaning, spoken spans, tokens, and which voice speaks where (paper section 3.3).

A spoken line is written `<S>words<E>`. `<S>` takes the next voice in order, `<S:Anna>` the voice named Anna, `<S:->`
no particular voice. Every opening tag reaches the model as plain `<S>` followed by a sentinel token, whose row in the
text context a voice replaces.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .clean_text import clean

TOKEN_LIMIT = 512  # including the end token
EOS = 1
NO_VOICE = "-"
TAG = re.compile(r"<S(?::([^<>]*))?>|<E>")
# No two neighbouring parts of these can match the same characters: time grows with the text, not with its square.
NEAR_TAG = re.compile(r"<\s*(?:/\s*)?[sSeE]\s*(?::[^<>]*)?>")
QUOTED = re.compile(r"[\"“]([^\"“”<>]{2,300})[\"”]|「([^「」<>]{2,300})」|『([^『』<>]{2,300})』")
CHOICE = re.compile(r"\{[^{}|\"]{1,200}\|[^{}\"]{1,200}\}")  # a dynamic prompt of ComfyUI's editor
OPEN, CLOSE = "<S>", "<E>"
MOST_MESSAGES = 3  # of a kind; more are counted
MOST_QUOTED = 40  # characters of the user's text in a message

DEFAULT_NEGATIVE = (
    "画面模糊，过曝，静止不动的画面，字幕，水印，低质量，多余的手指，畸形的肢体，面部扭曲，倒着走，多人同时说话，"
    "机械的声音，沉闷的声音，回声，失真，爆音，削波，杂音"
)
DEFAULT_NEGATIVE_AUDIO = "机械的声音，沉闷的声音，回声，失真，爆音，削波，杂音，多人同时说话"


class PromptError(ValueError):
    """A prompt that cannot mean what its writer wants; the message says what to change."""


@dataclass(frozen=True)
class Prompt:
    """A cleaned prompt, cut into the text after each opening tag.

    pieces[0] ends with the first `<S>`, and so on: there is one sentinel between any two pieces. names holds one
    entry per spoken span: a speaker's name, NO_VOICE, or None for the next voice. problems are in the user's words,
    at most MOST_MESSAGES and a count.
    """

    pieces: tuple[str, ...]
    names: tuple[str | None, ...]
    problems: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def spoken(self) -> tuple[str, ...]:
        """The words of each spoken span."""
        return tuple(piece.partition(CLOSE)[0].strip() for piece in self.pieces[1:])


@dataclass(frozen=True)
class Tokens:
    """Token ids with the end token, at most `limit`; positions[i] is the sentinel of spoken span i, None if cut off."""

    ids: list[int]
    positions: list[int | None]
    full_length: int  # before truncation


def short(text: str, most: int = MOST_QUOTED) -> str:
    """The beginning of a user's text, for a message."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def few(messages: Sequence[str]) -> list[str]:
    """The first messages, and how many more there are."""
    more = len(messages) - MOST_MESSAGES
    return [*messages[:MOST_MESSAGES], *([f"and {more} more of this kind"] if more > 0 else [])]


def unmarked_speech(prompt: Prompt) -> list[str]:
    """What stands in quotation marks outside spoken spans: perhaps speech whose tags were forgotten."""
    around = [prompt.pieces[0], *(piece.partition(CLOSE)[2] for piece in prompt.pieces[1:])]
    return [next(filter(None, found.groups())) for text in around for found in QUOTED.finditer(text)]


def parse(text: str) -> Prompt:
    """Clean a prompt and find its spoken spans. Never fails: what is wrong with it is listed in `problems`."""
    return parse_cleaned(clean(text))


def parse_cleaned(text: str) -> Prompt:
    pieces, names, problems = [], [], []
    current, open_at = "", None
    end = 0
    for tag in TAG.finditer(text):
        current += text[end : tag.start()]
        end = tag.end()
        around = f"near “{text[max(0, tag.start() - 15) : min(tag.end(), tag.start() + MOST_QUOTED) + 15]}”"
        if tag[0] == CLOSE:
            if open_at is None:
                problems.append(f"{CLOSE} without an {OPEN} before it, {around}")
            open_at = None
            current += CLOSE
        else:
            if open_at is not None:
                problems.append(f"{short(tag[0])} inside a spoken line that has no {CLOSE} yet, {around}")
            open_at = around
            name = tag[1].strip() if tag[1] is not None else None
            if name == "":
                problems.append(f"{tag[0]} names nobody, {around}: write {OPEN} or <S:Name>")
            names.append(name or None)
            pieces.append(current + OPEN)
            current = ""
    near = NEAR_TAG.search(TAG.sub("", text))
    if near:
        problems.append(
            f"“{short(near[0])}” is no tag: spoken lines are written {OPEN}words{CLOSE}, in capital letters"
        )
    if open_at is not None:
        problems.append(f"a spoken line is never closed with {CLOSE}, {open_at}")
    pieces.append(current + text[end:])
    return Prompt(tuple(pieces), tuple(names), tuple(few(problems)))


def sentinel_id(piece_count: int) -> int:
    """Token id of `<extra_id_2>` for a SentencePiece model of `piece_count` pieces; 256297 for umT5-xxl."""
    return piece_count + 300 - 1 - 2


def tokenize(prompt: Prompt, encode: Callable[[str], list[int]], piece_count: int, limit: int = TOKEN_LIMIT) -> Tokens:
    """Tokens of a prompt. encode gives the SentencePiece ids of a text, without special tokens."""
    sentinel = sentinel_id(piece_count)
    ids = list(encode(prompt.pieces[0]))
    starts = []
    for piece in prompt.pieces[1:]:
        starts.append(len(ids))
        ids += [sentinel, *encode(piece)]
    kept = [*ids[: limit - 1], EOS]
    return Tokens(kept, [s if s < limit - 1 else None for s in starts], len(ids) + 1)


def tokenize_with(spiece, prompt: Prompt) -> Tokens:
    """Tokens of a prompt under a SentencePiece processor."""
    return tokenize(prompt, lambda text: spiece.encode(text, add_bos=False, add_eos=False), spiece.get_piece_size())


@dataclass(frozen=True)
class Binding:
    """Which voice speaks at which context row: rows[i] is spoken by voice indices[i], None for no particular voice."""

    rows: tuple[int, ...]
    indices: tuple[int | None, ...]
    warnings: tuple[str, ...]


def bind_voices(prompt: Prompt, tokens: Tokens, voices: Sequence[str], cast: Sequence[str] = ()) -> Binding:
    """Give each spoken span its voice. voices: the names of the connected voices, in order ("" for unnamed).

    Named spans take the voice of that name, whatever its case; the others take, in order, the voices that no span
    names. cast: names that may be called besides, and are never taken in order; their indices follow the voices'. Spans left without a voice keep their text. Raises PromptError when a span names a voice that is not connected.
    """
    callable_names = [*voices, *cast]
    keys = [clean(name).casefold() for name in callable_names]
    counts = Counter(filter(None, keys))
    twice = next((name for name, key in zip(callable_names, keys, strict=True) if counts[key] > 1), None)
    if twice is not None:
        raise PromptError(f"two connected voices are named {short(twice)}: give each a name of its own")
    key_index = {key: i for i, key in enumerate(keys) if key}
    index_of = {name: key_index.get(name.casefold()) for name in prompt.names if name not in (None, NO_VOICE)}
    known = [short(name) for name in callable_names if name] or ["none connected"]
    strangers = [
        f"<S:{short(name)}> names a voice that is not connected" for name, index in index_of.items() if index is None
    ]
    if strangers:
        raise PromptError(f"{'; '.join(few(strangers))} (voices: {', '.join(few(known))})")
    named = {index_of[n] for n in prompt.names if n in index_of}
    queue = iter([i for i in range(len(voices)) if i not in named])
    rows, indices, lost, used = [], [], [], set()
    for number, (name, row) in enumerate(zip(prompt.names, tokens.positions, strict=True), 1):
        if name == NO_VOICE:
            voice, speaks = None, True
        elif name is None:
            voice = next(queue, None)
            speaks = voice is not None
        else:
            voice, speaks = index_of[name], True
        if row is None:
            lost.append(
                f"spoken line {number} lies beyond the model's {TOKEN_LIMIT} tokens and is lost: shorten the prompt"
            )
            continue
        if speaks:
            rows.append(row)
            indices.append(voice)
            used.add(voice)
    empty = [
        f"spoken line {number} is empty: write its words between {OPEN} and {CLOSE}"
        for number, words in enumerate(prompt.spoken, 1)
        if not words
    ]
    warnings = [*few(lost), *few(empty)]
    choice = CHOICE.search(prompt.text)
    if choice:
        warnings.append(f"“{short(choice[0])}” is sent as it is: nothing is chosen from words in braces")
    unused = [short(voices[i]) or f"number {i + 1}" for i in range(len(voices)) if i not in used]
    if unused:
        warnings.append(f"no spoken line uses the voice {', '.join(few(unused))}")
    return Binding(tuple(rows), tuple(indices), tuple(warnings))
