"""An open graph -> the shipped one: everything but its ends becomes one subgraph with promoted widgets.

Standard library only. The form is the editor's own (definitions.subgraphs, version 1).
"""

import copy
import uuid

from editor_graph import TITLE, Graph
from flatten import INPUTS, OUTPUTS

RESULTS = {"VIDEO": "视频", "AUDIO": "音频", "IMAGE": "图像", "STRING": "文本"}  # what comes out, in Chinese
NAMESPACE = uuid.UUID("5b0e2a4e-9d53-4c61-8f0c-8d2f4f6a7c11")


def wrap(g: Graph, key: str, name: str, zh_name: str) -> tuple[dict, list, list, dict]:
    """(subgraph node, outer nodes, outer links, definition). Positions of the outer nodes are the caller's.

    Inputs of the subgraph are first what outer nodes give, then the promoted widgets, in their order.
    """
    nodes = {n["id"]: copy.deepcopy(n) for n in g.nodes}
    inner = {i: n for i, n in nodes.items() if i not in g.outside}
    outer = {i: n for i, n in nodes.items() if i in g.outside}
    instance_id, link_id = len(nodes) + 1, len(g.links)
    inputs, outputs, inner_links, outer_links = [], [], [], []
    sockets = []  # of the subgraph node

    def slot_id(kind: str, label: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{key}/{kind}/{label}"))

    def unique(label: str) -> str:
        taken = {s["name"] for s in inputs}
        return next(n for n in (label, *(f"{label}_{i}" for i in range(1, 99))) if n not in taken)

    for number, source, output, target, slot, kind in g.links:
        if source in inner and target in inner:
            inner_links.append((number, source, output, target, slot, kind))
        elif source in outer and target in inner:
            socket = inner[target]["inputs"][slot]
            label = outer[source].get("title") or socket["name"].rsplit(".", 1)[-1]
            edge = {
                "name": unique(socket["name"].rsplit(".", 1)[-1]),
                "type": kind,
                "label": label,
                "linkIds": [number],
            }
            edge["id"] = slot_id("input", edge["name"])
            zh = outer[source]["properties"].get("nava_zh", {}).get("title")
            inner_links.append((number, INPUTS, len(inputs), target, slot, kind))
            link_id += 1
            outer_links.append([link_id, source, output, instance_id, len(sockets), kind])
            origin = outer[source]["outputs"][output]
            origin["links"] = [link_id if k == number else k for k in origin["links"]]
            sockets.append({"name": edge["name"], "label": label, "type": kind, "link": link_id, "zh": zh})
            inputs.append(edge)
        elif source in inner and target in outer:
            edge = next((o for o in outputs if o["from"] == (source, output)), None)
            if edge is None:
                inner_links.append((number, source, output, OUTPUTS, len(outputs), kind))
                edge = {"name": kind, "type": kind, "linkIds": [number], "from": (source, output), "outer": []}
                edge["id"] = slot_id("output", f"{source}.{output}")
                outputs.append(edge)
            else:
                links = inner[source]["outputs"][output]["links"]
                links.remove(number)
            link_id += 1
            edge["outer"].append(link_id)
            outer[target]["inputs"][slot]["link"] = link_id
            outer_links.append([link_id, instance_id, outputs.index(edge), target, slot, kind])
        else:
            outer_links.append([number, source, output, target, slot, kind])

    values, zh_values = [], {}
    for node_id, widget, label, zh in g.promoted:
        node = inner[node_id]
        slot, socket = next((i, s) for i, s in enumerate(node["inputs"]) if s["name"] == widget)
        stored = node["widgets_values"][widget_index(g, node, widget)]
        same = next((e for e in inputs if e["label"] == label), None)
        link_id += 1
        socket["link"] = link_id
        if same:  # one widget for several nodes
            same["linkIds"].append(link_id)
            inner_links.append((link_id, INPUTS, inputs.index(same), node_id, slot, socket["type"]))
            continue
        edge = {"name": unique(widget), "type": socket["type"], "label": label, "linkIds": [link_id]}
        edge["id"] = slot_id("input", edge["name"])
        inner_links.append((link_id, INPUTS, len(inputs), node_id, slot, socket["type"]))
        inputs.append(edge)
        sockets.append(
            {"name": edge["name"], "label": label, "type": edge["type"], "widget": {"name": edge["name"]}, "link": None, "zh": zh}
        )  # fmt: skip
        values.append(stored)
        texts = node["properties"].get("nava_zh", {}).get("values", {})
        if widget in texts:
            zh_values[edge["name"]] = texts[widget]

    left = min(n["pos"][0] for n in inner.values())
    right = max(n["pos"][0] + n["size"][0] for n in inner.values())
    for side, edges, x in (("in", inputs, left - 260), ("out", outputs, right + 120)):
        for row, edge in enumerate(edges):
            edge["pos"] = [x + (150 if side == "in" else 20), 60 + 20 * row]
    definition = {
        "id": slot_id("subgraph", name), "version": 1, "revision": 0, "config": {}, "name": name,
        "state": {"lastGroupId": len(g.groups), "lastNodeId": instance_id, "lastLinkId": link_id, "lastRerouteId": 0},
        "inputNode": {"id": INPUTS, "bounding": [left - 260, 40, 170, 40 + 20 * len(inputs)]},
        "outputNode": {"id": OUTPUTS, "bounding": [right + 100, 40, 128, 40 + 20 * len(outputs)]},
        "inputs": inputs, "widgets": [], "nodes": list(inner.values()),
        "outputs": [{k: v for k, v in o.items() if k not in ("from", "outer")} for o in outputs],
        "groups": [b for b in g.groups if any(within(n, b) for n in inner.values())],
        "links": [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), k, strict=True))
            for k in inner_links
        ],
        "extra": {},
    }  # fmt: skip
    translation = {"title": zh_name, "labels": {s["name"]: s.pop("zh") for s in sockets}, "values": zh_values}
    translation["labels"] |= {o["name"]: RESULTS.get(o["name"]) for o in outputs}
    translation["labels"] = {k: v for k, v in translation["labels"].items() if v}
    instance = {
        "id": instance_id, "type": definition["id"], "pos": [0, 0], "size": [400, 540], "flags": {}, "order": 0,
        "mode": 0, "title": name, "inputs": sockets,
        "outputs": [{"name": o["name"], "type": o["type"], "links": o["outer"]} for o in outputs],
        "properties": {"nava_zh": translation}, "widgets_values": values,
    }  # fmt: skip
    return instance, list(outer.values()), outer_links, definition


def widget_index(g: Graph, node: dict, widget: str) -> int:
    from workflow import widgets

    return [n for n, _ in widgets(g.info[node["type"]], node["widgets_values"])].index(widget)


def within(node: dict, group: dict) -> bool:
    left, top, width, height = group["bounding"]
    x, y = node["pos"]
    return left <= x < left + width and top <= y - TITLE < top + height
