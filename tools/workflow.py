"""Editor workflows -> the API format that ComfyUI's server runs. Standard library only."""

import json
import sys
from pathlib import Path

from flatten import Flattener, Plain, Value, WorkflowError

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "COMFY_DYNAMICCOMBO_V3"}


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def widgets(info: dict, given: dict | list | None = None, prefix: str = "") -> list[tuple[str | None, list]]:
    """(name, spec) of a node's widgets, in the order in which their values are stored.

    The name is None for the value that `control_after_generate` adds. A dynamic combo is followed by the widgets of
    its chosen option; the choice is looked up in `given`: values by name, or the stored list itself.
    """
    found: list[tuple[str | None, list]] = []
    order = info.get("input_order") or {group: list(info["input"].get(group, {})) for group in ("required", "optional")}
    for group in ("required", "optional"):
        for name in order.get(group, []):
            spec = info["input"][group][name]
            kind, *options = spec
            settings = options[0] if options else {}
            kind = settings.get("widgetType", kind)
            if not (isinstance(kind, list) or kind in WIDGET_TYPES) or settings.get("forceInput"):
                continue
            found.append((prefix + name, spec))
            if settings.get("control_after_generate"):
                found.append((None, spec))
            if kind == "COMFY_DYNAMICCOMBO_V3":
                if isinstance(given, list):
                    choice = given[len(found) - 1] if len(found) <= len(given) else settings["options"][0]["key"]
                    rest = given[len(found) :]
                else:
                    choice, rest = (given or {}).get(prefix + name, settings["options"][0]["key"]), given
                chosen = next((o for o in settings["options"] if o["key"] == choice), {"inputs": {}})
                found += widgets({"input": chosen["inputs"]}, rest, f"{prefix}{name}.")
    return found


def default(spec: list):
    """A widget's value when nothing is said."""
    kind, *options = spec
    settings = options[0] if options else {}
    kind = settings.get("widgetType", kind)
    if "default" in settings:
        return settings["default"]
    if isinstance(kind, list):
        return kind[0] if kind else ""
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return settings["options"][0]["key"]
    if kind == "COMBO":
        return (settings.get("options") or [""])[0]
    return {"STRING": "", "BOOLEAN": False}.get(kind, 0)


def stored_values(node: dict, object_info: dict) -> dict:
    """What a plain node stores for its widgets, by name; the defaults for those added since the file was written."""
    kind = node["type"]
    if kind not in object_info:
        raise WorkflowError(f"the server has no node {kind}")
    info, values = object_info[kind], node.get("widgets_values") or []
    if isinstance(values, dict):
        return {name: values.get(name, default(spec)) for name, spec in widgets(info, values) if name is not None}
    known = widgets(info, values)
    # the editor's own widgets (upload buttons, previews) are stored after these
    values = [*values[: len(known)], *(default(spec) for _, spec in known[len(values) :])]
    return {name: value for (name, _), value in zip(known, values, strict=True) if name is not None}


def to_api(workflow: dict, object_info: dict) -> dict:
    """Convert an editor workflow, its subgraphs laid flat; object_info is the server's answer to /object_info.

    Raises WorkflowError for what is none, or cannot be laid flat.
    """
    try:
        return laid_flat(workflow, object_info)
    except WorkflowError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise WorkflowError(f"this is no editor workflow that can be read ({type(error).__name__}: {error})") from error


def laid_flat(workflow: dict, object_info: dict) -> dict:
    prompt = {}
    flattener = Flattener(workflow, lambda node, name: stored_values(node, object_info).get(name))
    for plain in without_unknown(flattener.plain(), object_info):
        kind = plain.node["type"]
        inputs = stored_values(plain.node, object_info)
        for name, source in plain.sources.items():
            inputs[name] = source.value if isinstance(source, Value) else list(source)
        prompt[plain.id] = {"class_type": kind, "inputs": inputs, "_meta": {"title": plain.node.get("title", kind)}}
    return prompt


def without_unknown(nodes: list[Plain], object_info: dict) -> list[Plain]:
    """Nodes without those that the server has not and no other needs (labels, bookmarks, switches of the editor): they are named.

    Raises WorkflowError for one that another node needs.
    """
    unknown = {p.id: p.node["type"] for p in nodes if p.node["type"] not in object_info}
    kept = [p for p in nodes if p.id not in unknown]
    for plain in kept:
        for name, source in plain.sources.items():
            if not isinstance(source, Value) and source[0] in unknown:
                raise WorkflowError(
                    f"the server has no node {unknown[source[0]]}, which {plain.node['type']} needs for {name}: install the pack that it is from"
                )
    if unknown:
        names = ", ".join(sorted(set(unknown.values())))
        print(
            f"Left out, because this server does not know them and no other node needs them: {names}", file=sys.stderr
        )
    return kept


def set_widgets(workflow: dict, object_info: dict, kind: str, turns: list[dict]) -> None:
    """Change widgets of an editor workflow, also within subgraphs: `turns` for the nodes of a kind, one after another.

    A single entry is for all of them. What another node feeds is left alone.
    """
    flattener = Flattener(workflow, lambda node, name: stored_values(node, object_info).get(name))
    nodes = [plain for plain in flattener.plain() if plain.node["type"] == kind]
    for plain, values in zip(nodes, turns * len(nodes) if len(turns) == 1 else turns, strict=True):
        for name, value in values.items():
            if flattener.set_promoted(plain.scope, plain.node, name, value) is not False:
                continue
            stored = plain.node["widgets_values"]
            names = [n for n, _ in widgets(object_info[kind], stored)]
            stored += [default(spec) for _, spec in widgets(object_info[kind], stored)[len(stored) :]]
            stored[names.index(name)] = value


def nodes_of(prompt: dict, kind: str) -> list[dict]:
    """The inputs of every node of one kind, to be changed in place."""
    return [node["inputs"] for node in prompt.values() if node["class_type"] == kind]


def set_inputs(prompt: dict, kind: str, /, **values) -> None:
    for inputs in nodes_of(prompt, kind):
        inputs.update(values)
