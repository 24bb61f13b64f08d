"""Lists of prompts as they are published, read into rows.

- JSONL as released with NAVA: `prompt` (or `text`), `image_path`, `spk_wavs` (in the order of the spoken lines; `None` for none);
  besides, `seconds` for a length other than the workflow's.
- Seed-TTS lists: `utterance|reference text|reference wav|text`, sound only.
- Verse-Bench style: a folder, or a JSON list, of items with `video_prompt`, `audio_prompt`, `speech_prompt`, each JSON file of a
  folder with the picture of the same name beside it.
"""

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from environment import ROOT

sys.path.insert(0, str(ROOT))
from nava_core.text_file import lines_of, read_text

sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's

SPOKEN = re.compile(r"<S>(.*?)<E>", re.DOTALL)
OPENING = re.compile(r"<S>")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class PromptSetError(ValueError):
    """A list that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Row:
    """One prompt. voices: a recording, or None for no particular voice, for each spoken line in order."""

    name: str
    prompt: str
    image: Path | None = None
    voices: tuple[Path | None, ...] = ()
    sound_only: bool = False
    seconds: float | None = None  # None: as long as the workflow says

    @property
    def spoken(self) -> list[str]:
        return [text.strip() for text in SPOKEN.findall(re.sub(r"<S:[^<>]*>", "<S>", self.prompt))]

    @property
    def tagged(self) -> str:
        """The prompt with `<S:->` where a line has no voice, so that the other voices keep their places."""
        voices = iter(self.voices)
        return OPENING.sub(lambda tag: "<S:->" if next(voices, None) is None else tag[0], self.prompt)


def read(path: Path) -> list[Row]:
    """The rows of a list; raises PromptSetError before anything is generated."""
    if path.is_dir():
        items = sorted(path.glob("*.json"))
        rows = [verse(json_of(text_at(file), str(file)), file, file.stem) for file in items]
    elif not path.is_file():
        raise PromptSetError(f"{path}: there is no such file or folder")
    else:
        text = text_at(path)
        lines = [(n, line.strip()) for n, line in enumerate(lines_of(text), 1) if line.strip()]
        if text.lstrip().startswith("["):
            items = json_of(text, str(path))
            rows = [verse(item, path, f"{n:03d}") for n, item in enumerate(items, 1)]
        elif lines and lines[0][1].startswith("{"):
            rows = [released(json_of(line, f"{path}, line {n}"), path, n) for n, line in lines]
        else:
            rows = [seed_tts(line, path, n) for n, line in lines]
    if not rows:
        raise PromptSetError(f"{path}: it holds no prompts")
    return unique(rows)


def text_at(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise PromptSetError(f"{path} cannot be read: {error}") from error


def json_of(text: str, where: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise PromptSetError(f"{where}: not JSON ({error})") from error


def text_of(item, keys: tuple[str, ...], where: str) -> str:
    if not isinstance(item, dict):
        raise PromptSetError(f"{where}: expected an object with {' or '.join(keys)}")
    found = next((item[k] for k in keys if isinstance(item.get(k), str) and item[k].strip()), None)
    if found is None:
        raise PromptSetError(f"{where}: it has no {' or '.join(keys)}")
    return found.strip()


def file_of(name, beside: Path, where: str) -> Path | None:
    """A file named in a list, relative to the list. None where the list says that there is none."""
    if name is None or name in ("", "None"):
        return None
    if not isinstance(name, str):
        raise PromptSetError(f"{where}: expected the name of a file, got {name!r}")
    path = beside.parent / name
    if not path.is_file():
        raise PromptSetError(f"{where}: there is no file {path}. Write None for no voice, or leave the picture out.")
    return path.resolve()


def released(item, path: Path, number: int) -> Row:
    where = f"{path}, line {number}"
    prompt = text_of(item, ("prompt", "text"), where)
    recordings = item.get("spk_wavs") or []
    if not isinstance(recordings, list):
        raise PromptSetError(f"{where}, spk_wavs: expected a list, got {recordings!r}")
    spans = len(SPOKEN.findall(prompt))
    if len(recordings) > spans:
        raise PromptSetError(f"{where}, spk_wavs: {len(recordings)} recordings for {spans} spoken lines (<S>…<E>)")
    seconds = item.get("seconds")
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 30
    ):
        raise PromptSetError(f"{where}, seconds: {seconds!r} is no length. Write a number up to 30, or leave it out.")
    return Row(
        f"{number:03d}",
        prompt,
        file_of(item.get("image_path"), path, f"{where}, image_path"),
        tuple(file_of(v, path, f"{where}, spk_wavs") for v in recordings),
        seconds=seconds,
    )


def seed_tts(line: str, path: Path, number: int) -> Row:
    where = f"{path}, line {number}"
    fields = line.split("|")
    if len(fields) < 4:
        raise PromptSetError(f"{where}: expected utterance|reference text|reference wav|text")
    utterance, reference_text, recording, text = (f.strip() for f in fields[:4])
    if not text:
        raise PromptSetError(f"{where}: there is no text to speak")
    reference = file_of(recording, path, where)
    seconds = None
    if reference is not None and reference_text:
        # as long as the reference, times the ratio of the texts' lengths (the released rule)
        seconds = min(30.0, max(0.5, seconds_of(reference) * len(text) / len(reference_text)))
    return Row(utterance or f"{number:03d}", f"<S>{text}<E>", None, (reference,), True, seconds)


def seconds_of(path: Path) -> float:
    import av

    with av.open(str(path)) as media:
        if media.duration is None:
            raise PromptSetError(f"{path}: it does not say how long it is; save it as wav or flac")
        return media.duration / av.time_base


def verse(item, path: Path, name: str) -> Row:
    where = f"{path}, item {name}"
    prompt = text_of(item, ("video_prompt", "prompt", "text"), where)
    speech, sounds = item.get("speech_prompt"), item.get("audio_prompt")
    if isinstance(speech, dict):
        speech = speech.get("text")
    if isinstance(speech, str) and speech.strip() and "<S>" not in prompt:
        prompt += f" <S>{speech.strip()}<E>"
    sounds = ", ".join(sounds) if isinstance(sounds, list) and all(isinstance(s, str) for s in sounds) else sounds
    if isinstance(sounds, str) and sounds.strip():
        prompt += f" Sound: {sounds.strip()}"
    image = file_of(item.get("image_path") or item.get("image"), path, where)
    if image is None and path.stem == name:
        image = next((p.resolve() for p in map(path.with_suffix, PICTURES) if p.is_file()), None)
    return Row(name, prompt, image)


def unique(rows: list[Row]) -> list[Row]:
    """Rows with names that can be files', each once."""
    seen, out = set(), []
    for row in rows:
        plain = re.sub(r"[^\w-]+", "_", row.name)[:60] or "row"
        name, n = plain, 2
        while name in seen:
            name, n = f"{plain}_{n}", n + 1
        seen.add(name)
        out.append(replace(row, name=name))
    return out
