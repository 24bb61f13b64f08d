// What nodes have to say of their input and in errors, where the artist looks and in the language of the editor.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeAt } from "./nava_graph.js";
import { say, told, toldAll, toldError } from "./nava_words.js";

const MOST = 3; // at a time; more are counted
const LONGEST = 300; // characters

app.registerExtension({
  name: "nava.warnings",
  setup() {
    // Before the editor itself hears of it: listeners that capture come first.
    const first = { capture: true };
    api.addEventListener("execution_error", ({ detail }) => {
      const text = detail?.exception_message;
      if (text) detail.exception_message = toldError(text, nodeAt(detail.node_id));
    }, first);
    api.addEventListener("progress_text", ({ detail }) => {
      if (nodeAt(detail.nodeId)?.comfyClass?.startsWith("Nava")) detail.text = toldAll(detail.text);
    }, first);
    api.addEventListener("executed", ({ detail }) => {
      const node = nodeAt(detail.display_node ?? detail.node);
      if (!node?.comfyClass?.startsWith("Nava")) return;
      const texts = (detail.output?.text ?? []).map(told).map((text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text));
      const shown = texts.slice(0, MOST);
      if (texts.length > MOST) shown.push(say("and {count} more; ComfyUI's log has them all", { count: texts.length - MOST }));
      for (const text of shown) {
        app.extensionManager.toast.add({ severity: "warn", summary: node.title, detail: text, life: 12000 });
      }
    });
  },
});
