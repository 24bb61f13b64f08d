"""Saying that nobody speaks, and that there is no music: NAVA was trained on captions that do."""

import re

from .dialogue import CHINESE

SILENT = re.compile(
    r"(?:没有|没人|无|均未|不再|都不).{0,12}(?:说话|对白|旁白|台词|对话|开口|人声)"
    r"|\b(?:nobody|no one|no-one|neither)\b.{0,20}\b(?:speak|talk|say)"
    r"|\b(?:no|without|neither)\b.{0,20}\b(?:dialogue|dialog|speech|narration|voices?|voice-over|talking|spoken)",
    re.IGNORECASE,
)
SPEECH = re.compile(
    r"[说唱喊讲念吼聊]|旁白|对白|台词|朗读|人声|歌词"
    r"|\b(?:says?|said|saying|speak|talk|tell|ask|answer|sing|sang|shout|whisper|yell(?!ow)|narrat|chant|voice|dialog|recit|call out)",
    re.IGNORECASE,
)
MUSIC = re.compile(
    r"音乐|配乐|歌|曲|旋律|(?<!节)奏|鼓|琴"
    r"|\b(?:music|song|sing|melod|tune|band|orchestra|piano|guitar|drum|violin|jazz|score|soundtrack|danc|concert)",
    re.IGNORECASE,
)
SOUND_WORDS = (
    "声音",
    "音效",
    "环境音",
    "音频",
    "Sound",
    "Audio",
    "Ambien",
)  # that a sentence of the sounds begins with
NOBODY = {True: "画面中没有人物对白，也没有旁白。", False: "Nobody speaks and there is no narration."}
NO_MUSIC = {True: "没有背景音乐。", False: "No background music."}


def chinese(text: str) -> bool:
    """Whether a text is to be continued in Chinese: at least a tenth of its letters are."""
    return 10 * len(CHINESE.findall(text)) >= sum(map(str.isalpha, text)) > 0


def says_nobody_speaks(text: str) -> bool:
    return SILENT.search(text) is not None


def speaks(text: str) -> bool:
    """Whether a text lets somebody speak or sing, or says that nobody does."""
    return SPEECH.search(text) is not None


def names_music(text: str) -> bool:
    return MUSIC.search(text) is not None
