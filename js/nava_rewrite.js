// Rewriting: the result with what was added, kept by a button, written anew, or taken back.
import { app } from "../../scripts/app.js";
import { addPanel, after, element, inOneStep, setWidget, widgetOf } from "./nava_dom.js";
import { say, told } from "./nava_words.js";

function set(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget) return;
  inOneStep(() => setWidget(node, widget, value));
}

function attach(node) {
  const { panel } = addPanel(node, "nava_rewrite_shown", () => 190);
  panel.setAttribute("aria-live", "polite");
  after(node, "onExecuted", (output) => {
    const shown = output?.nava_rewrite?.[0];
    if (!shown) return;
    const button = (label, action) => element("button", { type: "button", onclick: action }, say(label));
    const buttons = element(
      "div",
      { class: "nava-row" },
      button("keep", () => set(node, "kept", shown.prompt)),
      button("rewrite", () => {
        set(node, "kept", "");
        set(node, "seed", Number(widgetOf(node, "seed")?.value ?? 0) + 1);
        app.queuePrompt(0);
      }),
      button("undo rewrite", () => set(node, "kept", shown.source)),
    );
    const marked = { backgroundColor: "color-mix(in srgb, #4fae5f 30%, transparent)" };
    const text = shown.pieces.map(([added, piece]) => element("span", added && shown.rewritten ? { style: marked } : {}, piece));
    const notes = shown.notes.map((note) => element("div", { class: "nava-bad" }, told(note)));
    panel.replaceChildren(buttons, ...notes, element("div", { style: { whiteSpace: "pre-wrap" } }, ...text));
  });
}

app.registerExtension({
  name: "nava.rewrite",
  nodeCreated(node) {
    if (node.comfyClass === "NavaRewrite") attach(node);
  },
});
