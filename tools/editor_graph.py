"""An editor workflow in the making: nodes in titled columns, links by name. Standard library only."""

from dataclasses import dataclass, field

from flatten import MUTED
from workflow import default, widgets

GAP, TITLE = 30, 30  # between nodes; a node's title stands above its position
PAD = 20  # between a group's edge and its nodes
HEIGHTS = {  # of the pack's nodes with panels, and of those that show media; else by sockets and widgets
    "NavaTextEncode": 520, "NavaDialogue": 420, "NavaEmptyLatent": 380, "SamplerCustomAdvanced": 480, "SaveVideo": 560,
    "NavaCompose": 640, "NavaStoryboard": 620, "LoadVideo": 330,
    "NavaRewrite": 640, "NavaCast": 420, "LoadImage": 330, "LoadAudio": 150, "SaveAudioAdvanced": 220,
}  # fmt: skip
WIDE = {
    "NavaTextEncode": 460,
    "NavaCompose": 460,
    "NavaRewrite": 460,
    "NavaCast": 460,
    "NavaStoryboard": 460,
    "NavaDialogue": 460,
    "SaveVideo": 420,
}


@dataclass
class Graph:
    """Links are (node id, output index). Nodes named `outside` stay outside when the rest becomes a subgraph."""

    info: dict
    models: dict  # released file -> (folder, url)
    nodes: list = field(default_factory=list)
    links: list = field(default_factory=list)
    groups: list = field(default_factory=list)
    outside: dict = field(default_factory=dict)  # node id -> its place in the shipped file: "input" or "result"
    promoted: list = field(default_factory=list)  # (node id, widget, English label, Chinese label), in order
    x: float = 0
    y: float = 0

    def column(self, title: str, below: bool = False) -> None:
        """The next nodes stand under each other in a group of this title, beside the group before, or below it."""
        if self.groups:
            left, top, width, height = self.groups[-1]["bounding"]
            self.x, self.y = (left, top + height + GAP) if below else (left + width + GAP, 0)
        self.groups.append(
            {"id": len(self.groups) + 1, "title": title, "bounding": [self.x, self.y, 0, 50], "color": "#3f789e", "flags": {}}
        )  # fmt: skip

    def place(self, kind: str, rows: int) -> tuple[list, list]:
        """Position and size of a new node in the current column, which grows by it."""
        box = self.groups[-1]["bounding"]
        size = [WIDE.get(kind, 340), HEIGHTS.get(kind, 20 + 25 * rows)]
        position = [box[0] + PAD, box[1] + box[3] + TITLE]
        box[2], box[3] = max(box[2], size[0] + 2 * PAD), box[3] + TITLE + size[1] + PAD
        return position, size

    def sockets(self, info: dict, links: dict, stored: list) -> list:
        order = [n for group in ("required", "optional") for n in info["input_order"].get(group, [])]
        specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        sockets = []
        for name in order:
            kind = specs[name][0]
            if kind == "COMFY_AUTOGROW_V3":
                template = specs[name][1]["template"]
                item = next(iter(next(d for d in template["input"].values() if d).values()))
                grown = sorted(k for k in links if k.startswith(name + "."))
                for socket in [*grown, f"{name}.{template['prefix']}{len(grown)}"]:
                    sockets.append({"name": socket, "type": item[0], "shape": 7, "link": None})
                continue
            socket = {"name": name, "type": "COMBO" if isinstance(kind, list) else kind, "link": None}
            if any(name == widget for widget, _ in stored):
                socket["widget"] = {"name": name}
            if name in info["input"].get("optional", {}):
                socket["shape"] = 7
            sockets.append(socket)
        return sockets

    def add(self, kind: str, title: str | None = None, zh: str | None = None, outside: str = "", **inputs) -> int:
        """Add a node; inputs are links (tuples) or widget values. Returns its id. zh: its title in Chinese."""
        info, node_id = self.info[kind], len(self.nodes) + 1
        links = {k: v for k, v in inputs.items() if isinstance(v, tuple)}
        stored = widgets(info, inputs)
        sockets = self.sockets(info, links, stored)
        for slot, socket in enumerate(sockets):
            if socket["name"] in links:
                source, output = links[socket["name"]]
                socket["link"] = len(self.links) + 1
                origin = self.nodes[source - 1]["outputs"][output]
                origin["links"].append(socket["link"])
                self.links.append([socket["link"], source, output, node_id, slot, origin["type"]])
        values = []
        for name, spec in stored:
            if name is None:
                values.append("randomize")
            else:
                values.append(inputs[name] if name in inputs and name not in links else default(spec))
        shown = len(stored) + max(sum("widget" not in s for s in sockets), len(info["output"]))
        position, size = self.place(kind, shown)
        properties = {"Node name for S&R": kind}
        files = [v for v in values if isinstance(v, str) and v in self.models]
        if files:
            properties["models"] = [
                {"name": f, "url": self.models[f][1], "directory": self.models[f][0]} for f in files
            ]
        if zh:
            properties["nava_zh"] = {"title": zh}
        names = zip(info["output_name"], info["output"], strict=True)
        node = {
            "id": node_id, "type": kind, "pos": position, "size": size, "flags": {}, "order": node_id - 1, "mode": 0,
            "inputs": sockets, "outputs": [{"name": n, "type": t, "links": []} for n, t in names],
            "properties": properties, "widgets_values": values,
        }  # fmt: skip
        if title:
            node["title"] = title
        if outside:
            self.outside[node_id] = outside
        self.nodes.append(node)
        return node_id

    def mute(self, node_id: int) -> None:
        """Leave a node out of what is queued until the artist wants it."""
        self.nodes[node_id - 1]["mode"] = MUTED

    def promote(self, node_id: int, widget: str, label: str, zh: str) -> None:
        self.promoted.append((node_id, widget, label, zh))

    def translate(self, node_id: int, **values) -> None:
        """Chinese values of a node's texts."""
        self.nodes[node_id - 1]["properties"].setdefault("nava_zh", {}).setdefault("values", {}).update(values)


def note(
    node_id: int, title: str, text: str, position, size, zh_title: str, zh_text: str, folded: bool = False
) -> dict:
    return {
        "id": node_id, "type": "MarkdownNote", "pos": list(position), "size": list(size),
        "flags": {"collapsed": True} if folded else {}, "order": 0, "mode": 0, "inputs": [], "outputs": [],
        "title": title, "properties": {"nava_zh": {"title": zh_title, "values": {"": zh_text}}},
        "widgets_values": [text],
    }  # fmt: skip


def document(key: str, nodes: list, links: list, groups: list, offset: tuple, scale: float = 1.0, **rest) -> dict:
    ids = [n["id"] for n in nodes]
    return {
        "id": f"nava-{key}", "revision": 0, "last_node_id": max(ids), "last_link_id": max((k[0] for k in links), default=0),
        "nodes": nodes, "links": links, "groups": groups, "config": {},
        "extra": {"ds": {"scale": scale, "offset": list(offset)}, "nava": {"workflow": key}}, "version": 0.4, **rest,
    }  # fmt: skip
