"""Word and character error rates of what a recogniser heard. No recogniser is shipped or loaded."""


def edits(wanted: list, heard: list) -> int:
    """The least number of insertions, deletions and substitutions that make `wanted` of `heard` (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(wanted, 1):
        corner, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (a != b))
    return row[-1]


def error_rate(wanted: list, heard: list) -> float | None:
    """Edits per wanted item; None when nothing was wanted. Lists of words give the word error rate, of characters the other."""
    return edits(wanted, heard) / len(wanted) if wanted else None
