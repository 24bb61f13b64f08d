"""Writing prompts without typing tags: a scene, a script of spoken lines, and the sounds."""

import re

from .prompt import CLOSE, PromptError

LINE = re.compile(r"^\s*(?P<who>[^:：()（）<>]*?)\s*(?:[(（](?P<how>[^()（）]*)[)）])?\s*[:：]\s*(?P<words>.+?)\s*$")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def compose(scene: str, script: str, sounds: str = "", by_name: bool = True) -> str:
    """One prompt paragraph.

    script: one spoken line per row, `Name (how it is said): words`; the name and the manner may be left out, but not
    the colon. by_name tags lines `<S:Name>`, so that the voice of that name speaks them. Raises PromptError naming
    the row that cannot be read.
    """
    parts = [scene.strip()]
    for number, row in enumerate(script.splitlines(), 1):
        if not row.strip():
            continue
        match = LINE.match(row)
        if match is None:
            raise PromptError(f"row {number}, “{row.strip()}”: write it as “Name (how it is said): words”")
        who, how, words = match["who"], (match["how"] or "").strip(), match["words"]
        if "<" in words or ">" in words:
            raise PromptError(f"row {number}, “{row.strip()}”: the words may not contain < or >")
        tag = f"<S:{who}>" if by_name and who else "<S>"
        ended = words[-1] in ".!?…。！？"
        if CHINESE.search(row):
            parts.append(f"{who}{how}说：{tag}{words}{CLOSE}{'' if ended else '。'}")
        else:
            says = ", ".join(filter(None, [who or "A voice", how])) + (", says: " if how else " says: ")
            parts.append(f"{says}{tag}{words}{CLOSE}{'' if ended else '.'}")
    parts.append(sounds.strip())
    return " ".join(filter(None, parts))
