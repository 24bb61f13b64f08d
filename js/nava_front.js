// Panels of nodes inside a subgraph, on the node that shows it: what an artist sees who never opens it.
import { app } from "../../scripts/app.js";
import { addPanel, element, makeRoom, watch } from "./nava_dom.js";
import { hostsOf } from "./nava_graph.js";

const MOST = 170; // pixels that the sections may take before they scroll

class Front {
  constructor(host) {
    this.host = host;
    this.sections = new Map();
    this.body = element("div");
    this.height = 0;
    const { panel, widget } = addPanel(host, "nava_front", () => this.height, false, { canvasOnly: true }); // see place()
    this.panel = panel;
    panel.classList.add("nava-front");
    panel.append(this.body);
    // Some hosts work this list out from the promoted inputs alone and forget what is added to it, others keep it.
    const promoted = Object.getOwnPropertyDescriptor(host, "widgets").get;
    Object.defineProperty(host, "widgets", {
      get: () => {
        const others = promoted.call(host).filter((w) => w !== widget);
        return this.height ? [...others, widget] : others;
      },
      set: () => {},
      configurable: true,
      enumerable: true,
    });
    new ResizeObserver(() => this.fit()).observe(this.body);
  }

  /** A part of the panel of its own; `order` says where among the others. */
  section(key, order) {
    let part = this.sections.get(key);
    if (!part) {
      part = element("div", { class: "nava-section" });
      part.order = order;
      this.sections.set(key, part);
      const sorted = [...this.sections.values()].sort((a, b) => a.order - b.order);
      this.body.replaceChildren(...sorted);
      this.height ||= 44; // until it was measured, which needs it to be shown
    }
    return part;
  }

  drop(key) {
    this.sections.get(key)?.remove();
    this.sections.delete(key);
    if (!this.sections.size) this.height = 0;
  }

  fit() {
    const natural = this.body.offsetHeight;
    if (!natural || !this.sections.size) return;
    const margins = 30; // the panel's own and those that the editor draws around a widget
    const height = Math.min(natural, MOST) + margins;
    if (Math.abs(height - this.height) < 2) return;
    this.height = height;
    if (!window.LiteGraph.vueNodesMode) makeRoom(this.host, 0); // Vue nodes grow by themselves
    this.host.setDirtyCanvas?.(true, true);
  }

  /** Vue nodes draw promoted widgets only: put the panel below them. */
  place(body) {
    if (this.panel.parentElement === body || !this.height) return;
    const widgets = body.querySelector('[data-testid="node-widgets"]');
    if (widgets) widgets.after(this.panel);
    else body.append(this.panel);
  }
}

const fronts = new WeakMap();
const BODY = "node-body-"; // and the id: how Vue nodes call the part of a node that holds its widgets

/**
 * Panels where Vue draws the nodes. It keeps the body that it drew for an id when the graph is opened anew, as by undo:
 * what stands in it then is the panel of a node that is no more.
 */
function placeAll() {
  for (const body of document.querySelectorAll(`[data-testid^="${BODY}"]`)) {
    const front = fronts.get(app.canvas?.graph?.getNodeById(body.dataset.testid.slice(BODY.length)));
    for (const panel of body.querySelectorAll(".nava-front")) {
      if (panel !== front?.panel || !front.height) panel.remove();
    }
    front?.place(body);
  }
}

/** The panel of a subgraph's node, made when it is first asked for. */
export function frontOf(host) {
  if (!fronts.has(host)) fronts.set(host, new Front(host));
  return fronts.get(host);
}

/** Take a section away, where there is one. */
export const dropSection = (host, key) => fronts.get(host)?.drop(key);

const known = new WeakMap(); // node -> its views by host

/** What shows a node's panel: on itself (no host), and on every node that shows the subgraph it is in. */
export function viewsOf(node, make) {
  if (!known.has(node)) known.set(node, new Map());
  const views = known.get(node);
  return [undefined, ...hostsOf(node.graph)].map((host) => {
    if (!views.has(host)) views.set(host, make(node, host));
    return views.get(host);
  });
}

app.registerExtension({
  name: "nava.front",
  setup() {
    watch(placeAll);
  },
});
