// While NAVA samples: the moving preview, the sound as it forms, and how long it will take, on the sampling node.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, element, hideWidget } from "./nava_dom.js";

const FRAME_MS = 1000 / 6; // latent frames a second
const NAMES = { cond: "prompt", uncond: "negative", masked: "alignment", voiceless: "timbre" };

const jpeg = (data) => `data:image/jpeg;base64,${data}`;

function duration(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

class LiveView {
  constructor(node) {
    this.picture = element("img", { alt: "preview of the clip as it forms", style: { imageRendering: "auto" } });
    this.sound = element("img", {
      alt: "spectrogram of the sound as it forms",
      style: { height: "44px", objectFit: "fill", imageRendering: "pixelated", marginTop: "3px" },
    });
    this.heard = element("audio", { controls: "", style: { width: "100%", height: "28px", display: "none", marginTop: "3px" } });
    this.heard.addEventListener("ended", () => this.listen());
    this.text = element("div", { "aria-live": "off" });
    const { panel, widget } = addPanel(node, "nava_live", 250);
    panel.append(this.text, this.picture, this.sound, this.heard);
    this.widget = widget;
    this.frames = [];
    this.at = 0;
  }

  show(event) {
    const passes = event.passes.map((p) => NAMES[p] ?? p).join(", ");
    const pace = event.seconds_per_step >= 0.1 ? `${event.seconds_per_step.toFixed(1)} s a step · ` : "";
    this.text.replaceChildren(
      `Step ${event.step} of ${event.total} · ${pace}${event.step < event.total ? `${duration(event.seconds_left)} left` : "done"}`,
      passes ? element("div", { class: "nava-quiet" }, `Passes: ${passes}`) : "",
    );
    this.frames = event.frames;
    this.picture.style.display = event.frames.length ? "block" : "none";
    this.sound.style.display = event.sound ? "block" : "none";
    if (event.sound) this.sound.src = jpeg(event.sound);
    if (event.step === 1) this.heard.style.display = "none"; // that was another clip
    if (event.heard) {
      this.newest = event.heard;
      this.heard.style.display = "block";
      if (this.heard.paused) this.listen(); // what is being heard is heard to its end
    }
    if (!this.timer) {
      this.timer = setInterval(() => this.play(), FRAME_MS);
      this.play();
    }
  }

  listen() {
    if (this.newest) this.heard.src = `data:audio/wav;base64,${this.newest}`;
    this.newest = null;
  }

  play() {
    if (!this.picture.isConnected && this.at > 600) return this.stop();
    this.at += 1;
    if (this.frames.length) this.picture.src = jpeg(this.frames[this.at % this.frames.length]);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }
}

const views = new WeakMap();

app.registerExtension({
  name: "nava.live",
  setup() {
    api.addEventListener("nava.live", ({ detail }) => {
      const node = app.graph.getNodeById(String(detail.node).split(":").pop());
      if (!node) return;
      if (!views.has(node)) {
        views.set(node, new LiveView(node));
        node.setSize?.([Math.max(node.size[0], 300), Math.max(node.size[1], node.computeSize()[1])]);
      }
      views.get(node).show(detail);
      if (detail.frames.length) hideWidget(node, "$$canvas-image-preview"); // the host's still of the same thing
      node.setDirtyCanvas?.(true, true);
    });
  },
});
