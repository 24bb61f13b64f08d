"""Editor workflows -> the API format that ComfyUI's server runs. Standard library only."""

import json
from pathlib import Path

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
FRONTEND_ONLY = {"Note", "MarkdownNote"}
MUTED, BYPASSED = 2, 4


class WorkflowError(ValueError):
    """A workflow that this server cannot run."""


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


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
    if "default" in settings:
        return settings["default"]
    if isinstance(kind, list):
        return kind[0] if kind else ""
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return settings["options"][0]["key"]
    if kind == "COMBO":
        return (settings.get("options") or [""])[0]
    return {"STRING": "", "BOOLEAN": False}.get(kind, 0)


def to_api(workflow: dict, object_info: dict) -> dict:
    """Convert an editor workflow; object_info is the server's answer to /object_info."""
    links = {link[0]: (str(link[1]), link[2]) for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        kind = node["type"]
        if kind in FRONTEND_ONLY or node.get("mode") in (MUTED, BYPASSED):
            continue
        if kind not in object_info:
            raise WorkflowError(f"the server has no node {kind}")
        values = node.get("widgets_values", [])
        known = widgets(object_info[kind], values)
        if len(values) > len(known):
            names = [name for name, _ in known]
            raise WorkflowError(f"{kind} (node {node['id']}) stores {len(values)} values for widgets {names}")
        # a file from before an input was added stores fewer: the editor takes the defaults then
        stored = [*values, *(default(spec) for _, spec in known[len(values) :])]
        inputs = {name: value for (name, _), value in zip(known, stored, strict=True) if name is not None}
        for socket in node.get("inputs", []):
            if socket.get("link") is not None:
                inputs[socket["name"]] = list(links[socket["link"]])
        prompt[str(node["id"])] = {"class_type": kind, "inputs": inputs, "_meta": {"title": node.get("title", kind)}}
    for node in prompt.values():  # links from muted nodes lead nowhere
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not (isinstance(v, list) and v[0] not in prompt)}
    return prompt


def nodes_of(prompt: dict, kind: str) -> list[dict]:
    """The inputs of every node of one kind, to be changed in place."""
    return [node["inputs"] for node in prompt.values() if node["class_type"] == kind]


def set_inputs(prompt: dict, kind: str, /, **values) -> None:
    for inputs in nodes_of(prompt, kind):
        inputs.update(values)
