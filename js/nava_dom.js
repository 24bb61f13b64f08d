// What the pack's widgets share: elements, colours, and requests to the pack's own server routes.
import { api } from "../../scripts/api.js";

// One colour a voice, readable on the dark and the light theme alike.
export const VOICE_COLORS = ["#e0a030", "#3aa0d8", "#4fae5f", "#c56fb8", "#d9694f", "#8a86e0", "#2fa89a", "#a8933a"];
export const NO_VOICE_COLOR = "#8c8c8c";

export const voiceColor = (index) =>
  index == null ? NO_VOICE_COLOR : VOICE_COLORS[index % VOICE_COLORS.length];

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
.nava-behind { position: absolute; box-sizing: border-box; overflow: hidden; pointer-events: none; color: transparent;
  border-style: solid; border-color: transparent; white-space: pre-wrap; overflow-wrap: break-word;
  background: var(--comfy-input-bg, #222); }
textarea.nava-clear { position: relative; background: transparent !important; }
.nava-row { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; margin: 3px 0; }
`;
document.head.append(element("style", {}, STYLE));

/** Add a panel below a node's widgets. It is never saved and never sent with a prompt. */
export function addPanel(node, name, height) {
  const panel = element("div", { class: "nava-panel", tabindex: "-1" });
  const widget = node.addDOMWidget(name, "nava_panel", panel, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => height,
    getMaxHeight: () => height,
  });
  widget.serialize = false;
  panel.addEventListener("pointerdown", (event) => event.stopPropagation());
  panel.addEventListener("keydown", (event) => event.stopPropagation());
  return { panel, widget };
}

/** POST to one of the pack's routes; null when the server is away or refuses. */
export async function ask(route, body) {
  try {
    const answer = await api.fetchApi(route, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Call `action` a while after the last of many calls. */
export function settled(action, delay = 250) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, delay);
  };
}

/** Run `action` whenever one of these widgets changes, however it is drawn. */
export function onChange(node, names, action) {
  for (const widget of (node.widgets ?? []).filter((w) => names.includes(w.name))) {
    const earlier = widget.callback;
    widget.callback = function (...values) {
      const result = earlier?.apply(this, values);
      action();
      return result;
    };
    widget.element?.addEventListener?.("input", action);
  }
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

export const widgetOf = (node, name) => node.widgets?.find((w) => w.name === name);

/** Take a widget that the host added out of sight; it keeps working. */
export function hideWidget(node, name) {
  const widget = widgetOf(node, name);
  if (!widget) return;
  widget.hidden = true;
  widget.computeSize = () => [0, -4];
  widget.computeLayoutSize = () => ({ minHeight: 0, maxHeight: 0, minWidth: 0 });
  if (widget.element) widget.element.style.display = "none";
  node.setDirtyCanvas?.(true, true);
}
