// Size and length: trained shapes as buttons, a drawing of the aspect, and what the choice costs.
import { app } from "../../scripts/app.js";
import { addPanel, after, ask, element, onChange, settled, widgetOf } from "./nava_dom.js";

const PRESETS = [
  [1280, 704],
  [704, 1280],
  [960, 960],
  [1088, 832],
  [832, 1088],
];

function setSize(node, width, height) {
  for (const [name, value] of [["width", width], ["height", height]]) {
    const widget = widgetOf(node, name);
    widget.value = value;
    widget.callback?.(value);
  }
  node.setDirtyCanvas?.(true, true);
}

function aspectDrawing(width, height) {
  const side = 40;
  const scale = side / Math.max(width, height, 1);
  return element("span", {
    role: "img",
    "aria-label": `aspect ${width} by ${height}`,
    style: {
      display: "inline-block",
      width: `${Math.max(2, width * scale)}px`,
      height: `${Math.max(2, height * scale)}px`,
      border: "2px solid #3aa0d8",
      borderRadius: "2px",
    },
  });
}

function draw(node, panel, values, report) {
  const parts = [];
  if (values.mode !== "audio") {
    const buttons = PRESETS.map(([width, height]) =>
      element(
        "button",
        {
          type: "button",
          "aria-pressed": String(values.width === width && values.height === height),
          onclick: () => setSize(node, width, height),
        },
        `${width}×${height}`,
      ),
    );
    parts.push(element("div", { class: "nava-row" }, aspectDrawing(values.width, values.height), element("div", { style: { flex: "1" } }, ...buttons)));
  }
  if (report) {
    const said = [];
    if (values.mode !== "audio") said.push(`${report.frames} frames`);
    said.push(`${report.seconds.toFixed(2)} s`);
    if (values.mode !== "video") said.push(`${report.audio_steps} audio steps`);
    said.push(`about ${report.memory} a pass`);
    parts.push(element("div", {}, said.join(" · ")));
    for (const hint of report.hints) parts.push(element("div", { class: "nava-quiet" }, hint));
    for (const problem of report.problems) parts.push(element("div", { class: "nava-bad" }, problem));
  }
  panel.replaceChildren(...parts);
}

app.registerExtension({
  name: "nava.size",
  nodeCreated(node) {
    if (node.comfyClass !== "NavaEmptyLatent") return;
    const { panel } = addPanel(node, "nava_size", 128);
    let latest = 0;
    const update = async () => {
      const values = Object.fromEntries(["mode", "width", "height", "seconds", "batch_size"].map((n) => [n, widgetOf(node, n)?.value]));
      const turn = ++latest;
      const report = await ask("/nava/size", values);
      if (turn === latest) draw(node, panel, values, report);
    };
    const soon = settled(update, 60);
    onChange(node, ["mode", "width", "height", "seconds", "batch_size"], soon);
    after(node, "onConfigure", soon);
    soon();
  },
});
