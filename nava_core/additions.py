"""What a rewriting added to a prompt, to be shown."""

import re
from difflib import SequenceMatcher

PIECE = re.compile(r"[\u4e00-\u9fff]|\w+|\s+|[^\w\s]")


def additions(source: str, text: str) -> list[tuple[bool, str]]:
    """text cut into what is new (True) and what stood in the source, in its order; joined the pieces are the text."""
    old, new = PIECE.findall(source), PIECE.findall(text)
    pieces: list[tuple[bool, str]] = []
    for kind, _, _, start, end in SequenceMatcher(None, old, new, autojunk=True).get_opcodes():
        if end > start:
            pieces.append((kind != "equal", "".join(new[start:end])))
    return pieces
