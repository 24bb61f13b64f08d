// While NAVA samples: the moving preview, the sound as it forms, and how long it will take, where the artist looks.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, element, hideWidget, makeRoom } from "./nava_dom.js";
import { frontOf } from "./nava_front.js";
import { nodeAt, nodesAlong, savingAfter } from "./nava_graph.js";
import { playerOf } from "./nava_player.js";
import { say } from "./nava_words.js";

const FRAME_MS = 1000 / 6; // latent frames a second
const NAMES = { cond: "prompt", uncond: "negative", masked: "alignment", voiceless: "timbre" };

const jpeg = (data) => `data:image/jpeg;base64,${data}`;

function duration(seconds) {
  const whole = Math.round(seconds);
  const parts = { minutes: Math.floor(whole / 60), seconds: whole % 60 };
  return say(whole < 60 ? "{seconds} s" : "{minutes} min {seconds} s", parts);
}

class LiveView {
  constructor(node, sampler) {
    this.node = node;
    this.elsewhere = node !== sampler; // where the result will be shown as well: one of both at a time
    this.picture = element("img", { class: "nava-media", alt: say("preview of the clip as it forms") });
    this.sound = element("img", {
      alt: say("spectrogram of the sound as it forms"),
      style: { flex: "0 0 44px", height: "44px", objectFit: "fill", imageRendering: "pixelated", marginTop: "3px" },
    });
    this.heard = element("audio", { controls: "", style: { flex: "0 0 28px", width: "100%", height: "28px", display: "none", marginTop: "3px" } });
    this.heard.addEventListener("ended", () => this.listen());
    this.text = element("div", { "aria-live": "off" });
    this.frames = [];
    this.at = 0;
    this.own = node.subgraph ? null : addPanel(node, "nava_live", () => (this.frames.length ? 260 : 110) + (this.heard.style.display === "none" ? 0 : 31), true);
    this.panel = this.own?.panel ?? frontOf(node).section("live", 2);
    this.panel.append(this.text, this.picture, this.sound, this.heard);
  }

  show(event) {
    const passes = event.passes.map((p) => say(NAMES[p] ?? p)).join(", ");
    const pace = event.seconds_per_step >= 0.1 ? `${say("{seconds} s a step", { seconds: event.seconds_per_step.toFixed(1) })} · ` : "";
    if (this.elsewhere && !this.timer) {
      playerOf(this.node)?.show(false);
      this.own?.show(true);
    }
    const last = this.elsewhere && playerOf(this.node);
    const left = event.step < event.total ? say("{time} left", { time: duration(event.seconds_left) }) : say("done");
    this.text.replaceChildren(
      `${say("Step {step} of {total}", event)} · ${pace}${left}`,
      passes ? element("div", { class: "nava-quiet" }, say("Passes: {names}", { names: passes })) : "",
      last ? element("button", { type: "button", onclick: () => last.show(true) }, say("Show the last clip")) : "",
    );
    this.frames = event.frames;
    this.panel.classList.toggle("nava-moving", event.frames.length > 0);
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
    this.heard.pause();
  }

  /** Sampling is over: what saves the result shows the result again. */
  finish() {
    if (!this.node.graph) {
      this.stop();
      views.delete(this.node);
    } else if (this.elsewhere && this.own) {
      this.stop();
      this.own.show(false);
      playerOf(this.node)?.show(true);
    }
  }
}

/**
 * Where to show a sampler's progress: on the sampler where it is drawn; else, as it lies in a subgraph, on what saves the
 * result outside, or on the subgraph's node.
 */
function placeOf(path) {
  const nodes = nodesAlong(path);
  const shown = nodes.find((node) => node.graph === app.canvas.graph);
  if (!shown || shown === nodes.at(-1)) return [shown, shown];
  return [savingAfter(shown) ?? shown, nodes.at(-1)];
}

const views = new Map(); // node -> LiveView

app.registerExtension({
  name: "nava.live",
  setup() {
    api.addEventListener("nava.live", ({ detail }) => {
      const [node, sampler] = placeOf(detail.node);
      if (!node) return;
      if (!views.has(node)) views.set(node, new LiveView(node, sampler));
      const view = views.get(node);
      const first = !view.timer;
      view.show(detail);
      if (first) makeRoom(node, 300);
      if (detail.frames.length) hideWidget(sampler, "$$canvas-image-preview"); // the host's still of the same thing
      node.setDirtyCanvas?.(true, true);
    });
    api.addEventListener("executed", ({ detail }) => views.get(nodeAt(detail.display_node ?? detail.node))?.finish());
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(end, () => views.forEach((view) => view.finish()));
    }
  },
});
