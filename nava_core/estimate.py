"""How long a prompt is, without the text encoder that knows."""

import re

# Characters a token, by script. umT5's pieces hold short English words whole,
# with the space before them, and about three Chinese characters in two tokens.
PIECE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]+|[^\W\d_\u2e80-\u9fff\uf900-\ufaff]+|\d|[^\w\s]|_")
LETTERS_PER_TOKEN = 5
HAN_PER_TOKEN = 1.5


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, without the encoder's own pieces."""
    count = 0.0
    for piece in PIECE.findall(text):
        if "\u2e80" <= piece[0] <= "\u9fff" or "\uf900" <= piece[0] <= "\ufaff":
            count += max(1, len(piece) / HAN_PER_TOKEN)
        else:
            count += max(1, len(piece) / LETTERS_PER_TOKEN)
    return round(count)
