"""Characters that keep their look and their voice from shot to shot, and the file that they travel in.

The file is safetensors: one embedding `voice.<i> [192]` float32 for each character that has a voice, `recording.<i> [N]` int16
at 16 kHz where the recording was to be kept too, and the metadata `nava_cast`, JSON: name, look and colour of each. A
stranger's file is read with limits and without running anything in it.
"""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save

from .dialogue import CHINESE, split_row
from .files import CheckpointError, file_name, refuse_foreign_content, unreadable, writing
from .prompt import CLOSE, NO_VOICE, TAG, few, short
from .redimnet import SAMPLE_RATE
from .voice import EMBEDDING, MAX_SECONDS, Voice

MOST_CHARACTERS = 100
MOST_NAME, MOST_LOOK = 60, 600  # characters
MOST_METADATA = 256 * 1024  # bytes
MOST_BYTES = 256 * 1024 * 1024
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
# Readable on the dark and the light theme; the same as js/nava_dom.js has.
COLOURS = ("#e0a030", "#3aa0d8", "#4fae5f", "#c56fb8", "#d9694f", "#8a86e0", "#2fa89a", "#a8933a")


class CastError(ValueError):
    """Characters that cannot be used as they are written; the message says what to change."""


@dataclass(frozen=True)
class Character:
    """name: as `<S:name>` calls it. look: a phrase, may be empty. colour: `#rrggbb`. voice: None for no particular one."""

    name: str
    look: str = ""
    colour: str = COLOURS[0]
    voice: Voice | None = None


def check_name(name: str) -> str | None:
    """What is wrong with a character's name, or None."""
    if not name or name == NO_VOICE or set(name) & set("<>:：()（）") or not name.isprintable():
        return f"{short(name)!r} cannot be a name: leave out < > : ( ) and a lone {NO_VOICE}"
    if len(name) > MOST_NAME:
        return f"the name {short(name)!r} has {len(name)} characters, at most {MOST_NAME} are allowed"
    return None


def check_look(look: str) -> str | None:
    if set(look) & set("<>") or not look.isprintable():
        return f"the look {short(look)!r} may not contain < or >"
    if len(look) > MOST_LOOK:
        return f"a look has {len(look)} characters, at most {MOST_LOOK} are allowed"
    return None


@dataclass(frozen=True)
class Cast:
    """Characters in their order; no two have the same name, whatever its case."""

    characters: tuple[Character, ...]

    def __post_init__(self):
        faults, seen = [], set()
        for c in self.characters:
            faults += filter(None, (check_name(c.name), check_look(c.look)))
            if c.name.casefold() in seen:
                faults.append(f"there are two characters named {short(c.name)}")
            seen.add(c.name.casefold())
        if len(self.characters) > MOST_CHARACTERS:
            faults.append(f"there are {len(self.characters)} characters, at most {MOST_CHARACTERS} are allowed")
        if faults:
            raise CastError("; ".join(few(faults)))

    def with_others(self, others: "Cast") -> "Cast":
        """These characters, changed and joined by others: who has a name of theirs gets their look, colour and voice."""
        known = {c.name.casefold(): c for c in self.characters}
        for c in others.characters:
            old = known.get(c.name.casefold())
            known[c.name.casefold()] = Character(
                c.name, c.look or (old.look if old else ""), c.colour, c.voice or (old.voice if old else None)
            )
        return Cast(tuple(known.values()))

    def with_looks(self, text: str) -> str:
        """A prompt with everybody's look in brackets where they are first mentioned, outside of what is said.

        Who only speaks is described at the beginning; who does not occur is left out, and a look that stands there
        already is not written again.
        """
        for c in reversed(self.characters):  # so that the first one's description comes first
            if not c.look or c.look.casefold() in text.casefold():
                continue
            end = first_mention(text, c.name)
            in_chinese = bool(CHINESE.search(c.look))
            if end is not None:
                look = f"（{c.look}）" if in_chinese else f" ({c.look})"
                text = text[:end] + look + text[end:]
            elif f"<s:{c.name}>".casefold() in text.casefold():
                described = f"{c.name}：{c.look}。" if in_chinese else f"{c.name}: {c.look}. "
                text = described + text
        return text


def first_mention(text: str, name: str) -> int | None:
    """Where a name first ends in what is described, None if it does not occur: whole words, where they are spaced."""
    edge = "" if CHINESE.search(name) else r"\b"
    word = re.compile(edge + re.escape(name) + r"(?:['’]s)?" + edge, re.IGNORECASE)
    start, described = 0, True
    for tag in TAG.finditer(text):
        found = word.search(text, start, tag.start()) if described else None
        if found:
            return found.end()
        start, described = tag.end(), tag[0] == CLOSE
    found = word.search(text, start) if described else None
    return found.end() if found else None


def parse_characters(rows: str, voices: Sequence[Voice] = ()) -> Cast:
    """A cast from rows `Name (#colour): look`, or only `Name`; voices by their own names, the unnamed ones in order.

    Raises CastError naming the rows that cannot be read, and voices that no character has.
    """
    found, faults = [], []
    for number, row in enumerate(rows.splitlines(), 1):
        if not row.strip():
            continue
        name, colour, look = split_row(row) or (row.strip(" :："), "", "")
        if colour and not COLOUR.fullmatch(colour):
            faults.append(f"row {number}, “{short(row.strip())}”: in brackets stands a colour such as {COLOURS[0]}")
        fault = check_name(name) or check_look(look)
        if fault:
            faults.append(f"row {number}: {fault}; write it as “Name: look”")
        found.append(Character(name, " ".join(look.split()), colour or COLOURS[len(found) % len(COLOURS)]))
    if faults:
        raise CastError("; ".join(few(faults)))
    names = {c.name.casefold(): i for i, c in enumerate(found)}
    free = [i for i, c in enumerate(found) if c.name.casefold() not in {v.name.casefold() for v in voices if v.name}]
    for number, voice in enumerate(voices, 1):
        place = names.get(voice.name.casefold()) if voice.name else (free.pop(0) if free else None)
        if place is None and voice.name:  # a voice brings its character
            found.append(Character(voice.name, "", COLOURS[len(found) % len(COLOURS)]))
            place = len(found) - 1
        if place is None:
            faults.append(f"voice {number} has no name and there is no character left for it: name it")
            continue
        c = found[place]
        found[place] = Character(c.name, c.look, c.colour, Voice(c.name, voice.embedding, voice.recording))
    if faults:
        raise CastError("; ".join(few(faults)))
    return Cast(tuple(found))


def to_bytes(cast: Cast, recordings: bool = False) -> bytes:
    """The content of a cast file; the same cast gives the same bytes."""
    tensors = {}
    for i, c in enumerate(cast.characters):
        if c.voice is None:
            continue
        tensors[f"voice.{i}"] = c.voice.embedding.float().contiguous()
        if recordings and c.voice.recording is not None:
            tensors[f"recording.{i}"] = (c.voice.recording.clamp(-1, 1) * 32767).round().to(torch.int16)
    people = [{"name": c.name, "look": c.look, "colour": c.colour} for c in cast.characters]
    described = {"version": 1, "sample_rate": SAMPLE_RATE, "characters": people}
    return save(tensors, {"nava_cast": json.dumps(described, ensure_ascii=False)})


def load_cast(path: str | Path) -> Cast:
    """Read a cast file, which may come from anybody. Raises CheckpointError naming the file and the fault."""
    path = Path(path)
    refuse_foreign_content(path)
    if path.stat().st_size > MOST_BYTES:
        raise CheckpointError(f"{path.name} is larger than any cast ({MOST_BYTES >> 20} MB)")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get("nava_cast")
            if described is None or len(described) > MOST_METADATA:
                raise CheckpointError(f"{path.name} is not a cast that NAVA Cast saved")
            content = json.loads(described)
            people = content["characters"]
            if not isinstance(people, list) or len(people) > MOST_CHARACTERS:
                raise CheckpointError(f"{path.name} does not hold a list of at most {MOST_CHARACTERS} characters")
            keys = set(file.keys())
            shapes = {k: (tuple(file.get_slice(k).get_shape()), file.get_slice(k).get_dtype()) for k in keys}
            found = []
            for i, person in enumerate(people):
                name, look, colour = (person[k] for k in ("name", "look", "colour"))
                if not all(isinstance(v, str) for v in (name, look, colour)) or not COLOUR.fullmatch(colour):
                    raise CheckpointError(f"{path.name}: character {i + 1} has no name, look and colour")
                found.append(Character(name, look, colour, voice_in(file, shapes, i, name, path)))
        return Cast(tuple(found))
    except (safetensors.SafetensorError, OSError) as error:
        raise unreadable(path, error) from error
    except CastError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path.name} is not a cast that NAVA Cast saved") from error


def voice_in(file, shapes: dict, number: int, name: str, path: Path) -> Voice | None:
    """The voice of a character in an open cast file."""
    key, sound = f"voice.{number}", f"recording.{number}"
    if key not in shapes:
        return None
    if shapes[key] != ((EMBEDDING,), "F32"):
        raise CheckpointError(f"{path.name}: the voice of {short(name)} is not {EMBEDDING} numbers")
    embedding = file.get_tensor(key)
    if not torch.isfinite(embedding).all():
        raise CheckpointError(f"{path.name}: the voice of {short(name)} contains NaN or infinite numbers")
    recording = None
    if sound in shapes:
        (length, *more), kind = shapes[sound]
        if more or kind != "I16" or length > MAX_SECONDS * SAMPLE_RATE:
            raise CheckpointError(f"{path.name}: the recording of {short(name)} is not one of NAVA Cast's")
        recording = file.get_tensor(sound).float() / 32767
    return Voice(name, embedding, recording)


def save_cast(cast: Cast, folder: Path, name: str, recordings: bool = False) -> Path:
    """Write a cast under a name of its own; nothing is overwritten, and the same cast is not written twice.

    Returns the file: `name.safetensors`, or `name_2.safetensors` and so on where another cast has that name. Raises CastError, WriteError.
    """
    try:
        name = file_name(name)
    except ValueError as error:
        raise CastError(str(error)) from None
    return keep(to_bytes(cast, recordings), folder, name)


def keep(content: bytes, folder: Path, name: str) -> Path:
    """The file that holds this content, written where there is none; it appears whole, whatever ends this process."""
    with writing(folder / f"{name}.safetensors"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as aside:
            complete = Path(aside) / "whole"
            complete.write_bytes(content)
            for number in range(1, 10_000):
                path = folder / f"{name}{'' if number == 1 else f'_{number}'}.safetensors"
                try:
                    appear(complete, path)
                    return path
                except FileExistsError:
                    if path.stat().st_size == len(content) and path.read_bytes() == content:
                        return path
    raise CastError(f"there are too many casts named {name!r}")


def appear(complete: Path, path: Path) -> None:
    """Give a finished file its name. Raises FileExistsError."""
    try:
        os.link(complete, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        os.rename(complete, path)


def speakers(cast: Cast | None, voices: Sequence[Voice]) -> list[Character]:
    """The characters that a prompt may call besides the connected voices, which go before a character of their name."""
    taken = {v.name.casefold() for v in voices if v.name}
    return [c for c in (cast.characters if cast else ()) if c.name.casefold() not in taken]
