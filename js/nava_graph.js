// Where nodes stand: by the full path that events carry, across the borders of subgraphs, with promoted widgets.
import { app } from "../../scripts/app.js";

const MUTED = 2;
const BYPASSED = 4;

export const silenced = (node) => node.mode === MUTED || node.mode === BYPASSED;

const root = () => app.rootGraph ?? app.graph;

/** The nodes at an execution path such as "16:11", from the outside in: node 16, then node 11 of the subgraph it shows. */
export function nodesAlong(path) {
  const found = [];
  let graph = root();
  for (const id of String(path).split(":")) {
    const node = graph?.getNodeById(id);
    if (!node) return [];
    found.push(node);
    graph = node.subgraph;
  }
  return found;
}

export const nodeAt = (path) => nodesAlong(path).at(-1) ?? null;

/** What the editor keeps of a node's last run; also after an undo, or when the workflow's tab comes back. */
export function outputOf(node) {
  const place = node.graph === root() ? String(node.id) : `${node.graph?.id}:${node.id}`;
  return app.nodeOutputs?.[place];
}

/** Every node of the workflow, those inside subgraphs too; each subgraph once. */
export function allNodes(graph = root(), seen = new Set()) {
  if (!graph || seen.has(graph)) return [];
  seen.add(graph);
  return graph.nodes.flatMap((node) => [node, ...(node.subgraph ? allNodes(node.subgraph, seen) : [])]);
}

/** The nodes that show a subgraph: one, or its copies. */
export const hostsOf = (graph) => (graph === root() ? [] : allNodes().filter((node) => node.subgraph === graph));

export function linkAt(node, slot) {
  const id = node.inputs?.[slot]?.link;
  if (id == null || !node.graph) return null;
  return node.graph.getLink?.(id) ?? node.graph.links?.get?.(id) ?? null;
}

/** Whether a link begins at the border of its subgraph. */
export const fromBorder = (graph, link) => graph.inputNode != null && String(link.origin_id) === String(graph.inputNode.id);

/**
 * What feeds an input: {value, widget, node} of a widget, also one promoted to the outside; {source: {node, slot}} of a node,
 * followed through subgraphs and reroutes; null when the other end is open. host: which of the nodes that show the subgraph,
 * else the first.
 */
export function feed(node, name, host) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1;
  const link = slot < 0 ? null : linkAt(node, slot);
  if (!link) {
    const input = node.inputs?.[slot];
    const widget = input?._widget ?? node.widgets?.find((w) => w.name === (input?.widget?.name ?? name));
    return widget ? { value: widget.value, widget, node } : null;
  }
  if (fromBorder(node.graph, link)) {
    const outside = host ?? hostsOf(node.graph)[0];
    return outside ? feed(outside, node.graph.inputs[link.origin_slot]?.name) : null;
  }
  const origin = node.graph.getNodeById(link.origin_id);
  if (!origin || origin.mode === MUTED) return null;
  if (origin.subgraph) {
    const inner = origin.subgraph.outputs[link.origin_slot]?.linkIds?.[0];
    const inside = inner == null ? null : origin.subgraph.getLink(inner);
    const source = inside && origin.subgraph.getNodeById(inside.origin_id);
    return source ? { source: { node: source, slot: inside.origin_slot } } : null;
  }
  if (origin.type === "Reroute") return feed(origin, origin.inputs[0].name, host);
  return { source: { node: origin, slot: link.origin_slot } };
}

/** The nearest node of a kind, or of one of several, before this one, looking at the later inputs first: the last shot of joined ones. */
export function before(node, kind, seen = new Set()) {
  if (!node || seen.has(node)) return null;
  seen.add(node);
  if ([kind].flat().includes(node.comfyClass)) return node;
  for (const input of [...(node.inputs ?? [])].reverse()) {
    const found = before(feed(node, input.name)?.source?.node, kind, seen);
    if (found) return found;
  }
  return null;
}

/** The nearest node after this one, in its own graph, that writes a file. */
export function savingAfter(node) {
  const waiting = [node];
  for (const next of waiting) {
    if (next !== node && next.constructor?.nodeData?.output_node) return next;
    for (const id of (next.outputs ?? []).flatMap((output) => output.links ?? [])) {
      const target = node.graph.getNodeById(node.graph.getLink(id)?.target_id);
      if (target && !waiting.includes(target)) waiting.push(target);
    }
  }
  return null;
}
