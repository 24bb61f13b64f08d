"""Prompts: cleaning, tags, tokens and voices, by example and by property."""

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import read_fast

from nava_core import prompt as p
from nava_core.dialogue import compose, split_row

PIECES = 1000
SENTINEL = p.sentinel_id(PIECES)


def encode(text):
    """A stand-in for SentencePiece: one id a character, below the sentinel."""
    return [2 + ord(c) % (PIECES - 2) for c in text]


def tokens_of(text, limit=512):
    prompt = p.parse(text)
    return prompt, p.tokenize(prompt, encode, PIECES, limit)


def test_sentinel_of_umt5_xxl():
    assert p.sentinel_id(256000) == 256297


def test_cleaning():
    assert p.clean("  a\n\n b&amp;amp;c \t") == "a b&c"
    assert p.clean("schÃ¶n") == "schön"


def test_spans_and_positions():
    prompt, tokens = tokens_of("ab <S>cd<E> e <S:Anna>f<E>")
    assert prompt.names == (None, "Anna") and not prompt.problems
    assert prompt.text == "ab <S>cd<E> e <S>f<E>"
    assert [tokens.ids[i] for i in tokens.positions] == [SENTINEL] * 2
    assert tokens.positions == [6, 6 + 1 + len("cd<E> e <S>")]
    assert tokens.ids[-1] == p.EOS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<S>never closed", "never closed"),
        ("closed <E> only", "without an <S>"),
        ("<S>a<S>b<E><E>", "inside a spoken line"),
        ("<S:>who<E>", "names nobody"),
        ("<s>hello</s>", "no tag"),
    ],
)
def test_problems_are_told(text, words):
    problems = p.parse(text).problems
    print(problems)
    assert any(words in problem for problem in problems)


def bound(text, voices, limit=512):
    prompt, tokens = tokens_of(text, limit)
    return p.bind_voices(prompt, tokens, voices), tokens


def test_binding_by_order_and_name():
    binding, tokens = bound("<S>a<E><S:Anna>b<E><S>c<E><S:->d<E><S>e<E>", ["Anna", "", "Ben"])
    assert binding.indices == (1, 0, 2, None)
    assert binding.rows == tuple(tokens.positions[:4])  # the fifth line keeps its text: no voice is left
    assert not binding.warnings


def test_one_voice_on_many_lines():
    binding, _ = bound("<S:Anna>a<E><S:Anna>b<E>", ["Anna"])
    assert binding.indices == (0, 0)


def test_unknown_name_names_the_known_ones():
    with pytest.raises(p.PromptError, match=r"<S:Eve>.*Anna, Ben"):
        bound("<S:Eve>a<E>", ["Anna", "Ben"])


def test_two_voices_of_one_name_are_refused():
    with pytest.raises(p.PromptError, match="named Anna"):
        bound("<S>a<E>", ["Anna", "Anna"])


def test_unused_and_lost_are_told():
    binding, _ = bound("<S>a<E>" + "x" * 600 + "<S>b<E>", ["", "Ben"])
    assert binding.indices == (0,)
    assert any("spoken line 2" in w for w in binding.warnings) and any("Ben" in w for w in binding.warnings)


fragments = st.one_of(
    st.sampled_from(["<S>", "<E>", "<S:Anna>", "<S:->", "<S:>", "<S", "S>", "&lt;S&gt;", "&amp;lt;E&amp;gt;", "＜Ｓ＞", "：，。！",
                     "(a:1.2)", "<extra_id_2>", "😀👩‍👧", "\u200b", "\n\n", "word " * 200]),
    st.text(max_size=30),
)  # fmt: skip
prompts = st.lists(fragments, max_size=20).map("".join)


@given(prompts, st.integers(2, 512))
@settings(max_examples=400, deadline=None)
def test_positions_always_point_at_sentinels(text, limit):
    prompt, tokens = tokens_of(text, limit)
    assert len(tokens.ids) <= limit and tokens.ids[-1] == p.EOS
    kept = [i for i in tokens.positions if i is not None]
    assert all(tokens.ids[i] == SENTINEL for i in kept)
    assert kept == [i for i, t in enumerate(tokens.ids) if t == SENTINEL] == sorted(kept)
    assert len(prompt.names) == len(tokens.positions)
    assert tokens.positions[len(kept) :] == [None] * (len(tokens.positions) - len(kept)), "only the tail is cut off"


@given(prompts, st.integers(0, 5), st.integers(2, 512))
@settings(max_examples=400, deadline=None)
def test_nth_voice_goes_to_nth_kept_span(text, count, limit):
    prompt, tokens = tokens_of(text, limit)
    try:
        binding = p.bind_voices(prompt, tokens, [""] * count)
    except p.PromptError:
        assert any(n not in (None, p.NO_VOICE) for n in prompt.names)
        return
    plain = [row for name, row in zip(prompt.names, tokens.positions, strict=True) if name is None]
    expected = {row: i for i, row in enumerate(plain[:count]) if row is not None}
    assert {r: i for r, i in zip(binding.rows, binding.indices, strict=True) if i is not None} == expected


@given(st.text(alphabet=st.characters(blacklist_characters="<>&", blacklist_categories=("Cs", "Cc")), max_size=60))
@settings(max_examples=300, deadline=None)
def test_plain_text_never_changes(text):
    """Text without tags only passes through the cleaning, and is encoded whole."""
    prompt, tokens = tokens_of(text, 10_000)
    assert prompt.pieces == (p.clean(text),) and not prompt.names and not prompt.problems
    assert tokens.ids == [*encode(p.clean(text)), p.EOS]


@given(st.lists(st.text(alphabet="abc 你好，(:)1.2", max_size=12), min_size=1, max_size=6))
def test_text_around_tags_never_changes(words):
    text = "|".join(f"{w}<S>{w}<E>" for w in words)
    prompt = p.parse(text)
    assert prompt.text == p.clean(text)
    named = p.parse("|".join(f"{w}<S:Anna>{w}<E>" for w in words))
    assert named.text == p.clean(text), "a name never reaches the model"


@given(prompts)
@settings(max_examples=200, deadline=None)
def test_escaped_tags_are_tags(text):
    assert p.parse(html.escape(text, quote=False)).text == p.parse(text).text or "&" in text


def test_dialogue_is_composed():
    text = compose(
        "A kitchen.", "Anna (quietly): You could have called.\n\nBen: I did\n: Hello?\n安娜（轻声）：你好", "Rain."
    )
    print(text)
    assert text == (
        "A kitchen. Anna, quietly, says: <S:Anna>You could have called.<E> Ben says: <S:Ben>I did<E>. "
        "A voice says: <S>Hello?<E> 安娜轻声说：<S:安娜>你好<E>。 Rain."
    )
    assert not p.parse(text).problems
    assert p.parse(text).names == ("Anna", "Ben", None, "安娜")
    assert p.parse(compose("", "Anna: Hi.", by_name=False)).names == (None,)


@pytest.mark.parametrize("row", ["no colon here", "Anna (angry): a <S> b", "Anna:"])
def test_unreadable_script_row_is_named(row):
    with pytest.raises(p.PromptError, match="row 2"):
        compose("", f"Anna: fine\n{row}")


@pytest.mark.parametrize("row", ["Anna：hi", "Anna ( sad ) : hi", "（轻声）：你好", "A(b): c: d", " :x", "a b （c): d"])
def test_script_rows(row):
    assert "<E>" in compose("", row)


@pytest.mark.parametrize("row", ["Anna (a (b)): c", "Anna (a: c", "Anna) : c", "a <b>: c", "(a) b: c", ":"])
def test_no_script_rows(row):
    with pytest.raises(p.PromptError, match="row 1"):
        compose("", row)


HOSTILE = [
    " ", "\t", "\u3000", "\n", "\n ", "a\n", "汉\n", "(", "（", ":", "<", "<S", "<S:", "<S>", " <E> <S>", "< ", "<  /", "</ s",
    "&", "&amp;", "&#", "&#1", '"', "「", "“a", "汉", "word ", "Ã©", "😀", "e\u0301",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_no_time(piece):
    """100,000 characters through everything that reads users' text."""
    text = (piece * 100_000)[:100_000]
    readers = {
        "row": lambda: split_row(text),
        "row after a name": lambda: split_row(f"Anna{text}(how"),
        "clean": lambda: p.clean(text),
        "parse": lambda: p.parse(text),
        "near tag": lambda: p.NEAR_TAG.search(text),
        "quoted": lambda: p.QUOTED.findall(text),
    }
    read_fast(readers)


@pytest.mark.parametrize("text", ["&#" + "9" * 5000 + ";", "\ud800 half a character", "<S:" + "x" * 50_000 + ">a<E>"])
def test_odd_characters_are_read(text):
    prompt, tokens = tokens_of(text)
    prompt.text.encode()
    assert len(tokens.ids) <= 512


def test_messages_are_few_and_short():
    long = "x" * 5000
    for text in ("<E>" * 15_000, "<S>" * 15_000, f"<S:{long}>" * 10):
        problems = p.parse(text).problems
        assert len(problems) <= 5 and all(len(problem) < 300 for problem in problems)
    with pytest.raises(p.PromptError) as error:
        compose("", "\n".join(["no colon " + long] * 30))
    assert len(str(error.value)) < 600 and "27 more" in str(error.value)
    with pytest.raises(p.PromptError) as error:
        bound(" ".join(f"<S:{long}{i}>a<E>" for i in range(5)), [long, *(f"v{i}" for i in range(90))], 10**6)
    assert len(str(error.value)) < 600
    lost, _ = bound("x" * 600 + "<S>a<E>" * 30, [])
    assert len(lost.warnings) <= 5


def test_names_match_whatever_their_case():
    binding, _ = bound("<S:anna>a<E><S:BEN>b<E>", ["Ben", "Anna"])
    assert binding.indices == (1, 0)
    with pytest.raises(p.PromptError, match="two connected voices"):
        bound("<S:anna>a<E>", ["Anna", "anna"])


def test_empty_lines_and_unmarked_speech_are_told():
    binding, _ = bound("<S>a<E> <S> <E>", [])
    assert any("spoken line 2 is empty" in w for w in binding.warnings)
    assert p.unmarked_speech(p.parse('He says "come here" and <S>"now"<E>, 她说「过来」')) == ["come here", "过来"]
