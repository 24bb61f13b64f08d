"""What nodes say is said in both languages: every sentence of the code has its Chinese, and every Chinese one its sentence."""

import ast
import functools
import json
import re

from support import ROOT

TABLE = (ROOT / "js" / "nava_sentences.js").read_text(encoding="utf-8")
CHINESE = json.loads(TABLE[TABLE.index("{") : TABLE.rindex("}") + 1])
PANELS = re.findall(
    r'^  (?:"((?:[^"\\]|\\.)+)"|(\w+)):', (ROOT / "js" / "nava_words.js").read_text(encoding="utf-8"), re.M
)
ENGLISH_ONLY = {"parallel.py", "workers.py"}  # about processes and cards: for who sets up the machine
GAP = re.compile(r"\{\w*\}")


def template(node) -> str:
    """A text of the code with {} where values stand; other expressions are a gap as a whole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return "{}"


def said(node) -> list[str]:
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.IfExp):  # a sentence with one of two endings
        return [template(node.left) + template(end) for end in (node.right.body, node.right.orelse)]
    return [template(node)]


def bare(text: str) -> str:
    """A sentence without the node and input before it, every gap alike."""
    text = re.sub(r"\{\}(\{\})+", "{}", GAP.sub("{}", text))
    return re.sub(r"^(?:Nava\w+|NAVA|\{\}(?=, \w))(?:(?:, (?:\w| |\{\})+)?: |, (?=\{\}\.))|^\{\}: ", "", text)


@functools.cache
def said_in(folder: str) -> list:
    """(path, node) of every raise and every text."""
    kinds = ast.Raise | ast.Constant | ast.JoinedStr | ast.BinOp
    trees = [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted((ROOT / folder).rglob("*.py"))]
    return [(path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, kinds)]


def test_every_error_of_a_node_is_said_in_chinese():
    known = {bare(key) for key in CHINESE} | {bare(a or b) for a, b in PANELS}
    silent = []
    for path, node in said_in("nodes"):
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and node.exc.args
            and path.name not in ENGLISH_ONLY
        ):
            texts = map(bare, said(node.exc.args[0]))
            wanting = [
                t for t in texts if re.search("[a-z]", t) and t not in known and t.removesuffix(".") not in known
            ]
            silent += [f"{path.name}:{node.lineno}: {text}" for text in wanting]
    assert not silent, "\n".join(silent)


def test_every_chinese_sentence_is_one_that_the_code_says():
    code = "\n".join(
        text
        for _, node in (*said_in("nodes"), *said_in("nava_core"))
        if not isinstance(node, ast.Raise)
        for text in said(node)
    )
    for key, chinese in CHINESE.items():
        assert sorted(GAP.findall(key)) == sorted(GAP.findall(chinese)), f"both have the same values: {key}"
        missing = [part for part in GAP.split(key) if len(part.strip()) > 3 and part not in code]
        assert not missing, (key, missing)
