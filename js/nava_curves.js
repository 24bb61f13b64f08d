// Under a saved clip, when the artist asks: how much is seen to happen and begins to sound, and which of both belongs together.
import { element, post } from "./nava_dom.js";
import { say, told } from "./nava_words.js";

const WIDTH = 600;
const HEIGHT = 90;
const EDGE = 7; // pixels from the border at which events are marked
const SURE = 0.3; // sharpness from which on a lag is clear, as NAVA Fix Lag has it
const COLORS = { back: "#181a1e", line: "#464a52", seen: "#f0b43c", heard: "#5ab4fa", matched: "#5adc78" };

const figure = (value) => value.toFixed(2);

/** What was measured, in words: {f1, lag, ...} of the pack's route -> lines. */
function inWords(found) {
  const lines = [];
  if (found.missing === "sound") lines.push(say("this clip has no sound: only what is seen is shown"));
  else if (found.missing === "picture") lines.push(say("this clip has no picture: only what is heard is shown"));
  else {
    const counts = { sounds: found.sounds.length, events: found.pictures.length, matches: found.pairs.length };
    const f1 = found.f1 == null ? say("not measured") : figure(found.f1);
    lines.push(say("F1 {f1}: {matches} of {sounds} sounds and {events} events match", { f1, ...counts }));
    if (found.lag != null) {
      const seconds = figure(Math.abs(found.lag));
      const lag = found.lag > 0 ? "sound late by {seconds} s" : found.lag < 0 ? "sound early by {seconds} s" : "no lag";
      lines.push(say(lag, { seconds }) + (found.sharpness < SURE ? say(", unsure: other lags fit as well") : ""));
    }
  }
  if (found.cut) lines.push(say("the first {seconds} s are measured", { seconds: Number(figure(found.seconds)) }));
  return [...lines, ...found.notes.map(told)];
}

/** A curve of values up to 1, away from the middle: up for what is seen, down for what is heard. */
function drawCurve(paint, values, per, colour, sign) {
  paint.strokeStyle = colour;
  paint.lineWidth = 1.5;
  paint.beginPath();
  values.forEach((value, k) => paint.lineTo(k * per, HEIGHT / 2 - sign * value * (HEIGHT / 2 - 2 * EDGE)));
  paint.stroke();
}

function draw(canvas, found, duration) {
  const paint = canvas.getContext("2d");
  const x = (at) => (at / duration) * WIDTH;
  paint.fillStyle = COLORS.back;
  paint.fillRect(0, 0, WIDTH, HEIGHT);
  paint.fillStyle = COLORS.line;
  paint.fillRect(0, HEIGHT / 2, x(found.seconds), 1);
  for (let second = 0; second <= found.seconds; second++) paint.fillRect(x(second), HEIGHT / 2 - 3, 1, 7);
  drawCurve(paint, found.event_curve, x(1 / found.per_second), COLORS.seen, 1);
  drawCurve(paint, found.onset_curve, x(1 / found.per_second), COLORS.heard, -1);
  const matched = [new Set(found.pairs.map(([, picture]) => picture)), new Set(found.pairs.map(([sound]) => sound))];
  for (const [times, of, colour, y] of [[found.pictures, matched[0], COLORS.seen, EDGE], [found.sounds, matched[1], COLORS.heard, HEIGHT - EDGE]]) {
    times.forEach((at, i) => {
      paint.beginPath();
      paint.arc(x(at), y, 3.5, 0, 2 * Math.PI);
      paint.strokeStyle = paint.fillStyle = of.has(i) ? COLORS.matched : colour;
      if (of.has(i)) paint.fill();
      paint.stroke();
    });
  }
  paint.strokeStyle = COLORS.matched;
  for (const [sound, picture] of found.pairs) {
    paint.beginPath();
    paint.moveTo(x(found.pictures[picture]), 2 * EDGE);
    paint.lineTo(x(found.sounds[sound]), HEIGHT - 2 * EDGE);
    paint.stroke();
  }
}

/** The button, the canvas and the words of a player's clip. resized: called when they take another height than before. */
export class Curves {
  constructor(player, resized) {
    Object.assign(this, { player, resized, found: null, asked: 0 });
    this.button = element("button", {
      type: "button", "aria-pressed": "false", onclick: () => this.toggle(),
      title: say("measures whether what is heard happens when it is seen; made for events, so speech scores low even when it is right"),
    }, say("Sync curves"));
    this.canvas = element("canvas", {
      width: WIDTH, height: HEIGHT, role: "slider", tabindex: "0", "aria-label": say("curves of motion and sound: click or arrow keys to seek"),
      title: say("above, amber: what is seen to happen; below, blue: sounds that begin; green: both match"),
      style: { flex: "0 0 70px", height: "70px", marginTop: "3px", cursor: "pointer", display: "none" },
    });
    this.words = element("div", {
      class: "nava-quiet", "aria-live": "polite", style: { fontSize: "11px", display: "none" },
      title: say("F1: of all sounds and events, the share that match within a frame, 0 to 1. Lag: by how much the sound must be moved to fit best"),
    });
  }

  get height() {
    return this.shown ? 110 : 0;
  }

  get shown() {
    return this.words.style.display !== "none";
  }

  show(shown, found = null) {
    this.found = found;
    this.button.setAttribute("aria-pressed", String(shown));
    this.canvas.style.display = found ? "block" : "none";
    if (shown === this.shown) return;
    this.words.style.display = shown ? "block" : "none";
    this.resized();
  }

  /** Another clip: what is shown is not of it. */
  forget() {
    this.asked += 1;
    this.show(false);
  }

  async toggle() {
    if (this.shown) return this.forget();
    this.words.textContent = say("measuring …");
    this.show(true);
    const turn = ++this.asked;
    const answer = await this.measure();
    if (turn !== this.asked) return;
    this.words.textContent = typeof answer === "string" ? told(answer) : inWords(answer).join(" · ");
    if (typeof answer === "string") return;
    this.show(true, answer);
    this.picture = null;
    this.mark();
  }

  /** What the meters say of the saved file; a text where they say nothing. */
  async measure() {
    const { filename, subfolder, type } = this.player.file;
    try {
      const answer = await post("/nava/curves", { filename, subfolder, type });
      return answer.ok ? await answer.json() : await answer.text();
    } catch {
      return "the server does not answer";
    }
  }

  /** Draw the curves, and the play head over them. */
  mark() {
    const { duration, currentTime } = this.player.video;
    if (!this.found || !(duration > 0)) return;
    const paint = this.canvas.getContext("2d");
    if (!this.picture) {
      draw(this.canvas, this.found, duration);
      this.picture = paint.getImageData(0, 0, WIDTH, HEIGHT);
    }
    paint.putImageData(this.picture, 0, 0);
    paint.fillStyle = "#fff";
    paint.fillRect((currentTime / duration) * WIDTH, 0, 2, HEIGHT);
  }
}
