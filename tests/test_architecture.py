"""ARCHITECTURE.md: every folder is named, every node lies where it says, and imports go one way."""

import ast
import re

from support import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_folder_is_named():
    folders = {f.name for f in ROOT.iterdir() if f.is_dir() and any(f.iterdir())}
    hidden = {f for f in folders if f.startswith((".", "__"))} - {".ci", ".github"}
    unsaid = [
        f
        for f in folders - hidden - {"bench", "runs", "evaluation", "generated", "longer", "soak", "shared"}
        if f"`{f}/" not in PAGE
    ]
    assert not unsaid, f"ARCHITECTURE.md does not name {unsaid}"


def test_every_node_is_found_in_one_guess():
    """By the rule, or by the table of those that stand together."""
    told = {}
    for file, nodes in re.findall(r"^\| `(nodes/\w+\.py)` \| (.+) \|$", PAGE, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`(Nava\w+)`", nodes), file)
    for path in (ROOT / "nodes").glob("*.py"):
        for name in re.findall(r"^class (Nava\w+)\(io\.ComfyNode\)", path.read_text(encoding="utf-8"), re.MULTILINE):
            rule = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removeprefix("Nava")).lower()
            assert told.pop(name, f"nodes/{rule}.py") == f"nodes/{path.name}", (
                f"ARCHITECTURE.md sends people who look for {name} to another file: add it to the table"
            )
    assert not told, f"ARCHITECTURE.md tells of nodes that are not there: {list(told)}"


def test_imports_go_one_way():
    forbidden = {"nava_core": {"nodes", "training", "tools"}, "nodes": {"training", "tools"}}
    for folder, others in forbidden.items():
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.level >= len(path.relative_to(ROOT).parts):
                    assert (node.module or "").split(".")[0] not in others, f"{path.name} imports {node.module}"
