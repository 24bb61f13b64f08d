"""Text as the released model's tokenizer gets it: broken encodings repaired, one form of quotes, letters and spaces."""

import functools
import html
import logging
import re
import unicodedata

MOST_LINES = 1000  # that are repaired one by one
# What ftfy does beside encodings. Half a character's worth of widths: full-width Latin, half-width katakana and hangul.
LINE_BREAKS = dict.fromkeys(map(ord, "\r\u2028\u2029\u0085"), "\n")
CONTROLS = dict.fromkeys(
    (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), *range(0xFFF9, 0xFFFD), 0xFEFF)
)
WIDTHS = {c: unicodedata.normalize("NFKC", chr(c)) for c in (0x3000, *range(0xFF01, 0xFFEF))}
DIGRAPHS = (*range(0x132, 0x134), 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4))
LIGATURES = {c: unicodedata.normalize("NFKC", chr(c)) for c in DIGRAPHS} | {
    0xFB00 + i: letters for i, letters in enumerate(("ff", "fi", "fl", "ffi", "ffl", "ſt", "st"))
}
TERMINAL = re.compile("\033\\[((?:\\d|;)*)([a-zA-Z])")
SINGLE, DOUBLE = re.compile("[\u02bc\u2018-\u201b]"), re.compile("[\u201c-\u201f]")


def clean(text: str) -> str:
    """Repair mojibake, unescape HTML twice, collapse white space."""
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair has no tokens
    lines = [line for line in text.split("\n") if line.strip()]
    # Encodings are guessed line by line, which for very many lines takes seconds.
    text = repair()(("\n" if len(lines) <= MOST_LINES else " ").join(lines))
    return " ".join(unescape(unescape(text)).split())


@functools.cache
def repair():
    """ftfy's `fix_text` as the released code calls it; where that package is missing, the same without the guess at encodings."""
    try:
        from ftfy import fix_text
    except ImportError:
        logging.warning(
            "The package ftfy is not installed: text that a wrong encoding has broken (Ã¤ for ä) is left as it is. All else works. "
            "It comes with this pack's requirements.txt."
        )
        return plainly
    return fix_text


def plainly(text: str) -> str:
    """What `fix_text` does to text whose encoding is right."""
    text = TERMINAL.sub("", unescape(text) if "<" not in text else text)
    text = text.translate(LIGATURES).translate(WIDTHS)
    text = SINGLE.sub("'", DOUBLE.sub('"', text))
    text = text.replace("\r\n", "\n").translate(LINE_BREAKS)
    return unicodedata.normalize("NFC", text.translate(CONTROLS))


def unescape(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a number with thousands of digits, which names no character
        return text
