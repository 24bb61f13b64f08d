"""Casts: rows, looks in prompts, files from strangers; composing a prompt from its parts."""

import json
import os
import random
import re
import signal
import struct
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import one_loop

from nava_core import cast as c
from nava_core.compose import assemble
from nava_core.files import CheckpointError, WriteError
from nava_core.phrases import PHRASES
from nava_core.prompt import PromptError, bind_voices, parse, tokenize
from nava_core.silence import NO_MUSIC, NOBODY, chinese
from nava_core.voice import EMBEDDING, Voice

ROWS = "Anna: a woman in a green sweater\nBen (#3aa0d8): an older man with a grey beard\n安娜：穿绿色毛衣的女人\nEve"


def voice(name, seed=0, seconds=0.0):
    generator = torch.Generator().manual_seed(seed)
    recording = torch.rand(int(seconds * 16000), generator=generator) - 0.5 if seconds else None
    return Voice(name, torch.randn(EMBEDDING, generator=generator), recording)


def test_rows_are_characters():
    cast = c.parse_characters(ROWS, [voice("ben"), voice(""), voice("Narrator")])
    assert [(x.name, x.look, x.colour) for x in cast.characters] == [
        ("Anna", "a woman in a green sweater", c.COLOURS[0]),
        ("Ben", "an older man with a grey beard", "#3aa0d8"),
        ("安娜", "穿绿色毛衣的女人", c.COLOURS[2]),
        ("Eve", "", c.COLOURS[3]),
        ("Narrator", "", c.COLOURS[4]),
    ]
    assert [x.voice is not None for x in cast.characters] == [True, True, False, False, True]
    assert cast.characters[1].voice.name == "Ben"


@pytest.mark.parametrize(
    ("rows", "word"),
    [("A<b>: x", "cannot be a name"), ("Anna: x\nanna: y", "two characters"), ("Anna (red): x", "row 1"), ("Anna: <b>x", "may not contain"),
     ("x" * 61, "at most 60"), (f"Anna: {'x' * 601}", "at most 600"), ("\n".join(f"P{i}" for i in range(101)), "at most 100"), ("-: x", "cannot be")],
)  # fmt: skip
def test_unusable_rows_are_named(rows, word):
    with pytest.raises(c.CastError, match=word):
        c.parse_characters(rows)
    with pytest.raises(c.CastError, match="voice 2 has no name"):
        c.parse_characters("Anna", [voice(""), voice("")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Anna sits. Anna stands.", "Anna (a woman in a green sweater) sits. Anna stands."),
        ("Hannah sits; Anna's hair.", "Hannah sits; Anna's (a woman in a green sweater) hair."),
        ("<S>Anna!<E> calls Ben.", "<S>Anna!<E> calls Ben (an older man with a grey beard)."),
        ("Rain. <S:anna>Hi<E>", "Anna: a woman in a green sweater. Rain. <S:anna>Hi<E>"),
        ("安娜坐着。", "安娜（穿绿色毛衣的女人）坐着。"),
        ("Nobody is here.", "Nobody is here."),
    ],
)
def test_looks_stand_at_the_first_mention(text, expected):
    cast = c.parse_characters(ROWS)
    assert cast.with_looks(text) == expected
    assert cast.with_looks(expected) == expected, "once is enough"
    assert parse(cast.with_looks(text)).spoken == parse(text).spoken


def tokens_of(text):
    return tokenize(parse(text), lambda t: [2] * len(t), 1000)


def test_a_cast_speaks_by_name_only():
    text = "<S>a<E><S:Ben>b<E><S:Anna>c<E><S:Eve>d<E>"
    binding = bind_voices(parse(text), tokens_of(text), ["Anna", ""], ["Ben", "Eve", "Unused"])
    assert binding.indices == (1, 2, 0, 3) and not binding.warnings
    with pytest.raises(PromptError, match=r"<S:Joe>.*Ben"):
        bind_voices(parse("<S:Joe>a<E>"), tokens_of("<S:Joe>a<E>"), [], ["Ben"])
    cast = c.parse_characters(ROWS)
    assert [x.name for x in c.speakers(cast, [voice("ANNA")])] == ["Ben", "安娜", "Eve"], "a connected voice goes first"


def test_files_hold_what_was_asked_for(tmp_path):
    cast = c.parse_characters(ROWS, [voice("Anna", 1, seconds=0.5), voice("Ben", 2)])
    path = c.save_cast(cast, tmp_path / "new", "my cast")
    loaded = c.load_cast(path)
    assert [(x.name, x.look, x.colour) for x in loaded.characters] == [
        (x.name, x.look, x.colour) for x in cast.characters
    ]
    assert torch.equal(loaded.characters[0].voice.embedding, cast.characters[0].voice.embedding)
    assert loaded.characters[0].voice.recording is None and loaded.characters[2].voice is None
    assert path.stat().st_size < 4096, "no recording in it"
    assert c.save_cast(cast, path.parent, "my cast") == path, "the same is not written twice"
    with_sound = c.save_cast(cast, path.parent, "my cast", recordings=True)
    assert with_sound.name == "my cast_2.safetensors" and c.load_cast(path) is not None, "nothing is overwritten"
    heard = c.load_cast(with_sound).characters[0].voice.recording
    assert (heard - cast.characters[0].voice.recording).abs().max() < 1e-4
    for name in ("", "../up", "CON"):
        with pytest.raises(c.CastError, match="cannot be a file name"):
            c.save_cast(cast, tmp_path, name)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_names_that_differ_in_case_keep_their_casts(tmp_path):
    """On a disk where both are one file, the second gets a number; nothing is overwritten."""
    paths = [c.save_cast(c.parse_characters(name), tmp_path, name) for name in ("Anna", "anna")]
    assert [c.load_cast(p).characters[0].name for p in paths] == ["Anna", "anna"]


def test_a_cast_on_a_full_or_forbidden_disk(small_disk):
    cast = c.parse_characters(ROWS, [voice("Anna", 1, seconds=5)])
    small = c.save_cast(c.parse_characters(ROWS), small_disk.folder, "small")
    with pytest.raises(WriteError, match=r"large\.safetensors cannot be written: .*Free some space"):
        c.save_cast(cast, small_disk.folder, "large", recordings=True)
    assert [p.name for p in small_disk.folder.iterdir()] == ["small.safetensors"]
    small_disk.forbid_writing()
    with pytest.raises(WriteError, match=r"other\.safetensors cannot be written: .*may be written to"):
        c.save_cast(cast, small_disk.folder, "other")
    with pytest.raises(WriteError, match="cannot be written"):
        c.save_cast(cast, small / "no folder", "other")
    assert len(c.load_cast(small).characters) == 4


def test_a_files_people_are_changed_by_what_is_written():
    saved = c.parse_characters("Anna: green\nBen: grey", [voice("Anna", 1), voice("Ben", 2)])
    both = saved.with_others(c.parse_characters("anna: red\nEve: tall", [voice("Eve", 3)]))
    assert [(x.name, x.look) for x in both.characters] == [("anna", "red"), ("Ben", "grey"), ("Eve", "tall")]
    assert both.characters[0].voice is saved.characters[0].voice


def written(path, metadata, tensors=()):
    """A safetensors file by hand: (name, dtype, shape, bytes)."""
    header, data = {"__metadata__": metadata} if metadata is not None else {}, b""
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


PERSON = {"name": "Anna", "look": "x", "colour": "#123456"}


def described(*people):
    return {"nava_cast": json.dumps({"characters": list(people)})}


@pytest.mark.parametrize(
    ("metadata", "tensors"),
    [
        (None, ()),
        ({"nava_cast": "[" * 100_000}, ()),
        ({"nava_cast": "null"}, ()),
        ({"nava_cast": "9" * 5000}, ()),
        ({"nava_cast": '{"characters": 3}'}, ()),
        ({"nava_cast": "{" + " " * 300_000 + "}"}, ()),
        (described("Anna"), ()),
        (described({"name": 3, "look": "", "colour": "#123456"}), ()),
        (described(PERSON | {"name": "<img src=x onerror=alert(1)>"}), ()),
        (described(PERSON | {"look": "<script>"}), ()),
        (described(PERSON | {"look": "a\u0000b"}), ()),
        (described(PERSON | {"colour": "red;background:url(x)"}), ()),
        (described(PERSON, PERSON), ()),
        (described(*[PERSON] * 101), ()),
        (described(PERSON), [("voice.0", "F32", [3], bytes(12))]),
        (described(PERSON), [("voice.0", "F16", [192], bytes(384))]),
        (described(PERSON), [("voice.0", "F32", [192], struct.pack("<f", float("nan")) * 192)]),
        (described(PERSON), [("voice.0", "F32", [192], bytes(768)), ("recording.0", "F32", [4], bytes(16))]),
        (described(PERSON), [("voice.0", "F32", [192], bytes(768)), ("recording.0", "I16", [], bytes(2))]),
    ],
)
def test_strangers_files_are_refused_by_name(tmp_path, metadata, tensors):
    path = written(tmp_path / "stranger.safetensors", metadata, tensors)
    with pytest.raises(CheckpointError, match=r"stranger\.safetensors") as error:
        c.load_cast(path)
    assert len(str(error.value)) < 400


def test_a_handmade_file_that_is_right_loads(tmp_path):
    path = written(tmp_path / "right.safetensors", described(PERSON), [("voice.0", "F32", [192], bytes(768))])
    assert c.load_cast(path).characters[0].look == "x"


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bytes\.safetensors"):
        c.load_cast(path)


@pytest.mark.parametrize("piece", [" ", "A", "Anna ", "<S>", "<E>", "(", "#", "安娜", "\n", "Anna's", "'"])
def test_hostile_text_takes_no_time(piece):
    text = (piece * 100_000)[:100_000]
    cast = c.parse_characters("Anna: a\n安: b\n" + "A" * 60 + ": c")
    start = time.process_time()
    cast.with_looks(text)
    c.COLOUR.fullmatch(text)
    try:
        c.parse_characters(text)
    except c.CastError as error:
        assert len(str(error)) < 700
    assert time.process_time() - start < 15 * one_loop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_a_kill_while_saving_leaves_whole_casts_or_none(tmp_path):
    """15 processes that save casts of 3 MB, killed at random moments."""
    dice = random.Random(0)
    content = c.to_bytes(c.Cast(tuple(c.Character(n, voice=voice(n, seconds=30)) for n in "ABC")), recordings=True)
    for turn in range(15):
        child = os.fork()
        if child == 0:
            try:
                for number in range(1000):
                    c.keep(content, tmp_path, f"{turn}_{number}")
            finally:
                os._exit(0)
        time.sleep(dice.uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    saved = list(tmp_path.glob("*.safetensors"))
    assert saved and all(len(c.load_cast(path).characters) == 3 for path in saved)


# Composing


def test_parts_stand_in_the_trained_order():
    text = assemble("Photorealistic film", "a small kitchen at night", "Anna turns around slowly", "medium shot, fixed",
                    "Anna (quietly): You could have called.", "rain on the window")  # fmt: skip
    assert text == (
        "Photorealistic film. a small kitchen at night. Anna turns around slowly. medium shot, fixed. "
        "Anna, quietly, says: <S:Anna>You could have called.<E> Sound: rain on the window. No background music."
    )
    assert not parse(text).problems


def test_silence_is_said():
    chinese = assemble("写实风格", "夜晚的厨房", "玻璃杯从桌上掉下来，摔碎", "镜头固定", "", "清脆的碎裂声")
    assert chinese == (
        "写实风格。夜晚的厨房。玻璃杯从桌上掉下来，摔碎。镜头固定。画面中没有人物对白，也没有旁白。声音：清脆的碎裂声。没有背景音乐。"
    )
    assert "Nobody speaks" in assemble("", "A beach", "", "", "", "waves")
    assert "Nobody speaks" not in assemble("", "A beach", "", "", "", "waves", say_silence=False)
    assert "Nobody speaks" not in assemble("", "A choir sings", "", "", "", "echoes")
    assert "No background music" not in assemble("", "A bar", "", "", "", "soft piano music")
    assert assemble("", "A beach", "", "", "She says: <S>Hi<E>", "").startswith("A beach. She says: <S>Hi<E>")
    for broken, word in (("", "empty"), ("no colon", "row 1")):
        with pytest.raises(PromptError, match=word):
            assemble("", "", "", "", broken, "")


def test_phrases_fit_their_part():
    """Each is of its language, and changes nothing that is said of speech and music but where it names them."""
    assert set(PHRASES) == {"style", "scene", "camera", "sound"}
    for part, pairs in PHRASES.items():
        assert len({p for pair in pairs for p in pair}) == 2 * len(pairs)
        for in_chinese in (False, True):
            for phrase in (pair[in_chinese] for pair in pairs):
                fields = dict.fromkeys(("style", "scene", "action", "camera", "dialogue", "sound"), "") | {part: phrase}
                text = assemble(**fields)
                assert chinese(phrase) == in_chinese and phrase in text and not parse(text).problems
                assert (NOBODY[in_chinese] in text) != bool(re.search("voice|人声", phrase))
                assert (NO_MUSIC[in_chinese] in text) != bool(re.search("piano|钢琴", phrase))
