// What a node had to say about its input, where the artist looks.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "nava.warnings",
  setup() {
    api.addEventListener("executed", ({ detail }) => {
      const node = app.graph.getNodeById(String(detail.display_node ?? detail.node).split(":").pop());
      if (!node?.comfyClass?.startsWith("Nava")) return;
      for (const text of detail.output?.text ?? []) {
        app.extensionManager.toast.add({ severity: "warn", summary: node.title, detail: text, life: 12000 });
      }
    });
  },
});
