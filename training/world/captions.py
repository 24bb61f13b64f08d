"""Captions of scenes, in English and Chinese, in several wordings; they mention only what is there."""

import numpy as np

from .attributes import COLOURS, FLOORS, SKIES, STRENGTHS, TICKERS, WEATHERS
from .attributes import SHAPES as SHAPE_NAMES
from .lexicon import LEXICON

SILENT_EN = ["Nobody speaks.", "There is no speech.", "No voices are heard."]
SILENT_ZH = ["没有人说话。", "画面中没有对白。", "听不到人声。"]
NEGATIVE = "blurry picture, frozen picture, noise, silence, several people talking at once, muffled sound, distortion"
NEGATIVE_ZH = "画面模糊，静止不动的画面，杂音，没有声音，多人同时说话，沉闷的声音，失真"


def wordings(rng: np.random.Generator, english: list[str], chinese: list[str], silent: bool) -> dict[str, list[str]]:
    """All wordings of both languages, most of them saying that nobody speaks where that is so."""

    def close(text: str, ends: list[str], gap: str) -> str:
        return text + gap + ends[rng.integers(len(ends))] if silent and rng.random() < 0.8 else text

    return {
        "en": [close(t, SILENT_EN, " ") for t in english],
        "zh": [close(t, SILENT_ZH, "") for t in chinese],
    }


def bounce(rng, colour: str, shape: str, floor: str, sky: str) -> dict[str, list[str]]:
    c, s = COLOURS[colour][1], SHAPE_NAMES[shape]
    _, floor_en, floor_zh, sound_en, sound_zh = FLOORS[floor]
    sky_en, sky_zh = SKIES[sky][2:]
    return wordings(
        rng,
        [
            f"A {colour} {shape} falls onto a {floor_en} under {sky_en} and bounces. Each contact makes {sound_en}.",
            f"Under {sky_en}, a {colour} {shape} drops and bounces on a {floor_en}, with {sound_en} at every hit.",
            f"A {colour} {shape} bounces on a {floor_en}. The background is {sky_en}. Sound: {sound_en}.",
        ],
        [
            f"{sky_zh}下，一个{c}的{s}落到{floor_zh}上弹起来。每次碰撞都发出{sound_zh}。",
            f"一个{c}的{s}在{floor_zh}上弹跳，背景是{sky_zh}，碰到时有{sound_zh}。",
        ],
        silent=True,
    )


def tick(rng, ticker: str, colour: str, sky: str) -> dict[str, list[str]]:
    name_en, name_zh, sound_en, sound_zh = TICKERS[ticker]
    c = COLOURS[colour][1]
    sky_en, sky_zh = SKIES[sky][2:]
    verb_en, verb_zh = ("blinks", "闪烁") if ticker == "lamp" else ("swings", "摆动")
    return wordings(
        rng,
        [
            f"A {colour} {name_en} {verb_en} steadily under {sky_en}. At each turn there is {sound_en}.",
            f"Under {sky_en}, a {colour} {name_en} {verb_en}, with {sound_en} every time.",
        ],
        [
            f"{sky_zh}下，一个{c}的{name_zh}有节奏地{verb_zh}，每次都有{sound_zh}。",
            f"一个{c}的{name_zh}在{sky_zh}前{verb_zh}，发出{sound_zh}。",
        ],
        silent=True,
    )


def weather(rng, kind: str, strength: str, sky: str) -> dict[str, list[str]]:
    name_en, name_zh, sound_en, sound_zh = WEATHERS[kind]
    strong_en, strong_zh = STRENGTHS[strength]
    sky_en, sky_zh = SKIES[sky][2:]
    return wordings(
        rng,
        [
            f"There is {strong_en} {name_en} under {sky_en}, with the sound of {sound_en}.",
            f"Under {sky_en}: {strong_en} {name_en}. Sound: {sound_en}.",
        ],
        [
            f"{sky_zh}下，{strong_zh}{name_zh}，{sound_zh}。",
            f"画面是{sky_zh}和{strong_zh}{name_zh}，可以听到{sound_zh}。",
        ],
        silent=True,
    )


def talk(rng, colour: str, sky: str, words: str) -> dict[str, list[str]]:
    c = COLOURS[colour][1]
    sky_en, sky_zh = SKIES[sky][2:]
    return wordings(
        rng,
        [
            f"A {colour} face under {sky_en} says: <S>{words}<E> The voice is clear and near.",
            f"Under {sky_en}, a {colour} face looks at us and speaks: <S>{words}<E>",
        ],
        [
            f"{sky_zh}前，一张{c}的脸说：<S>{words}<E>声音清楚。",
            f"一张{c}的脸对着我们说：<S>{words}<E>背景是{sky_zh}。",
        ],
        silent=False,
    )


def two_faces(rng, colours: list[str], sky: str, words: list[str], first_left: bool) -> dict[str, list[str]]:
    """colours and words in the order of speaking."""
    a, b = (COLOURS[c][1] for c in colours)
    sky_en, sky_zh = SKIES[sky][2:]
    left, right = (("left", "right"), ("左边", "右边")) if first_left else (("right", "left"), ("右边", "左边"))
    return wordings(
        rng,
        [
            f"Two faces under {sky_en}. The {colours[0]} face on the {left[0]} says: <S>{words[0]}<E> Then the "
            f"{colours[1]} face on the {left[1]} answers: <S>{words[1]}<E>",
        ],
        [f"{sky_zh}下有两张脸。{right[0]}{a}的脸说：<S>{words[0]}<E>然后{right[1]}{b}的脸回答：<S>{words[1]}<E>"],
        silent=False,
    )


def corpus(seed: int = 0) -> list[str]:
    """Every wording with every value, and the negative prompts: what a tokenizer for this world must know."""
    rng = np.random.default_rng(seed)
    words = [w for language in LEXICON.values() for w in language]
    texts = []
    for sky in SKIES:
        for colour in COLOURS:
            other = str(rng.choice([c for c in COLOURS if c != colour]))
            texts += [bounce(rng, colour, shape, floor, sky) for shape in SHAPE_NAMES for floor in FLOORS]
            texts += [tick(rng, ticker, colour, sky) for ticker in TICKERS]
            texts += [talk(rng, colour, sky, word) for word in words]
            texts += [
                two_faces(rng, [colour, other], sky, [word, str(rng.choice(words))], bool(rng.random() < 0.5))
                for word in words
            ]
        texts += [weather(rng, kind, strength, sky) for kind in WEATHERS for strength in STRENGTHS]
    return [line for text in texts for language in text.values() for line in language] + [NEGATIVE, NEGATIVE_ZH] * 20
