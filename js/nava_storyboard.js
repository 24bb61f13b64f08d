// The storyboard on a time line: a bar a shot, as long as it lasts, with its lines in their speakers' colours.
import { app } from "../../scripts/app.js";
import { castOf, connectedVoices, speakerColor, speakerName } from "./nava_cast.js";
import { addPanel, Asking, element, watch, wordColor } from "./nava_dom.js";
import { dropSection, frontOf, viewsOf } from "./nava_front.js";
import { allNodes, before, feed } from "./nava_graph.js";
import { areasOf, paintSpoken } from "./nava_spoken.js";
import { say, told } from "./nava_words.js";

const UNSAID = 5; // seconds of shots that do not say theirs, where the latent's length is not known

/** Where the rows of a shot stand in the text: [start, end]. */
function placeOf(text, [first, after]) {
  const rows = text.split("\n");
  const start = rows.slice(0, first).join("\n").length + (first ? 1 : 0);
  return [Math.min(start, text.length), Math.min(start + rows.slice(first, after).join("\n").length, text.length)];
}

/** Select a shot's text where it is written. */
function choose(given, rows) {
  const [area] = areasOf(given);
  if (!area) return;
  const [start, end] = placeOf(area.value, rows);
  area.setSelectionRange(start, start);
  area.blur();
  area.focus(); // which scrolls to the caret
  area.setSelectionRange(start, end);
}

function bar(shot, number, colors, onclick) {
  const seconds = say("{seconds} s", { seconds: Number(shot.seconds.toFixed(1)) });
  const how = number ? `, ${say(shot.goes_on ? "goes on" : "cut")}` : "";
  const title = [`${say("shot {number}", { number: number + 1 })}, ${seconds}${how}`, ...shot.lines.map((l) => `${l.name && l.name !== "-" ? `${l.name}: ` : ""}${l.words}`)].join("\n");
  const strips = colors.map((color) => element("span", { style: { flex: "1 1 0", height: "5px", background: color, borderRadius: "2px" } }));
  const style = { flexGrow: shot.seconds, borderLeft: number ? `2px ${shot.goes_on ? "dashed" : "solid"} var(--input-text, #ddd)` : "", marginLeft: number && !shot.goes_on ? "4px" : "0" };
  return element(
    "button",
    { type: "button", class: "nava-shot", title, "aria-label": title, style, onclick },
    element("b", {}, String(number + 1)),
    element("span", {}, seconds),
    element("span", { class: "nava-strips" }, ...strips),
  );
}

function parts(report, voices, given) {
  const speakers = new Map(); // name -> colour, in the order in which they speak
  const colors = report.shots.map((shot) =>
    shot.lines.map((line) => {
      const color = speakerColor(line, voices, report.characters);
      const name = speakerName(line, voices);
      if (name) speakers.set(name, color);
      return color;
    }),
  );
  const made = [];
  if (report.shots.length) {
    made.push(element("div", { class: "nava-timeline" }, ...report.shots.map((shot, i) => bar(shot, i, colors[i], () => choose(given, shot.rows)))));
    const count = say(report.shots.length === 1 ? "1 shot" : "{count} shots", { count: report.shots.length });
    const marks = report.shots.length > 1 ? ` · ┆ ${say("goes on")} · | ${say("cut")}` : "";
    made.push(element("div", { class: "nava-quiet" }, `${count} · ${say("{seconds} s", { seconds: report.seconds.toFixed(2) })}${marks}`));
  }
  if (speakers.size) {
    made.push(element("div", {}, ...[...speakers].map(([name, color]) => element("b", { style: { color: wordColor(color), marginRight: "8px" } }, `■ ${name}`))));
  }
  for (const problem of report.problems) made.push(element("div", { class: "nava-bad" }, told(problem)));
  return made;
}

class BoardView {
  constructor(node, host) {
    Object.assign(this, { node, host, colors: [], voices: [] });
    if (!host) this.panel = addPanel(node, "nava_storyboard", () => 112).panel;
    this.asking = new Asking("/nava/storyboard", (report) => this.draw(report));
  }

  look() {
    const { node, host } = this;
    if (!node.graph) return; // on its way into or out of a subgraph
    const given = feed(node, "shots", host);
    if (host) {
      if (given?.node !== host) {
        dropSection(host, node);
        return this.asking.forget();
      }
      this.panel = frontOf(host).section(node, 0.5);
    }
    if (!given || given.source) {
      this.panel.replaceChildren(element("div", { class: "nava-quiet" }, say("The shots come from another node.")));
      return this.asking.forget();
    }
    this.given = given;
    this.voices = connectedVoices(node, host);
    const size = before(node, "NavaEmptyLatent");
    const seconds = size ? Number(feed(size, "seconds", size.graph === node.graph ? host : undefined)?.value) : UNSAID;
    this.asking.about({
      shots: String(given.value ?? ""),
      seconds: seconds > 0 ? seconds : UNSAID,
      voices: this.voices.map((v) => v.name),
      cast: castOf(node, host),
    });
    paintSpoken(given, this.colors);
  }

  draw(report) {
    this.colors = report.lines.map((line) => speakerColor(line, this.voices, report.characters));
    this.panel.replaceChildren(...parts(report, this.voices, this.given));
    paintSpoken(this.given, this.colors, true);
    this.node.setDirtyCanvas?.(true, true);
  }
}

const viewOf = (node, host) => new BoardView(node, host);

app.registerExtension({
  name: "nava.storyboard",
  setup() {
    watch(() => {
      for (const node of allNodes()) {
        if (node.comfyClass === "NavaStoryboard") viewsOf(node, viewOf).forEach((view) => view.look());
      }
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === "NavaStoryboard") viewsOf(node, viewOf);
  },
});
