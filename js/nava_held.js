// What of a clip was held and where it goes on: told by the nodes that made it, drawn over its sound.
import { element } from "./nava_dom.js";
import { feed, outputOf } from "./nava_graph.js";
import { say } from "./nava_words.js";

const COLORS = { picture: "#3aa0d8", sound: "#e0a030" };
export const MAKERS = ["NavaDecode", "NavaBestOf", "NavaStoryboard"]; // nodes that make clips of latents: what lies before them is another clip
const BAR = 5; // pixels
const MOST = 6; // spans that are written out

const later = ({ held, seams }, by) => ({
  held: held.map((span) => ({ ...span, from: span.from + by, to: span.to + by })),
  seams: seams.map((seam) => ({ ...seam, at: seam.at + by })),
});

/** {held, seams} of the clip that a node saves, in seconds, of several the one at `place`; null where nothing is known. */
export function marksOf(node, place = 0, seen = new Set()) {
  if (!node || seen.has(node)) return null;
  seen.add(node);
  const all = outputOf(node)?.nava_marks;
  const told = all?.[place] ?? all?.[0];
  if (MAKERS.includes(node.comfyClass)) return told ?? null;
  const behind = (name) => marksOf(feed(node, name)?.source?.node, place, seen);
  if (told) {
    const nothing = { held: [], seams: [] };
    const [first, second] = [behind("images_1") ?? nothing, later(behind("images_2") ?? nothing, told.second)];
    return { held: [...first.held, ...second.held], seams: [...first.seams, ...told.seams, ...second.seams] };
  }
  for (const input of node.inputs ?? []) {
    const found = behind(input.name);
    if (found) return found;
  }
  return null;
}

/** Bars over what was held, picture above sound; a dashed line where a clip goes on, a solid one at a cut. */
export function drawMarks(canvas, marks, seconds) {
  const paint = canvas.getContext("2d");
  const { width, height } = canvas;
  const x = (at) => (Math.min(at, seconds) / seconds) * width;
  for (const { of, from, to } of marks.held) {
    paint.fillStyle = COLORS[of] ?? "#fff";
    paint.fillRect(x(from), of === "sound" ? BAR + 1 : 0, Math.max(2, x(to) - x(from)), BAR);
  }
  for (const { at, cut } of marks.seams) {
    paint.strokeStyle = "#ffffff";
    paint.lineWidth = cut ? 2 : 1.5;
    paint.setLineDash(cut ? [] : [5, 4]);
    paint.beginPath();
    paint.moveTo(x(at), 0);
    paint.lineTo(x(at), height);
    paint.stroke();
  }
  paint.setLineDash([]);
}

const second = (value) => String(Number(value.toFixed(2)));

/** The same in words, for a row below the clip. */
export function marksInWords({ held, seams }) {
  const found = Object.keys(COLORS).flatMap((of) => {
    const spans = held.filter((span) => span.of === of);
    if (!spans.length) return [];
    const shown = spans.slice(0, MOST).map(({ from, to }) => `${second(from)}–${second(to)}`).join(", ") + (spans.length > MOST ? " …" : "");
    const words = say(of === "sound" ? "sound held {spans} s" : "picture held {spans} s", { spans: shown });
    return [element("span", { style: { borderTop: `${BAR - 2}px solid ${COLORS[of]}`, marginRight: "8px" } }, words)];
  });
  for (const [cut, mark, text] of [[false, "┆", "goes on at {times} s"], [true, "|", "cut at {times} s"]]) {
    const times = seams.filter((seam) => seam.cut === cut).map((seam) => second(seam.at));
    if (!times.length) continue;
    const shown = times.slice(0, MOST).join(", ") + (times.length > MOST ? " …" : "");
    found.push(element("span", { style: { marginRight: "8px" } }, `${mark} ${say(text, { times: shown })}`));
  }
  return found;
}
