"""Editor workflow with subgraphs -> its plain nodes, each input led to its source. Standard library only.

A subgraph's nodes get the ids under which the host runs them: "16:11" is node 11 inside node 16, at any depth. The
rules are the editor's own: a promoted widget has a value of its own at the subgraph's node, else that of the first
widget it is linked to; muted nodes are left out; a bypassed one hands on its first input of the same type.
"""

from dataclasses import dataclass, field

INPUTS, OUTPUTS = -10, -20  # the ids of a subgraph's two edges in its own links
MUTED, BYPASSED = 2, 4
FRONTEND_ONLY = {"Note", "MarkdownNote"}
REROUTES = {"Reroute", "Reroute (rgthree)"}
SETS, GETS = {"SetNode", "easy setNode"}, {"GetNode", "easy getNode"}  # of KJNodes and Easy-Use: links by a name
VALUES = {"PrimitiveNode"}
EDITORS_OWN = FRONTEND_ONLY | REROUTES | SETS | GETS | VALUES


class WorkflowError(ValueError):
    """A workflow that this server cannot run."""


@dataclass(frozen=True)
class Value:
    """An input's value, where no node gives it."""

    value: object


@dataclass
class Plain:
    """A node that the server runs. sources: by input, (node id, output index) or a Value; absent where nothing is."""

    id: str
    node: dict
    scope: "Scope"
    sources: dict[str, tuple[str, int] | Value] = field(default_factory=dict)


@dataclass
class Scope:
    """A graph and the way back to the subgraph node that stands for it outside."""

    nodes: dict[int | str, dict]
    links: dict[int, tuple]  # id -> (origin id, origin slot, target id, target slot)
    path: tuple = ()
    definition: dict | None = None
    instance: dict | None = None
    outer: "Scope | None" = None

    def path_of(self, node_id) -> str:
        return ":".join(str(i) for i in (*self.path, node_id))


def ends(link: dict | list) -> tuple[int, tuple]:
    if isinstance(link, dict):
        return link["id"], (link["origin_id"], link["origin_slot"], link["target_id"], link["target_slot"])
    return link[0], tuple(link[1:5])


def values_of(node: dict) -> list:
    """The stored values of a node's widgets, in their order."""
    values = node.get("widgets_values") or []
    return list(values.values()) if isinstance(values, dict) else list(values)


class Flattener:
    def __init__(self, workflow: dict, widget_value):
        """widget_value(node, name) -> the value that a plain node stores for one of its widgets, or None."""
        self.definitions = {d["id"]: d for d in workflow.get("definitions", {}).get("subgraphs", [])}
        self.root = self.scope(workflow)
        self.widget_value = widget_value

    def scope(self, graph: dict, **rest) -> Scope:
        return Scope({n["id"]: n for n in graph["nodes"]}, dict(ends(k) for k in graph.get("links", [])), **rest)

    def inside(self, scope: Scope, node: dict) -> Scope:
        if (scope.definition or {}).get("id") == node["type"] or len(scope.path) > 50:
            raise WorkflowError(f"subgraph node {scope.path_of(node['id'])} lies within itself")
        definition = self.definitions[node["type"]]
        return self.scope(definition, path=(*scope.path, node["id"]), definition=definition, instance=node, outer=scope)

    def plain(self, scope: Scope | None = None) -> list[Plain]:
        """Every node that runs, with its inputs' sources."""
        scope, found = scope or self.root, []
        for node in scope.nodes.values():
            if node.get("mode") in (MUTED, BYPASSED) or node["type"] in EDITORS_OWN:
                continue
            if node["type"] in self.definitions:
                found += self.plain(self.inside(scope, node))
                continue
            plain = Plain(scope.path_of(node["id"]), node, scope)
            for socket in node.get("inputs", []):
                source = self.source(scope, socket.get("link"))
                if source is not None:
                    plain.sources[socket["name"]] = source
            found.append(plain)
        return found

    def source(self, scope: Scope, link_id) -> tuple[str, int] | Value | None:
        """Where a link leads, through the edges of subgraphs."""
        if link_id is None or link_id not in scope.links:
            return None
        origin, slot, *_ = scope.links[link_id]
        if origin != INPUTS:
            return self.output(scope, scope.nodes[origin], slot) if origin in scope.nodes else None
        edge = scope.definition["inputs"][slot]
        socket = next((s for s in scope.instance.get("inputs", []) if s["name"] == edge["name"]), {})
        if socket.get("link") is not None:
            return self.source(scope.outer, socket["link"])
        return self.promoted(scope, edge)

    def output(self, scope: Scope, node: dict, slot: int) -> tuple[str, int] | Value | None:
        """What a node's output gives."""
        if node.get("mode") == MUTED:
            return None
        if node.get("mode") == BYPASSED:
            kind, sockets = node["outputs"][slot]["type"], node.get("inputs", [])
            same = [s for s in sockets[slot : slot + 1] + sockets if s["type"] == kind]
            return self.source(scope, same[0].get("link")) if same else None
        if node["type"] in REROUTES | SETS:
            return self.source(scope, node["inputs"][0].get("link"))
        if node["type"] in GETS:
            return self.named(scope, node)
        if node["type"] in VALUES:
            return Value(node["widgets_values"][0])
        if node["type"] in self.definitions:
            inner = self.inside(scope, node)
            links = inner.definition["outputs"][slot].get("linkIds", [])
            return self.source(inner, links[0]) if links else None
        return scope.path_of(node["id"]), slot

    def named(self, scope: Scope, node: dict) -> tuple[str, int] | Value | None:
        """What the Set node gives whose name a Get node has, in its graph or one around it."""
        name, around = values_of(node)[:1], scope
        while around is not None:
            for other in around.nodes.values():
                if other["type"] in SETS and other.get("mode") != MUTED and values_of(other)[:1] == name:
                    return self.source(around, other["inputs"][0].get("link"))
            around = around.outer
        raise WorkflowError(
            f"{node['type']} {scope.path_of(node['id'])} asks for {name}, and no Set node has that name"
        )

    def widget_behind(self, scope: Scope, edge: dict) -> tuple[dict, dict] | None:
        """(node, its socket) of the first widget that a subgraph's input is linked to."""
        for link_id in edge.get("linkIds", []):
            if link_id not in scope.links:
                continue
            target = scope.links[link_id][2]
            node = scope.nodes.get(target, {})
            socket = next((s for s in node.get("inputs", []) if s.get("link") == link_id), None)
            if socket is None:
                continue
            if node["type"] in self.definitions:
                inner = self.inside(scope, node)
                edges = [e for e in inner.definition["inputs"] if e["name"] == socket["name"]]
                if edges and self.widget_behind(inner, edges[0]):
                    return node, socket
            elif socket.get("widget"):
                return node, socket
        return None

    def promoted(self, scope: Scope, edge: dict) -> Value | None:
        """The value of a promoted widget."""
        behind = self.widget_behind(scope, edge)
        if behind is None:
            return None
        stored, place = scope.instance.get("widgets_values") or [], self.place(scope, edge, behind)
        if place is not None and place < len(stored) and stored[place] is not None:
            return Value(stored[place])
        node, socket = behind
        if node["type"] not in self.definitions:
            return Value(self.widget_value(node, socket["name"]))
        inner = self.inside(scope, node)
        return self.promoted(inner, next(e for e in inner.definition["inputs"] if e["name"] == socket["name"]))

    def promoted_edges(self, scope: Scope) -> list[dict]:
        return [edge for edge in scope.definition["inputs"] if self.widget_behind(scope, edge)]

    def place(self, scope: Scope, edge: dict, behind: tuple[dict, dict]) -> int | None:
        """Where the subgraph node keeps a promoted widget's value; None where the older form does not list it."""
        properties = scope.instance.get("properties", {})
        if "proxyWidgets" not in properties:
            return self.promoted_edges(scope).index(edge)
        listed = [tuple(entry[:2]) for entry in properties["proxyWidgets"]]
        known = [(str(behind[0]["id"]), behind[1]["name"]), ("-1", edge["name"])]
        return next((listed.index(k) for k in known if k in listed), None)

    def set_promoted(self, scope: Scope, node: dict, name: str, value) -> bool | None:
        """Store a widget's value where it counts: True at a subgraph node outside, None where a node feeds the input.

        False: the widget is the node's own to store.
        """
        link = next((s.get("link") for s in node.get("inputs", []) if s["name"] == name), None)
        if link is None or link not in scope.links:
            return False
        origin, slot, *_ = scope.links[link]
        if origin != INPUTS:
            return None
        edge, instance = scope.definition["inputs"][slot], scope.instance
        if any(s.get("link") is not None for s in instance.get("inputs", []) if s["name"] == edge["name"]):
            return self.set_promoted(scope.outer, instance, edge["name"], value)
        if "proxyWidgets" in instance.get("properties", {}):
            raise WorkflowError(f"subgraph node {scope.path_of(instance['id'])} keeps its widgets in the older form")
        edges = self.promoted_edges(scope)
        stored = instance.get("widgets_values") or []
        stored += [self.promoted(scope, e).value for e in edges[len(stored) :]]
        stored[edges.index(edge)] = value
        instance["widgets_values"] = stored
        return True
