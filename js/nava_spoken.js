// Spoken lines in the text itself, in their speakers' colours, in either renderer.
import { app } from "../../scripts/app.js";
import { element, NO_VOICE_COLOR } from "./nava_dom.js";

export const TAG = /<S(?::([^<>]*))?>|<E>/g;

/** The fields in which a widget's text stands now: the widget's own, or the one that Vue nodes draw under its label. */
export function fieldsOf(given) {
  if (!given?.widget) return [];
  const { widget, node } = given;
  if (widget.element?.tagName === "TEXTAREA" && widget.element.isConnected) return [widget.element];
  if (node.graph !== app.canvas.graph) return [];
  const labels = [widget.label, widget.name].filter(Boolean);
  const labelOf = (field) => field.getAttribute("aria-label") ?? field.parentElement.querySelector("label")?.textContent;
  const drawn = document.querySelectorAll(`[data-node-id="${CSS.escape(String(node.id))}"] :is(textarea, input[type="text"], input:not([type]))`);
  return [...drawn].filter((field) => labels.includes(labelOf(field))).slice(0, 1);
}

/** The same, where it is a text area. */
export const areasOf = (given) => fieldsOf(given).filter((field) => field.tagName === "TEXTAREA");

/** Marks of the spoken words over a text area; the text itself stays an ordinary text area's. */
function paintArea(area) {
  let marks = area.navaMarks;
  if (!marks?.isConnected) {
    marks = area.navaMarks = element("div", { "aria-hidden": "true", class: "nava-marks" });
    area.after(marks);
    area.addEventListener("scroll", () => (marks.scrollTop = area.scrollTop));
    area.addEventListener("input", () => paintArea(area)); // at once; the checks follow
    new ResizeObserver(() => fit(area, marks)).observe(area);
  }
  const text = (marks.navaText = area.value);
  const parts = [];
  let [end, line, open] = [0, -1, false];
  const add = (upTo) => {
    if (upTo <= end) return;
    const color = open ? `color-mix(in srgb, ${area.navaColors[line] ?? NO_VOICE_COLOR} 35%, transparent)` : "transparent";
    parts.push(element("span", { style: { backgroundColor: color } }, text.slice(end, upTo)));
    end = upTo;
  };
  for (const tag of text.matchAll(TAG)) {
    add(tag[0] === "<E>" ? tag.index + tag[0].length : tag.index);
    open = tag[0] !== "<E>";
    if (open) line += 1;
  }
  add(text.length);
  marks.replaceChildren(...parts);
  fit(area, marks);
}

function fit(area, marks) {
  const style = getComputedStyle(area);
  for (const name of ["font", "letterSpacing", "lineHeight", "padding", "borderWidth", "textAlign", "wordSpacing", "tabSize"]) {
    marks.style[name] = style[name];
  }
  Object.assign(marks.style, {
    left: `${area.offsetLeft}px`,
    top: `${area.offsetTop}px`,
    width: `${area.clientWidth}px`,
    height: `${area.clientHeight}px`,
  });
  marks.scrollTop = area.scrollTop;
}

/** Colour the lines in every text area that shows a widget; colors: one a line, in their order. anew: they have changed. */
export function paintSpoken(given, colors, anew = false) {
  for (const area of areasOf(given)) {
    area.navaColors = colors;
    const current = area.navaMarks?.isConnected && area.navaMarks.navaText === area.value;
    if (anew || !current) paintArea(area);
    else fit(area, area.navaMarks);
  }
}

/** Whether spoken lines belong in a text area: one that is painted here. */
export const isSpoken = (area) => area?.tagName === "TEXTAREA" && area.navaColors !== undefined;
