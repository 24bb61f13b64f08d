"""What a language model answers -> one plain paragraph: no thinking, headings, lists, markup, remarks or loops.

What is longer than MOST_CHARACTERS is cut first, so that everything here takes a bounded time.
"""

import re
from itertools import pairwise

from .clean_text import unescape
from .dialogue import CHINESE
from .prompt import OPEN

MOST_CHARACTERS = 8000  # of an answer that are looked at; the model reads about 1200 Chinese characters
MOST_PERIOD = 80  # characters that an endless repetition may repeat
MOST_LABEL = 60
MOST_ESCAPES = 4  # times that HTML may be escaped; a prompt is unescaped twice when it is read

FIRST_PRIVATE, LAST_PRIVATE = 0xE000, 0xF8FF
# Each of these looks at a character a bounded number of times.
SPECIAL = re.compile(r"<\|[^<>|]{0,40}\|>|<\|?(?:start_of_turn|end_of_turn|turn|bos|eos|pad)\|?>")
# A tag of a spoken line as models misspell it, an opening one with its name; (1) slash, (2) letter, (3) name.
TAG = re.compile(r"[<＜]\s*(?:(/)\s*)?([sSeEＳＥ])(?:\s*[:：]([^<>＜＞]{0,200})|\s*)[>＞]")
MARKUP = re.compile(r"</?[a-zA-Z!][^<>]{0,200}>|https?://[^\s<>\u4e00-\u9fff]+")
LIST_MARK = re.compile(r"^(?:[-*•>]|\d{1,2}[.、)）])\s+")
REMARK = re.compile(r"^[(（]?(?:注|备注|说明|提示|解释|Notes?|Explanation|Remarks?|P\.?S)\s*[:：]", re.IGNORECASE)
LEAD_IN = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|here is|here's|below is|the rewritten|rewritten|prompt|output|answer|result"
    r"|好的|以下|这是|下面|改写|提示词|输出|结果|答案)",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[。！？!?…]+[”’」』\")）]{0,3}|[.;；][\"”’)]{0,3}(?=\s|$)")
ENDINGS = "。！？!?….;；"


def private(number: int) -> str:
    """The character that stands for the user's spoken line of this number while the text around it is worked on."""
    return chr(FIRST_PRIVATE + number)


def is_private(character: str) -> bool:
    return FIRST_PRIVATE <= ord(character) <= LAST_PRIVATE


def has_line(text: str) -> bool:
    return any(map(is_private, text))


def after_thinking(raw: str) -> str:
    """What follows the thinking; nothing when it never ended."""
    _, closed, rest = raw.rpartition("</think>")
    return rest if closed else raw.partition("<think>")[0]


def lines_of(text: str) -> list[str]:
    """The lines that describe something: no headings, rules, fences or list marks, nothing before or after the answer."""
    kept = []
    for line in text.splitlines():
        line = LIST_MARK.sub("", line.strip().lstrip("|").strip())
        if not line or line.startswith(("#", "```")) or not set(line) - set("-*_=~| "):
            continue
        if REMARK.match(line.lstrip("*_ ")) and kept:
            break
        label = line.strip("*_ ").endswith((":", "：")) and len(line) <= MOST_LABEL and OPEN not in line
        if label and (not kept or line.startswith("*")):
            continue
        kept.append(line)
    if kept and LEAD_IN.match(kept[0].lstrip('*_"“ ')):
        before, colon, rest = re.split(r"([:：])", kept[0], maxsplit=1) if re.search("[:：]", kept[0]) else ("", "", "")
        if colon and len(before) <= MOST_LABEL and OPEN not in before:
            kept[0] = rest.strip()
    return [line for line in kept if line]


def unrepeat(text: str) -> str:
    """The text without the loop that it ends in, and without sentences that it has said before."""
    for period in range(1, MOST_PERIOD + 1):
        unit, start = text[-period:], len(text)
        while len(unit) == period and start >= period and text[start - period : start] == unit:
            start -= period
        if len(text) - start >= max(4 * period, 20):
            text = text[: start + period]
            break
    seen, kept = set(), []
    for sentence in sentences(text):
        key = "".join(c for c in sentence.casefold() if c.isalnum())
        if len(key) < 6 or key not in seen or has_line(sentence):
            kept.append(sentence)
        seen.add(key)
    return "".join(kept)


def sentences(text: str) -> list[str]:
    """Cut after each end of a sentence; joined they are the text again."""
    ends = [0, *(found.end() for found in SENTENCE_END.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(ends) if b > a]


def whole(text: str) -> str:
    """The text up to its last whole sentence, where what is cut off is the smaller part."""
    text = text.rstrip()
    if not text or text[-1] in ENDINGS or is_private(text[-1]):
        return text
    parts = sentences(text)
    rest = parts[-1]
    if len(parts) > 1 and len(rest) < len(text) / 2 and not has_line(rest):
        return "".join(parts[:-1]).rstrip()
    return text.rstrip("，,、：: ") + ("。" if CHINESE.search(text) else ".")


def tidy(raw: str) -> str:
    """One plain paragraph; its tags are as the model wrote them. Empty when there is nothing in it."""
    text = after_thinking(raw)[:MOST_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    for _ in range(MOST_ESCAPES):
        text = unescape(text)
    if unescape(text) != text:
        text = text.replace("&", " ")
    text = "".join(" " if is_private(c) or c in "\0\r" else c for c in SPECIAL.sub(" ", text))
    kept = lines_of(text)
    joined = ""
    for line in kept:
        chinese = joined and CHINESE.match(line[0]) and (CHINESE.match(joined[-1]) or joined[-1] in "。！？；：，…")
        joined += line if not joined or chinese else f" {line}"
    joined = MARKUP.sub(lambda m: m[0] if TAG.fullmatch(m[0]) else " ", joined)
    for mark in ("**", "__", "~~", "`", "*", "|", "{", "}", "\\"):
        joined = joined.replace(mark, "")
    joined = re.sub(r"\s+", " ", joined).strip()
    for left, right in (('"', '"'), ("“", "”"), ("「", "」")):
        if joined.startswith(left) and joined.endswith(right) and joined.count(left) <= 2:
            joined = joined[1:-1].strip()
    return joined
