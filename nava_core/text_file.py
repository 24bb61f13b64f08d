"""Text files as people's programs write them: with or without a byte order mark, in UTF-8 or UTF-16, lines ending at \\n alone."""

import codecs
from pathlib import Path

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> str:
    """A file's text without its mark. Raises ValueError that names the file when it is in another encoding; OSError."""
    data = path.read_bytes()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text: save it as UTF-8") from None


def lines_of(text: str) -> list[str]:
    """The lines of a text. Unlike `splitlines`, U+2028, U+0085 and their like are letters of a line, as JSON has them."""
    return [line.removesuffix("\r") for line in text.split("\n")]
