"""Writing prompts without typing tags: a scene, a script of spoken lines, and the sounds."""

import re

from .prompt import CLOSE, PromptError, few, short

CHINESE = re.compile(r"[\u4e00-\u9fff]")


COLONS = str.maketrans(dict.fromkeys("﹕∶꞉︰", ":"))
LISTED = re.compile(r"(?:[-–—•·>+]|\d{1,3}[.)])\s+")  # what editors put before rows of a list
QUOTES = ('""', "“”", "„“", "„”", "«»", "「」", "『』", "‘’", "''", "＂＂")


def plain_row(row: str) -> str:
    """A row without the marks that text editors leave in it: lists, bold names, odd colons."""
    row = row.strip().translate(COLONS)
    mark = LISTED.match(row)
    row = row[mark.end() :] if mark else row
    row = row.replace("**", "").replace("__", "").strip()
    end = next((i for i, c in enumerate(row) if c in ":："), 0)
    return row[:end].replace("*", "").strip(" _`") + row[end:] if end and row[:end].count("*") % 2 == 0 else row


def unquoted(words: str) -> str:
    """Words without the quotation marks around all of them: what is said is spoken anyway."""
    inner = words[1:-1]
    around = len(words) > 2 and words[0] + words[-1] in QUOTES and not set(inner) & {words[0], words[-1]}
    return inner.strip() if around else words


def split_row(row: str) -> tuple[str, str, str] | None:
    """(who, how, words) of a row `Name (how it is said): words`; None when it is not written so.

    Every character is looked at once: a regular expression with three optional parts would go back and forth.
    """
    row = plain_row(row)
    end = next((i for i, c in enumerate(row) if c in ":：()（）<>"), len(row))
    who, rest, how = row[:end].rstrip(), row[end:], ""
    if rest[:1] in ("(", "（"):
        end = next((i for i, c in enumerate(rest) if i and c in "()（）"), len(rest))
        if rest[end : end + 1] not in (")", "）"):
            return None
        how, rest = rest[1:end].strip(), rest[end + 1 :].lstrip()
    words = unquoted(rest[1:].strip())
    return (who, how, words) if rest[:1] in (":", "：") and words else None


def ended(words: str) -> bool:
    """Whether a spoken line ends its sentence itself."""
    return words.endswith(tuple(".!?…。！？"))


def compose(scene: str, script: str, sounds: str = "", by_name: bool = True) -> str:
    """One prompt paragraph.

    script: one spoken line per row, `Name (how it is said): words`; the name and the manner may be left out, but not
    the colon. by_name tags lines `<S:Name>`, so that the voice of that name speaks them. Raises PromptError naming
    the rows that cannot be read, at most three of them.
    """
    parts, faults = [scene.strip()], []
    for number, row in enumerate(script.splitlines(), 1):
        if not row.strip():
            continue
        read = split_row(row)
        if read is None:
            faults.append(f"row {number}, “{short(row.strip())}”: write it as “Name (how it is said): words”")
            continue
        who, how, words = read
        if "<" in words or ">" in words:
            faults.append(f"row {number}, “{short(row.strip())}”: the words may not contain < or >")
            continue
        tag = f"<S:{who}>" if by_name and who else "<S>"
        stop = "" if ended(words) else "。" if CHINESE.search(row) else "."
        if CHINESE.search(row):
            parts.append(f"{who}{how}说：{tag}{words}{CLOSE}{stop}")
        else:
            says = ", ".join(filter(None, [who or "A voice", how])) + (", says: " if how else " says: ")
            parts.append(f"{says}{tag}{words}{CLOSE}{stop}")
    if faults:
        raise PromptError("; ".join(few(faults)))
    parts.append(sounds.strip())
    return " ".join(filter(None, parts))
