// When a clip is saved: a player with waveform and spectrogram, and the next shot from its last frame.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, element, hideWidget } from "./nava_dom.js";

const WIDTH = 600;
const HEIGHT = 90;
const FFT = 512;

const address = ({ filename, subfolder, type }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/** Magnitudes of a real signal's spectrum, by a plain radix-2 transform. */
function spectrum(samples, start, out) {
  const re = new Float32Array(FFT);
  const im = new Float32Array(FFT);
  for (let i = 0; i < FFT; i++) {
    const reversed = Number.parseInt(i.toString(2).padStart(Math.log2(FFT), "0").split("").reverse().join(""), 2);
    re[reversed] = (samples[start + i] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FFT));
  }
  for (let size = 2; size <= FFT; size *= 2) {
    for (let base = 0; base < FFT; base += size) {
      for (let k = 0; k < size / 2; k++) {
        const angle = (-2 * Math.PI * k) / size;
        const [a, b] = [base + k, base + k + size / 2];
        const real = re[b] * Math.cos(angle) - im[b] * Math.sin(angle);
        const imaginary = re[b] * Math.sin(angle) + im[b] * Math.cos(angle);
        [re[b], im[b]] = [re[a] - real, im[a] - imaginary];
        [re[a], im[a]] = [re[a] + real, im[a] + imaginary];
      }
    }
  }
  for (let i = 0; i < FFT / 2; i++) out[i] = Math.hypot(re[i], im[i]);
}

/** Draw the sound: the waveform above, the spectrogram below. */
function drawSound(canvas, buffer) {
  const paint = canvas.getContext("2d");
  const left = buffer.getChannelData(0);
  const half = HEIGHT / 2;
  paint.fillStyle = "#101418";
  paint.fillRect(0, 0, WIDTH, HEIGHT);
  const magnitudes = new Float32Array(FFT / 2);
  for (let x = 0; x < WIDTH; x++) {
    const begin = Math.floor((x / WIDTH) * left.length);
    const end = Math.max(begin + 1, Math.floor(((x + 1) / WIDTH) * left.length));
    let [low, high] = [1, -1];
    for (let i = begin; i < end; i++) {
      low = Math.min(low, left[i]);
      high = Math.max(high, left[i]);
    }
    paint.fillStyle = "#58c08a";
    paint.fillRect(x, half / 2 - high * (half / 2), 1, Math.max(1, (high - low) * (half / 2)));
    if (x % 2 === 0) {
      spectrum(left, begin, magnitudes);
      for (let y = 0; y < half; y++) {
        const bin = Math.floor(((half - y) / half) ** 2 * (FFT / 2 - 1));
        const loud = Math.max(0, Math.min(1, (Math.log10(magnitudes[bin] + 1e-4) + 3) / 4.5));
        paint.fillStyle = `hsl(${260 - 220 * loud} 80% ${8 + 55 * loud}%)`;
        paint.fillRect(x, half + y, 2, 1);
      }
    }
  }
}

/** The NavaDecode whose frames this saving node saves, if there is one. */
function decodeBefore(node) {
  const seen = new Set();
  const queue = [node];
  while (queue.length) {
    const current = queue.pop();
    if (!current || seen.has(current.id)) continue;
    seen.add(current.id);
    if (current.comfyClass === "NavaDecode") return current;
    for (let slot = 0; slot < (current.inputs?.length ?? 0); slot++) queue.push(current.getInputNode(slot));
  }
  return null;
}

/** Add and wire what makes the last frame of this clip the first frame of the next one. */
function continueFrom(decode) {
  const graph = app.graph;
  const input = (node, name) => node.inputs.findIndex((i) => i.name === name);
  const last = LiteGraph.createNode("ImageFromBatch");
  const first = LiteGraph.createNode("NavaFirstFrame");
  const bottom = Math.max(...graph.nodes.map((n) => n.pos[1] + n.size[1]));
  last.pos = [decode.pos[0], bottom + 60];
  first.pos = [last.pos[0] + 320, last.pos[1]];
  last.title = "Last frame";
  graph.add(last);
  graph.add(first);
  const index = last.widgets.find((w) => w.name === "batch_index");
  index.value = index.options?.max ?? 4095; // the node takes the last one there is
  decode.connect(0, last, input(last, "image"));
  last.connect(0, first, input(first, "image"));
  const vae = decode.getInputNode(input(decode, "video_vae"));
  const link = decode.inputs[input(decode, "video_vae")].link;
  if (vae) vae.connect(graph.getLink?.(link)?.origin_slot ?? 0, first, input(first, "video_vae"));
  const empty = graph.nodes.find((n) => n.comfyClass === "NavaEmptyLatent");
  if (empty) empty.connect(0, first, input(first, "latent"));
  app.canvas.selectNodes?.([last, first]);
  app.canvas.centerOnNode?.(first);
}

class Player {
  constructor(node, decode) {
    this.node = node;
    const { panel } = addPanel(node, "nava_player", 340);
    this.video = element("video", { controls: "", loop: "", preload: "auto", style: { maxHeight: "200px" } });
    this.canvas = element("canvas", { width: WIDTH, height: HEIGHT, role: "slider", tabindex: "0", "aria-label": "waveform and spectrogram: click or arrow keys to seek", style: { height: "84px", marginTop: "3px", cursor: "pointer" } });
    this.download = element("a", { style: { color: "inherit" }, download: "" }, "Download");
    const loop = element("button", { type: "button", "aria-pressed": "true", onclick: () => {
      this.video.loop = !this.video.loop;
      loop.setAttribute("aria-pressed", String(this.video.loop));
    } }, "Loop");
    const next = element("button", { type: "button", onclick: () => continueFrom(decode) }, "Use last frame as next first frame");
    this.canvas.addEventListener("click", (event) => this.seek(event.offsetX / this.canvas.clientWidth));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.25, ArrowRight: 0.25 }[event.key];
      if (step) this.video.currentTime = Math.max(0, this.video.currentTime + step);
    });
    this.video.addEventListener("timeupdate", () => this.mark());
    panel.append(this.video, this.canvas, element("div", { class: "nava-row" }, loop, this.download, next));
  }

  async load(file) {
    // The host shows the same clip below, without its sound drawn: once is enough.
    for (const wait of [100, 500, 1500]) setTimeout(() => hideWidget(this.node, "video-preview"), wait);
    const url = address(file);
    this.video.src = url;
    this.download.href = url;
    this.download.setAttribute("download", file.filename);
    this.picture = null;
    try {
      const data = await (await fetch(url)).arrayBuffer();
      const context = new OfflineAudioContext(1, 1, 24000);
      drawSound(this.canvas, await context.decodeAudioData(data));
      this.picture = this.canvas.getContext("2d").getImageData(0, 0, WIDTH, HEIGHT);
      this.canvas.style.display = "block";
    } catch {
      this.canvas.style.display = "none"; // a silent clip
    }
  }

  seek(share) {
    if (Number.isFinite(this.video.duration)) this.video.currentTime = share * this.video.duration;
  }

  mark() {
    if (!this.picture) return;
    const paint = this.canvas.getContext("2d");
    paint.putImageData(this.picture, 0, 0);
    paint.fillStyle = "#fff";
    paint.fillRect((this.video.currentTime / this.video.duration) * WIDTH, 0, 2, HEIGHT);
  }
}

const players = new WeakMap();

app.registerExtension({
  name: "nava.player",
  setup() {
    api.addEventListener("executed", ({ detail }) => {
      const file = detail.output?.images?.find((f) => /\.(mp4|webm)$/i.test(f.filename ?? ""));
      const node = file && app.graph.getNodeById(String(detail.display_node ?? detail.node).split(":").pop());
      const decode = node && decodeBefore(node);
      if (!decode) return;
      if (!players.has(node)) {
        players.set(node, new Player(node, decode));
        node.setSize?.([Math.max(node.size[0], 380), Math.max(node.size[1], node.computeSize()[1])]);
      }
      players.get(node).load(file);
    });
  },
});
