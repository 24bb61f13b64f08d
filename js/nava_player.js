// When a clip is saved: a player with waveform and spectrogram, what was held of it, and what may follow it.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { Curves } from "./nava_curves.js";
import { addPanel, element, hideWidget, makeRoom, watch } from "./nava_dom.js";
import { before, nodeAt, outputOf } from "./nava_graph.js";
import { drawMarks, MAKERS, marksInWords, marksOf } from "./nava_held.js";
import { extendClip, nextShot } from "./nava_next.js";
import { say } from "./nava_words.js";

const WIDTH = 600;
const HEIGHT = 90;
const FFT = 512;
const VIDEO = /\.(mp4|webm|mov|mkv)$/i;
const PLAYABLE = /\.(mp4|webm|mov|mkv|flac|mp3|opus|ogg|wav|m4a)$/i;

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

class Player {
  constructor(node, sound) {
    this.node = node;
    this.own = addPanel(node, "nava_player", () => (sound ? 190 : 340) + (this.curves?.height ?? 0), true);
    this.own.panel.classList.toggle("nava-sound", sound);
    this.video = element(sound ? "audio" : "video", { controls: "", loop: "", preload: "auto", class: sound ? "" : "nava-media", style: { width: "100%" } });
    this.canvas = element("canvas", {
      width: WIDTH, height: HEIGHT, role: "slider", tabindex: "0", "aria-label": say("waveform and spectrogram: click or arrow keys to seek"),
      style: { flex: sound ? "1 1 0" : "0 0 84px", minHeight: "60px", height: "84px", marginTop: "3px", cursor: "pointer" },
    });
    this.download = element("a", { style: { color: "inherit" }, download: "" }, say("Download"));
    const loop = element("button", { type: "button", "aria-pressed": "true", onclick: () => {
      this.video.loop = !this.video.loop;
      loop.setAttribute("aria-pressed", String(this.video.loop));
    } }, say("Loop"));
    const following = (label, title, action) =>
      element("button", { type: "button", title: say(title), onclick: () => {
        const decode = before(node, "NavaDecode"); // as the graph is now: it may have grown since
        if (decode) action(decode, runs.get(node));
      } }, say(label));
    const next = following("Use last frame for a next shot", "adds the next shot, which begins with this clip's last frame, and joins both", nextShot);
    const extend = following("Extend this clip", "lets this clip go on: its end is held with its sound, and both become one clip", async (decode, run) => {
      if (await extendClip(decode, run)) return;
      app.extensionManager.toast.add({ severity: "warn", summary: say("Extend this clip"), detail: say("this works for clips that SamplerCustomAdvanced samples: add NAVA Extend by hand"), life: 8000 });
    });
    this.buttons = [next, extend];
    this.words = element("div", { class: "nava-quiet", style: { fontSize: "11px" } });
    this.curves = new Curves(this, () => makeRoom(node, 360));
    for (const canvas of [this.canvas, this.curves.canvas]) {
      canvas.addEventListener("click", (event) => this.seek(event.offsetX / canvas.clientWidth));
      canvas.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -0.25, ArrowRight: 0.25 }[event.key];
        if (step) this.video.currentTime = Math.max(0, this.video.currentTime + step);
      });
    }
    for (const change of ["timeupdate", "seeking", "loadedmetadata"]) this.video.addEventListener(change, () => this.mark());
    this.video.addEventListener("play", () => this.follow());
    this.clips = element("div", { class: "nava-row", style: { display: "none" } });
    const row = element("div", { class: "nava-row" }, loop, this.download, this.curves.button, ...(sound ? [extend] : this.buttons));
    this.own.panel.append(this.clips, this.video, this.curves.canvas, this.canvas, this.curves.words, this.words, row);
  }

  show(shown) {
    this.own.show(shown);
    if (shown) makeRoom(this.node, 360);
    else this.video.pause();
  }

  /** All clips of a run: the first is shown, and a button for each where there are several. */
  offer(files) {
    const key = files.map(address).join();
    if (key === this.offered) return;
    this.offered = key;
    const buttons = files.map((file, i) =>
      element("button", { type: "button", title: say("clip {number} of {count}", { number: i + 1, count: files.length }), onclick: () => choose(i) }, String(i + 1)));
    const choose = (chosen) => {
      this.chosen = chosen;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
      this.load(files[chosen]);
    };
    this.clips.replaceChildren(...buttons);
    this.clips.style.display = files.length > 1 ? "" : "none";
    choose(0);
  }

  async load(file) {
    const url = address(file);
    this.file = file;
    this.curves.forget();
    this.url = this.video.src = this.download.href = url;
    this.download.setAttribute("download", file.filename);
    this.picture = null;
    try {
      const data = await (await fetch(url)).arrayBuffer();
      const heard = await new OfflineAudioContext(1, 1, 24000).decodeAudioData(data);
      if (this.url !== url) return; // another clip was chosen meanwhile
      drawSound(this.canvas, heard);
      this.silent = false;
    } catch {
      if (this.url !== url) return;
      this.canvas.getContext("2d").clearRect(0, 0, WIDTH, HEIGHT);
      this.silent = true;
    }
    this.picture = this.canvas.getContext("2d").getImageData(0, 0, WIDTH, HEIGHT);
    this.mark();
  }

  /** What was held of the clip, and where it goes on. */
  tell(marks) {
    const key = JSON.stringify(marks);
    if (key === this.told) return;
    [this.told, this.marks] = [key, marks];
    this.words.replaceChildren(...marksInWords(marks));
    this.mark();
  }

  seek(share) {
    if (Number.isFinite(this.video.duration)) this.video.currentTime = share * this.video.duration;
  }

  /** The play head goes with the clip for as long as it plays. */
  follow() {
    this.mark();
    if (!this.video.paused) requestAnimationFrame(() => this.follow());
  }

  mark() {
    this.curves.mark();
    if (!this.picture) return;
    const paint = this.canvas.getContext("2d");
    const { held, seams } = this.marks ?? { held: [], seams: [] };
    this.canvas.style.display = this.silent && !held.length && !seams.length ? "none" : "block";
    paint.putImageData(this.picture, 0, 0);
    if (!(this.video.duration > 0)) return;
    drawMarks(this.canvas, { held, seams }, this.video.duration);
    paint.fillStyle = "#fff";
    paint.fillRect((this.video.currentTime / this.video.duration) * WIDTH, 0, 2, HEIGHT);
  }
}

const players = new WeakMap();
const runs = new WeakMap(); // node -> id of the prompt that made what it shows
const heights = new WeakMap(); // of nodes as they are without the host's own preview

export const playerOf = (node) => players.get(node);

function look(node) {
  const maker = before(node, MAKERS);
  if (!maker) return;
  node.hideOutputImages = true; // Vue nodes: the same clip by the host, without its sound drawn; once is enough
  const output = outputOf(node);
  const files = [...(output?.images ?? []), ...(output?.audio ?? [])].filter((f) => PLAYABLE.test(f?.filename ?? ""));
  const [file] = files;
  const hidden = ["video-preview", "audioUI"].filter((name) => file && hideWidget(node, name));
  if (hidden.length && heights.has(node)) node.setSize?.([node.size[0], heights.get(node)]); // it had made room for itself
  heights.set(node, node.size[1]);
  if (!file) return;
  if (!players.has(node)) {
    players.set(node, new Player(node, !VIDEO.test(file.filename)));
    makeRoom(node, 360);
  }
  const player = players.get(node);
  player.offer(files);
  // a storyboard has its own next shots, and the best of many seeds no sampler that could go on
  for (const button of player.buttons) button.style.display = maker.comfyClass === "NavaDecode" ? "" : "none";
  player.tell(marksOf(node, player.chosen) ?? { held: [], seams: [] });
}

const lookAll = () => app.canvas?.graph?.nodes.filter((node) => node.constructor?.nodeData?.output_node).forEach(look);

app.registerExtension({
  name: "nava.player",
  setup() {
    watch(lookAll);
    api.addEventListener("executed", ({ detail }) => {
      const node = nodeAt(detail.display_node ?? detail.node);
      if (node) runs.set(node, detail.prompt_id);
    });
  },
  afterConfigureGraph: lookAll,
});
