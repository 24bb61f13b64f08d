"""A prompt from its parts, in the order of NAVA's training captions; no language model needed."""

from .dialogue import CHINESE, compose
from .prompt import TAG, PromptError
from .silence import NO_MUSIC, NOBODY, SOUND_WORDS, chinese, names_music, speaks
from .tidy import ENDINGS

SOUND = {True: "声音：", False: "Sound: "}


def sentence(text: str, in_chinese: bool) -> str:
    """A text that ends as a sentence does, or nothing."""
    text = " ".join(text.split())
    if not text or text[-1] in ENDINGS or text.endswith(">"):
        return text
    return text.rstrip("，,、：: ") + ("。" if in_chinese else ".")


def assemble(
    style: str, scene: str, action: str, camera: str, dialogue: str, sound: str, by_name: bool = True,
    say_silence: bool = True,
) -> str:  # fmt: skip
    """One paragraph: style, scene, action over time, camera, spoken lines, sounds.

    dialogue: rows as `dialogue.compose` reads them, or text that has its tags already. say_silence: say that nobody
    speaks where there is no line and no word of speech, and that there is no music where none is named. Raises
    PromptError for rows that cannot be read, and when there is nothing to show or to hear.
    """
    around = " ".join((style, scene, action, camera, sound))
    if not (around + dialogue).strip():
        raise PromptError("everything is empty: write at least the scene, the action or the sound")
    in_chinese = chinese(around) if around.strip() else bool(CHINESE.search(dialogue))
    lines = dialogue.strip() if TAG.search(dialogue) else compose("", dialogue, "", by_name)
    parts = [sentence(text, in_chinese) for text in (style, scene, action, camera, lines)]
    if not lines and say_silence and not speaks(around):
        parts.append(NOBODY[in_chinese])
    heard = sentence(sound, in_chinese)
    parts.append(heard if heard.startswith(SOUND_WORDS) or not heard else SOUND[in_chinese] + heard)
    if say_silence and not names_music(around + lines):
        parts.append(NO_MUSIC[in_chinese])
    text = ""
    for part in filter(None, parts):
        text += part if not text or (in_chinese and CHINESE.match(part)) else f" {part}"
    return text
