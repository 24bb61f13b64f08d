"""What a queued prompt connects, and what a node says on itself."""

from server import PromptServer

import nodes


def consumers(prompt: dict, node_id: str, output: int) -> list[tuple[str, str, bool]]:
    """(node id, input, whether it must be given) of all links that leave an output."""
    found = []
    for other_id, other in prompt.items():
        for name, value in other.get("inputs", {}).items():
            if isinstance(value, list) and len(value) == 2 and str(value[0]) == str(node_id) and value[1] == output:
                node_class = nodes.NODE_CLASS_MAPPINGS.get(other.get("class_type"))
                optional = node_class.INPUT_TYPES().get("optional", {}) if node_class is not None else {}
                found.append((other_id, name, name not in optional))
    return found


def source(prompt: dict, node_id: str, input_name: str, class_type: str) -> dict | None:
    """The nearest node of a class upstream of an input, or None."""
    waiting, seen = [prompt.get(str(node_id), {}).get("inputs", {}).get(input_name)], set()
    while waiting:
        value = waiting.pop(0)
        if not (isinstance(value, list) and len(value) == 2) or str(value[0]) in seen:
            continue
        seen.add(str(value[0]))
        node = prompt.get(str(value[0]))
        if node is None:
            continue
        if node.get("class_type") == class_type:
            return node
        waiting.extend(node.get("inputs", {}).values())
    return None


def tell(hidden, text: str) -> dict[str, list[str]]:
    """Show a text on the node that runs now, as the host's GetImageSize does; returns it for the history."""
    server = getattr(PromptServer, "instance", None)  # there is none when the nodes are used as a library
    if server is not None and hidden is not None and hidden.unique_id is not None:
        server.send_progress_text(text, hidden.unique_id)
    return {"report": [text]}
