// What the pack's widgets share: elements, colours, and requests to the pack's own server routes.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

// One colour a voice, readable on the dark and the light theme alike.
export const VOICE_COLORS = ["#e0a030", "#3aa0d8", "#4fae5f", "#c56fb8", "#d9694f", "#8a86e0", "#2fa89a", "#a8933a"];
export const NO_VOICE_COLOR = "#8c8c8c";

export const voiceColor = (index) =>
  index == null ? NO_VOICE_COLOR : VOICE_COLORS[index % VOICE_COLORS.length];

/** The same for words: with so much of the theme's own text colour that they can be read on its panels. */
export const wordColor = (color) => `color-mix(in oklab, ${color} 55%, var(--input-text, #ddd))`;

/** An element; children are elements or plain text, never HTML. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(made.style, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((c) => c != null));
  return made;
}

const STYLE = `
.nava-panel { box-sizing: border-box; width: 100%; height: 100%; overflow: auto; padding: 4px 6px; font: 12px/1.45 sans-serif;
  color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); border-radius: 6px; }
.nava-panel button { font: inherit; color: inherit; background: var(--comfy-menu-bg, #353535);
  border: 1px solid var(--border-color, #555); border-radius: 4px; padding: 1px 6px; margin: 0 3px 3px 0; cursor: pointer; }
.nava-panel button:focus-visible { outline: 2px solid #3aa0d8; }
.nava-panel button[aria-pressed="true"] { border-color: #3aa0d8; }
.nava-line { border-left: 3px solid; padding-left: 5px; margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.nava-bad { color: #e2604a; } .nava-quiet { opacity: 0.75; }
.nava-panel canvas, .nava-panel video, .nava-panel img { display: block; width: 100%; border-radius: 4px; background: #000; }
.nava-marks { position: absolute; z-index: 1; box-sizing: border-box; overflow: hidden; pointer-events: none; color: transparent;
  border-style: solid; border-color: transparent; white-space: pre-wrap; overflow-wrap: break-word; }
.nava-column { display: flex; flex-direction: column; overflow: hidden; }
.nava-column > .nava-media { flex: 1 1 0; min-height: 0; object-fit: contain; }
.nava-panel .nava-row button { margin: 0; }
/* Vue nodes: the host's own preview of what our live view shows. */
[data-node-id]:has(.nava-moving) img.contain-size, [data-node-id]:has(.nava-moving) img.contain-size + div { display: none; }
/* Vue nodes: the host's own player of what ours plays. */
.lg-node:has(.nava-sound) [data-testid="node-widget"]:has(audio):not(:has(.nava-panel)) { display: none; }
.nava-row { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; margin: 3px 0; }
.nava-section + .nava-section { border-top: 1px solid var(--border-color, #555); margin-top: 3px; padding-top: 3px; }
.nava-timeline { display: flex; margin: 2px 0 4px; }
.nava-panel button.nava-shot { flex: 1 1 0; min-width: 12px; margin: 0; padding: 3px 4px; border-radius: 3px; overflow: hidden; display: flex; flex-wrap: wrap;
  gap: 0 5px; align-content: flex-start; text-align: left; white-space: nowrap; }
.nava-strips { display: flex; gap: 2px; flex: 0 0 100%; min-height: 5px; margin-top: 2px; }
.nava-phrases { max-height: 66px; overflow: auto; }
.nava-panel button.nava-phrase { border-radius: 9px; }
.nava-front button { font-size: 11px; padding: 0 4px; margin: 0 2px 2px 0; }
.lg-node .nava-front { flex: none; width: auto; height: auto; max-height: 200px; margin: 2px 12px; }
`;
document.head.append(element("style", {}, STYLE));

/**
 * Add a panel below a node's widgets, of `height()` pixels or more: {panel, widget, show}. It is never saved and never sent
 * with a prompt. options: more of the widget's. Hidden, it is no widget of the node: Vue nodes give room to every widget that there is.
 */
export function addPanel(node, name, height, grows = false, options = {}) {
  const panel = element("div", { class: grows ? "nava-panel nava-column" : "nava-panel", tabindex: "-1" });
  panel.addEventListener("pointerdown", (event) => event.stopPropagation());
  panel.addEventListener("keydown", (event) => event.stopPropagation());
  const made = { panel, widget: null };
  made.show = (shown) => {
    if (shown && !made.widget) {
      made.widget = node.addDOMWidget(name, "nava_panel", panel, {
        serialize: false,
        hideOnZoom: false,
        hideInPanel: true, // the properties beside the graph would take the element away for good
        ...options,
        getMinHeight: height,
        ...(grows ? {} : { getMaxHeight: height }),
      });
      made.widget.serialize = false;
    } else if (!shown && made.widget) {
      node.removeWidget(made.widget);
      made.widget = null;
    }
    node.setDirtyCanvas?.(true, true);
  };
  made.show(true);
  return made;
}

/** POST to one of the pack's routes; throws when the server is away. */
export const post = (route, body) =>
  api.fetchApi(route, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** What a route answers; null when the server is away or refuses. */
export async function ask(route, body) {
  try {
    const answer = await post(route, body);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Asks a route whenever the question is another than before, one at a time; after a refusal again some seconds later. */
export class Asking {
  constructor(route, use) {
    Object.assign(this, { route, use, key: null, busy: false, rest: 0 });
  }

  async about(question) {
    const key = JSON.stringify(question);
    if (key === this.key || this.busy || Date.now() < this.rest) return;
    [this.key, this.busy] = [key, true];
    const report = await ask(this.route, question);
    this.busy = false;
    if (report) return this.use(report);
    [this.key, this.rest] = [null, Date.now() + 3000];
  }

  forget() {
    this.key = null;
  }
}

const looks = [];

/**
 * Call `look` a few times a second. What a panel shows may change anywhere: in a widget promoted to the outside, a muted
 * voice, a link, a subgraph made or undone, a text area that Vue draws anew. To look is cheap; to hear of all that is not.
 */
export function watch(look) {
  if (!looks.length) {
    setInterval(() => {
      if (!document.hidden) for (const each of looks) each();
    }, 250);
  }
  looks.push(look);
}

/** Run `action` after the method `name` of an object. */
export function after(object, name, action) {
  const earlier = object[name];
  object[name] = function (...values) {
    const result = earlier?.apply(this, values);
    action.apply(this, values);
    return result;
  };
}

/** Set a widget as choosing does: its node hears of it, and so does the editor, which takes back what it said of the old value. */
export function setWidget(node, widget, value) {
  const earlier = widget.value;
  widget.value = value;
  widget.callback?.(value);
  node.onWidgetChanged?.(widget.name, value, earlier, widget);
}

/** Make a change of several parts; one step of undo, and one of its own. */
export function inOneStep(action) {
  app.canvas.emitBeforeChange?.();
  try {
    return action();
  } finally {
    app.canvas.emitAfterChange?.();
    app.canvas.setDirty(true, true);
  }
}

/** Say something in place of what was said before: {summary, detail, life}. Returns what to hand in as `earlier` next time. */
export function sayInstead(earlier, message) {
  const { toast } = app.extensionManager;
  if (!toast.dismiss) {
    if (earlier) toast.remove(earlier);
    const said = { severity: "info", ...message };
    toast.add(said);
    return said;
  }
  if (earlier) toast.dismiss(earlier); // newer editors know messages by a number, which `add` keeps to itself
  return toast.info(message.summary, { description: message.detail, duration: message.life });
}

export const widgetOf = (node, name) => node.widgets?.find((w) => w.name === name);

/** Make a node large enough for what it holds, and never smaller than it is. */
export function makeRoom(node, width) {
  const size = [Math.max(node.size[0], width), node.size[1]];
  node.setSize?.([size[0], Math.max(size[1], node.computeSize(size)[1])]);
}

/** Take a widget that the host added out of sight; it keeps working. True when it was in sight. */
export function hideWidget(node, name) {
  const widget = widgetOf(node, name);
  if (!widget || widget.hidden) return false;
  widget.hidden = true;
  widget.computeSize = () => [0, -4];
  widget.computeLayoutSize = () => ({ minHeight: 0, maxHeight: 0, minWidth: 0 });
  if (widget.element) widget.element.style.display = "none";
  node.setDirtyCanvas?.(true, true);
  return true;
}
