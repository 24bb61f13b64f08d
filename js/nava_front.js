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
    const { panel, widget } = addPanel(host, "nava_front", () => this.height);
    this.panel = panel;
    panel.classList.add("nava-front");
    panel.append(this.body);
    // The host works this list out from the promoted inputs alone: what is added to it is forgotten.
    const promoted = Object.getOwnPropertyDescriptor(host, "widgets").get;
    Object.defineProperty(host, "widgets", {
      get: () => (this.height ? [...promoted.call(host), widget] : promoted.call(host)),
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
  place() {
    const body = document.querySelector(`[data-testid="node-body-${CSS.escape(String(this.host.id))}"]`);
    if (!body || this.panel.parentElement === body || !this.height) return;
    const widgets = body.querySelector('[data-testid="node-widgets"]');
    if (widgets) widgets.after(this.panel);
    else body.append(this.panel);
  }
}

const fronts = new WeakMap();

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
    watch(() => {
      for (const node of app.canvas?.graph?.nodes ?? []) fronts.get(node)?.place();
    });
  },
});
