// Size and length: trained shapes as buttons, a drawing of the aspect, and what the choice costs.
import { app } from "../../scripts/app.js";
import { addPanel, Asking, element, inOneStep, setWidget, watch } from "./nava_dom.js";
import { dropSection, frontOf, viewsOf } from "./nava_front.js";
import { allNodes, feed } from "./nava_graph.js";
import { say, told } from "./nava_words.js";

const NAMES = ["mode", "width", "height", "seconds", "batch_size"];

// Landscape first: what most clips are.
const PRESETS = [
  [1280, 704],
  [704, 1280],
  [960, 960],
  [1088, 832],
  [832, 1088],
];

function setSize(node, host, width, height) {
  inOneStep(() => {
    for (const [name, value] of [["width", width], ["height", height]]) {
      const given = feed(node, name, host); // on the outside when it is promoted; no widget when a node gives the number
      if (given?.widget) setWidget(given.node, given.widget, value);
    }
  });
}

function aspectDrawing(width, height) {
  const side = 40;
  const scale = side / Math.max(width, height, 1);
  return element("span", {
    role: "img",
    "aria-label": say("aspect {width} by {height}", { width, height }),
    style: {
      display: "inline-block",
      width: `${Math.max(2, width * scale)}px`,
      height: `${Math.max(2, height * scale)}px`,
      border: "2px solid #3aa0d8",
      borderRadius: "2px",
    },
  });
}

/** Whether a model of the small sets is chosen: what is known of the released one does not hold for it. */
const isSmall = (node, host) =>
  allNodes(node.graph).some((n) => n.comfyClass === "NavaModelLoader" && /nava_(mini|tiny)/.test(feed(n, "model_name", host)?.value ?? ""));

function parts(node, host, values, report) {
  const made = [];
  if (values.mode !== "audio") {
    const buttons = PRESETS.map(([width, height]) =>
      element(
        "button",
        {
          type: "button",
          "aria-pressed": String(values.width === width && values.height === height),
          onclick: () => setSize(node, host, width, height),
        },
        `${width}×${height}`,
      ),
    );
    const drawing = host ? null : aspectDrawing(values.width, values.height);
    made.push(element("div", { class: "nava-row" }, drawing, element("div", { style: { flex: "1" } }, ...buttons)));
  }
  if (report) {
    const said = [];
    if (values.mode !== "audio") said.push(say("{count} frames", { count: report.frames }));
    said.push(say("{seconds} s", { seconds: report.seconds.toFixed(2) }));
    if (values.mode !== "video") said.push(say("{count} audio steps", { count: report.audio_steps }));
    if (!values.small) said.push(say("about {memory} a pass", report));
    made.push(element("div", {}, said.join(" · ")));
    for (const hint of values.small ? [] : report.hints) made.push(element("div", { class: "nava-quiet" }, told(hint)));
    for (const problem of report.problems) made.push(element("div", { class: "nava-bad" }, told(problem)));
  }
  return made;
}

/** A node's size, on its own panel or on the subgraph's node that its widgets stand on. */
class SizeView {
  constructor(node, host) {
    Object.assign(this, { node, host });
    this.panel = host ? null : addPanel(node, "nava_size", () => 128).panel;
    this.asking = new Asking("/nava/size", (report) => this.panel.replaceChildren(...parts(node, host, this.values, report)));
  }

  look() {
    const found = NAMES.map((name) => [name, feed(this.node, name, this.host)]);
    if (this.host) {
      if (!found.some(([, given]) => given?.node === this.host)) {
        dropSection(this.host, this.node);
        return this.asking.forget();
      }
      this.panel = frontOf(this.host).section(this.node, 1);
    }
    this.values = Object.fromEntries(found.map(([name, given]) => [name, given?.value]));
    this.values.small = isSmall(this.node, this.host);
    if (NAMES.every((name) => this.values[name] !== undefined)) return this.asking.about(this.values);
    this.panel.replaceChildren(); // another node says how large
    this.asking.forget();
  }
}

const viewOf = (node, host) => new SizeView(node, host);

app.registerExtension({
  name: "nava.size",
  setup() {
    watch(() => {
      for (const node of allNodes()) {
        if (node.comfyClass === "NavaEmptyLatent") viewsOf(node, viewOf).forEach((view) => view.look());
      }
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === "NavaEmptyLatent") viewsOf(node, viewOf);
  },
});
