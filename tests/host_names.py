"""The names of ComfyUI that the nodes use and that are no public API, with their signatures.

python tests/host_names.py HOST      writes tests/data/host_names.json, which tests/test_host_names.py compares a host with
"""

import ast
import enum
import importlib
import inspect
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests" / "data" / "host_names.json"


def names_in(tree: ast.AST) -> set[str]:
    """`comfy.module.name` of every import and every attribute of an imported module."""
    found, alias = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "comfy":
                    alias[name.asname or "comfy"] = name.name if name.asname else "comfy"
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "comfy":
            for name in node.names:
                alias[name.asname or name.name] = f"{node.module}.{name.name}"
                found.add(f"{node.module}.{name.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts, inner = [], node
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in alias:
                found.add(".".join([alias[inner.id], *reversed(parts)]))
    return found


def resolved(name: str):
    """(module, name within it, object or None) of a dotted name; deeper attributes are left off."""
    parts = name.split(".")
    module, count = None, 0
    for i in range(1, len(parts) + 1):
        try:
            module, count = importlib.import_module(".".join(parts[:i])), i
        except ImportError:
            break
    if count == len(parts):
        return None
    return module.__name__, parts[count], getattr(module, parts[count], None)


def signature_of(thing) -> str:
    """The names of its parameters, those with a default marked; what it is, where it takes none."""
    if thing is None:
        return "gone"
    if not callable(thing) or (isinstance(thing, type) and issubclass(thing, enum.Enum)):
        return type(thing).__name__
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (ValueError, TypeError):
        return type(thing).__name__
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return f"({', '.join(stars.get(p.kind, '') + p.name + ('' if p.default is p.empty else '=') for p in parameters)})"


def of_this_host() -> dict[str, str]:
    names = set()
    for path in sorted((ROOT / "nodes").rglob("*.py")):
        names |= names_in(ast.parse(path.read_text(encoding="utf-8")))
    found = {}
    for name in sorted(names):
        place = resolved(name)
        if place:
            module, own, thing = place
            found[f"{module}.{own}"] = signature_of(thing)
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.argv[1]).resolve()))
    sys.argv = sys.argv[:1]
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    version = importlib.import_module("comfyui_version").__version__
    names = of_this_host()
    KNOWN.write_text(json.dumps({"version": version, "names": names}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {len(names)} names")
