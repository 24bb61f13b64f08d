"""Rewriting: whatever a language model answers, the user's spoken lines stand in the result, and it ends."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import one_loop, read_fast

from nava_core import dialogue, silence, tidy
from nava_core.additions import additions
from nava_core.estimate import PIECE, estimated_tokens
from nava_core.prompt import TOKEN_LIMIT, parse
from nava_core.rewrite import RewriteError, check_source, rewrite
from nava_core.spoken import keeps, lines_of, mend


def count(text):
    """Tokens as they are estimated without a text encoder, a sentinel for each line and the end token."""
    prompt = parse(text)
    return sum(map(estimated_tokens, prompt.pieces)) + len(prompt.names) + 1


SOURCE = (
    "A woman by the sea smiles and says softly: <S:Anna>The sea today is just as it was.<E> "
    "Then Ben, behind her, answers: <S:Ben>That year, yes!<E> Waves break."
)
GOOD = (
    "写实风格，清晨的海边，一位三十多岁的女人站在木栈道上，风吹起她的头发，浅蓝色的围巾在身后轻轻飘动。镜头从远处缓缓推近。"
    "她转过头来，微笑着轻声说：{0}随后身后的本走近一步，回答：{1}两人一起望向海面。声音：海浪有节奏地拍打沙滩，远处有海鸥的叫声。"
)
ANNA, BEN = "<S:Anna>The sea today is just as it was.<E>", "<S:Ben>That year, yes!<E>"


def rewritten(raw, source=SOURCE, in_chinese=True, limit=TOKEN_LIMIT):
    result = rewrite(source, lambda number: raw, in_chinese, count, limit)
    print(result)
    return result


def test_a_clean_answer_is_taken_at_once():
    result = rewritten(GOOD.format(ANNA, BEN))
    assert result.text == GOOD.format(ANNA, BEN) and result.tries == 1 and not result.notes


@pytest.mark.parametrize(
    "raw",
    [
        "<think>\nThe user wants…\n</think>\n\n" + GOOD.format(ANNA, BEN),
        "## 提示词\n\n" + GOOD.format(ANNA, BEN) + "\n\n注：台词保持原样。",
        "```text\n" + GOOD.format(ANNA, BEN) + "\n```",
        "**" + GOOD.format(ANNA, BEN).replace("声音", "**声音**") + "**",
        "Here is the rewritten prompt:\n" + GOOD.format(ANNA, BEN),
        "<p>" + GOOD.format(ANNA, BEN) + "</p><|im_end|>",
    ],
)
def test_wrapping_is_taken_off(raw):
    assert rewritten(raw).text == GOOD.format(ANNA, BEN) and rewritten(raw).tries == 1


@pytest.mark.parametrize(
    ("what", "anna", "ben"),
    [
        ("translated", "<S:Anna>今天的海，和那年一样。<E>", "<S:Ben>那年，是啊！<E>"),
        ("other case and tags", "<s:anna>the sea today is just as it was.</s>", "< S : Ben >That year, yes!< E >"),
        ("names swapped", ANNA.replace("Anna", "Ben"), BEN.replace("Ben", "Anna")),
        ("names lost", ANNA.replace(":Anna", ""), BEN.replace(":Ben", "")),
        ("quoted instead", "“The sea today is just as it was.”", '"That year, yes!"'),
    ],
)
def test_lines_come_back_in_their_places(what, anna, ben):
    result = rewritten(GOOD.format(anna, ben))
    assert result.text == GOOD.format(ANNA, BEN) and result.tries == 3 and "mended" in result.notes[0]


def test_full_width_tags_are_tags():
    assert rewritten(GOOD.format(ANNA.replace("<", "＜").replace(">", "＞"), BEN)).text == GOOD.format(ANNA, BEN)


def test_what_is_missing_is_put_back_with_its_speaker():
    text = rewritten(GOOD.format(ANNA, "……")).text
    assert f"{ANNA}随后" in text and f"Ben说：{BEN}" in text and text.index(BEN) < text.index("声音")
    text = rewritten(GOOD.format("一句话。", BEN)).text
    assert text.index(f"Anna说：{ANNA}") < text.index(BEN)
    english = rewritten(
        "A long beach in the morning light, two people far away. " * 3 + "Sound: waves.", in_chinese=False
    )
    assert f"A woman by the sea smiles and says softly: {ANNA}" in english.text
    assert english.text.endswith("Sound: waves."), "lines stand before the sound"


def test_what_is_new_goes_with_what_leads_to_it():
    text = rewritten(GOOD.format(f"{ANNA}她又说：<S:Eve>Come with me.<E>", f"{BEN}{ANNA}")).text
    assert "Come" not in text and "她又说" not in text and text.count(ANNA) == 1


def test_order_is_the_users():
    text = rewritten(GOOD.format(BEN, ANNA)).text
    assert text.index(ANNA) < text.index(BEN)


@pytest.mark.parametrize("loop", ["海浪拍打着沙滩，", "好", "the waves break and ", "他走了过来。"])
def test_endless_repetition_ends(loop):
    result = rewritten(GOOD.format(ANNA, BEN) + loop * 1000)
    assert result.rewritten and result.text.count(loop) <= 2 and "repeated itself" in result.notes[0]


def test_ten_thousand_words_are_cut_to_what_the_model_reads():
    words = " ".join(f"Thing number {i} moves slowly to the left." for i in range(10_000))
    result = rewritten(f"{words[:3000]} {ANNA} {words[3000:]} {BEN}", in_chinese=False)
    assert result.rewritten and count(result.text) <= TOKEN_LIMIT and keeps(SOURCE, result.text)


@pytest.mark.parametrize(
    "raw", ["", "   \n", "<think>never ends", "ok", "```\n```", "###", "\0\0", "&" * 9000, "<S>" * 3000]
)
def test_nothing_useful_leaves_the_prompt(raw):
    result = rewritten(raw)
    assert result.text == SOURCE and not result.rewritten and "left as it is" in result.notes[0]


def test_most_of_the_prompt_may_not_get_lost():
    result = rewritten(
        "A short remark about it. " + ANNA + BEN, SOURCE + " " + "It rains on the roof of house 12. " * 9
    )
    assert not result.rewritten and "left out most" in result.notes[0]


def test_language_is_asked_for():
    assert (
        "in Chinese"
        in rewritten("The sea in the morning light, a woman turns around and smiles. " + ANNA + BEN).notes[0]
    )


def test_nobody_speaks_unless_asked():
    quiet = "A glass falls from a table and breaks on the stone floor."
    text = rewritten("写实风格，一只玻璃杯从桌边滑落，在石头地面上摔碎，碎片四散。声音：清脆的碎裂声。", quiet).text
    assert silence.NOBODY[True] in text and text.index(silence.NOBODY[True]) < text.index("声音")
    text = rewritten(f"A glass slides off the table and breaks into many pieces. He says: {ANNA}", quiet, False).text
    assert text == f"A glass slides off the table and breaks into many pieces. {silence.NOBODY[False]}"
    singer = "A choir sings in a church, candles everywhere, the camera drifts."
    assert silence.NOBODY[False] not in rewritten(singer + " Echoes in the nave.", singer, False).text


def test_the_best_of_three_is_taken():
    answers = [GOOD.format("", ""), GOOD.format(ANNA, BEN), "never asked"]
    asked = []
    result = rewrite(SOURCE, lambda n: asked.append(n) or answers[n], True, count)
    assert asked == [0, 1] and result.tries == 2 and not result.notes


def test_what_cannot_be_kept_is_refused_first():
    for source, word in (("<S>open", "never closed"), ("<S>a<E>" * 101, "101"), ("x" * 9000, "9000")):
        with pytest.raises(RewriteError, match=word):
            check_source(source)


def test_lines_stay_as_they_were_typed():
    source = "她说：<S:安娜>“今天的海，和那年一模一样！”<E>　<S>ｆｕｌｌ　ｗｉｄｔｈ<E>"
    assert [line.words for line in lines_of(source)] == ["“今天的海，和那年一模一样！”", "ｆｕｌｌ ｗｉｄｔｈ"]


def test_additions_are_told_from_what_was_there():
    pieces = additions("A cat sleeps.", "A grey cat sleeps. 很安静。")
    assert [new for new, _ in pieces] == [False, True, False, True]
    assert "".join(piece for _, piece in pieces) == "A grey cat sleeps. 很安静。"


words = st.one_of(
    st.text(alphabet="abc 你好，。!?:'\"“”", max_size=20),
    st.sampled_from(["Yes.", "The sea!", "今天的海，和那年一样。", "schÃ¶n", "&amp;lt;b", "**a**", "1. b", "# c", "</think>", "", "a|b"]),
)  # fmt: skip
names = st.sampled_from([None, "-", "Anna", "本"])
lines = st.lists(st.tuples(names, words), max_size=5)


def tagged(name, text):
    return f"<S{'' if name is None else ':' + name}>{text}<E>"


@st.composite
def conversations(draw):
    """(source, a hostile answer to it): its lines kept, dropped, doubled, reordered, retagged, translated, and rubbish."""
    spans = draw(lines)
    source = "A scene. " + " He says: ".join(tagged(*span) for span in spans)
    own = [tagged(*span) for span in spans] + [text for _, text in spans]
    other = [tagged(name, text.upper()) for name, text in spans] + [tagged(None, "翻译"), tagged("Eve", "new")]
    rubbish = ["<S>", "<E>", "<S:", "</s>", "< s : Anna >", "＜Ｓ＞", "<think>", "</think>", "```", "\n# Title\n", "\n- item ", "{}",
               "<b>", "<script>alert(1)</script>", "&amp;amp;lt;S&amp;amp;gt;", "<|im_end|>", "\ue000", "\ue001", "word " * 2000,
               "说：", "声音：海浪。", "Sound: rain. ", "好好好好好好好好好好", ".", "A man walks slowly. ", "他走过来。", "\ud800", "\u2028"]  # fmt: skip
    pieces = draw(st.lists(st.sampled_from(own + other + rubbish) | st.text(max_size=20), max_size=16))
    return source, "".join(pieces)


@given(conversations(), st.booleans(), st.integers(40, 512))
@settings(max_examples=150, deadline=None)
def test_no_answer_changes_a_spoken_letter(conversation, in_chinese, limit):
    source, raw = conversation
    prompt = parse(source)
    if prompt.problems:
        with pytest.raises(RewriteError):
            check_source(source)
        return
    result = rewrite(source, lambda number: raw, in_chinese, count, limit, tries=1)
    found = parse(result.text)
    assert found.names == prompt.names and found.spoken == prompt.spoken
    assert result.rewritten or (result.text == source and result.notes)
    if result.rewritten:
        assert count(result.text) <= limit
        around = "".join(piece.partition("<E>")[2] for piece in ["<E>" + found.pieces[0], *found.pieces[1:]])
        for mark in ("\n", "```", "**", "<b>", "<script", "<think", "</think", "<|", "\ue000", "\ue001"):
            assert mark not in around.replace("<S>", ""), mark
    mended = mend(source, tidy.tidy(raw), in_chinese, count, limit)
    again = mend(source, mended, in_chinese, count, limit)
    if keeps(source, mended) and not set("&*#|`{}\\") & set(source):
        assert parse(again).spoken == prompt.spoken, "what was mended stays mended"


HOSTILE = [
    " ", "\n", "<", "< ", "<S", "<S:", "<S>", "</", "<|a", "<a ", "http://", "**a", "1. ", "注：", "。", ".", ". ", '."', "好", "abc. ",
    "no dialogu", "没有", "nobody ", "&amp;", "\ue000", "|", "Sure:", "　", "＜Ｓ：", "…",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_no_time(piece):
    """100,000 characters through every regular expression here, and a whole rewriting of them."""
    text = (piece * 100_000)[:100_000] + "x"  # what ends otherwise is what goes back and forth
    patterns = [v for m in (tidy, silence, dialogue) for v in vars(m).values() if hasattr(v, "pattern")] + [PIECE]
    assert len(patterns) >= 11
    readers = {"tidy": lambda: tidy.tidy(text)}
    for p in set(patterns):
        readers[p.pattern] = lambda p=p: [p.match(text), sum(1 for _ in p.finditer(text))]
        readers[f"{p.pattern} after <S:"] = lambda p=p: [
            p.match("<S:" + text),
            sum(1 for _ in p.finditer("<S:" + text)),
        ]
    read_fast(readers)
    start = time.process_time()
    rewrite(SOURCE, lambda number: text, True, count, tries=1)
    assert time.process_time() - start < 60 * one_loop()
