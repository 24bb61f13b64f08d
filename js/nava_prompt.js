// The prompt: spoken lines in their speaker's colour, live checks, token count, and wrapping a selection as speech.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { castOf, connectedVoices, speakerColor, speakerName } from "./nava_cast.js";
import { addPanel, Asking, element, voiceColor, watch, wordColor } from "./nava_dom.js";
import { dropSection, frontOf, viewsOf } from "./nava_front.js";
import { allNodes, feed, silenced } from "./nava_graph.js";
import { isSpoken, paintSpoken, TAG } from "./nava_spoken.js";
import { say, told } from "./nava_words.js";

/** What the prompt input will get: {prompt} or {dialogue}, with `at`, the widgets it stands in; or null when some other node writes it. */
function promptOf(node, host) {
  const given = feed(node, "prompt", host);
  if (!given?.source) return { prompt: String(given?.value ?? ""), at: given ? [given] : [] };
  const source = given.source.node;
  if (source.comfyClass !== "NavaDialogue" || silenced(source)) return null;
  const inside = source.graph === node.graph ? host : undefined;
  const parts = ["scene", "script", "sounds", "voices_by_name"].map((n) => [n, feed(source, n, inside)]);
  if (parts.some(([, part]) => part?.value === undefined)) return null;
  return { dialogue: Object.fromEntries(parts.map(([n, part]) => [n, part.value])), at: parts.map(([, part]) => part) };
}

/** Cut a prompt into plain and spoken pieces, for showing only; the checks are the server's. */
function pieces(text) {
  const found = [];
  let end = 0;
  let open = null;
  for (const tag of text.matchAll(TAG)) {
    const before = text.slice(end, tag.index);
    if (before.trim() || open !== null) found.push({ text: before, spoken: open !== null, line: open });
    end = tag.index + tag[0].length;
    if (tag[0] === "<E>") open = null;
    else open = found.lines = (found.lines ?? -1) + 1;
  }
  const rest = text.slice(end);
  if (rest.trim()) found.push({ text: rest, spoken: open !== null, line: open });
  return found;
}

/** What the panel says. label: of which prompt, where there are several. brief: spoken lines only where voices say them. */
function parts(report, voices, label, brief) {
  const made = [];
  const lines = report.lines.length;
  if (report.tokens != null) {
    const count = say(report.exact ? "{tokens} of {limit} tokens" : "about {tokens} of {limit} tokens", report);
    const summary = `${label ? `${label}: ` : ""}${count} · ${say(lines === 1 ? "1 spoken line" : "{count} spoken lines", { count: lines })}`;
    made.push(element("div", { class: report.tokens > report.limit ? "nava-bad" : "nava-quiet" }, summary));
  }
  for (const problem of report.problems) made.push(element("div", { class: "nava-bad" }, told(problem)));
  for (const warning of report.warnings) made.push(element("div", { class: "nava-bad" }, told(warning)));
  for (const hint of report.hints) made.push(element("div", { class: "nava-quiet" }, told(hint)));
  for (const piece of pieces(report.prompt).filter((p) => p.spoken)) {
    const line = report.lines[piece.line] ?? {};
    if (brief && line.voice == null && !line.lost && piece.text.trim()) continue;
    const color = speakerColor(line, voices, report.characters);
    const who = speakerName(line, voices);
    made.push(
      element(
        "div",
        { class: "nava-line", style: { borderColor: color } },
        who ? element("b", { style: { color: wordColor(color) } }, `${who}: `) : null,
        piece.text.trim() || element("span", { class: "nava-bad" }, say("(empty)")),
        line.lost ? element("span", { class: "nava-bad" }, ` ${say("(beyond the limit)")}`) : null,
      ),
    );
  }
  return made;
}

const sockets = element("style");
document.head.append(sockets);
const rules = new Map();

/** Sockets in their voices' colours; Vue nodes know only a type's colour, so theirs come by style. */
function paintSockets(node, voices) {
  const written = [];
  for (const input of node.inputs ?? []) {
    if (input.name.startsWith("voices.")) input.color_on = input.color_off = undefined;
  }
  for (const [index, { slot }] of voices.entries()) {
    const color = voiceColor(index);
    node.inputs[slot].color_on = node.inputs[slot].color_off = color;
    const dot = `[data-node-id="${CSS.escape(String(node.id))}"]:has(.nava-prompt) [data-slot-key$="-in-${slot}"][data-testid="slot-dot"]`;
    written.push(`${dot} { background-color: ${color} !important; } ${dot} circle { fill: ${color}; }`);
  }
  const wanted = written.join("\n");
  if (rules.get(node) === wanted) return;
  rules.set(node, wanted);
  sockets.textContent = [...rules].flatMap(([n, rule]) => (n.graph ? [rule] : (rules.delete(n), []))).join("\n");
}

/**
 * The voices' sockets last. A copied node is built with the inputs of its definition first and the grown ones behind
 * them, and its links are connected by number: with other inputs behind the voices those would land on the wrong ones.
 */
function voicesLast(node) {
  const growing = (node.inputs ?? []).filter((input) => input.name.startsWith("voices."));
  for (const input of growing) {
    node.inputs.splice(node.inputs.indexOf(input), 1);
    node.inputs.push(input);
  }
}

/** What a prompt's panel says, on the node itself or on the subgraph's node that its texts stand on. */
class PromptView {
  constructor(node, host) {
    Object.assign(this, { node, host, colors: [], voices: [] });
    if (!host) {
      this.panel = addPanel(node, "nava_prompt_check", () => 110).panel;
      this.panel.setAttribute("aria-live", "polite");
      this.panel.classList.add("nava-prompt");
    }
    this.asking = new Asking("/nava/prompt", (report) => this.draw(report));
  }

  look() {
    const { node, host } = this;
    if (!node.graph) return; // on its way into or out of a subgraph
    const given = promptOf(node, host);
    if (host) {
      const outside = given?.at.find((part) => part.node === host);
      if (!outside) {
        dropSection(host, node);
        return this.asking.forget();
      }
      const place = host.inputs.findIndex((input) => input.name === outside.widget.name);
      this.panel = frontOf(host).section(node, place / 1000);
      const others = allNodes(node.graph).filter((n) => n.comfyClass === "NavaTextEncode");
      this.label = others.length > 1 ? host.inputs[place]?.label : "";
    }
    this.voices = connectedVoices(node, host);
    if (given) {
      const question = given.dialogue ? { dialogue: given.dialogue } : { prompt: given.prompt };
      this.asking.about({ ...question, voices: this.voices.map((v) => v.name), cast: castOf(node, host) });
      this.at = given.dialogue ? [] : given.at; // a dialogue's texts have no tags in them
      this.paint();
    } else {
      this.asking.forget();
      this.panel.replaceChildren(element("div", { class: "nava-quiet" }, say("The prompt comes from another node.")));
    }
    if (!host) paintSockets(node, this.voices);
  }

  draw(report) {
    this.colors = report.lines.map((line) => speakerColor(line, this.voices, report.characters));
    this.panel.replaceChildren(...parts(report, this.voices, this.label, this.host && this.at?.length));
    this.paint(true);
    this.node.setDirtyCanvas?.(true, true);
  }

  paint(anew = false) {
    for (const given of this.at ?? []) paintSpoken(given, this.colors, anew);
  }
}

const viewOf = (node, host) => new PromptView(node, host);

function eachView(action) {
  for (const node of allNodes()) {
    if (node.comfyClass === "NavaTextEncode") viewsOf(node, viewOf).forEach(action);
  }
}

/** Put <S> and <E> around the selection, or take them away, as typing would: undo takes it back. */
function wrapSelection() {
  const area = document.activeElement;
  if (!isSpoken(area)) return;
  let { selectionStart: start, selectionEnd: end } = area;
  const { value } = area;
  const inside = value.slice(start, end).match(/^<S(?::[^<>]*)?>([^<>]*)<E>$/);
  const opening = value.slice(0, start).slice(-200).match(/<S(?::[^<>]*)?>$/);
  let [text, begin] = [`<S>${value.slice(start, end)}<E>`, start + 3];
  let words = value.slice(start, end);
  if (inside) [text, words, begin] = [inside[1], inside[1], start];
  else if (opening && value.startsWith("<E>", end)) {
    start -= opening[0].length;
    end += 3;
    [text, begin] = [words, start];
  }
  area.setSelectionRange(start, end);
  document.execCommand("insertText", false, text);
  area.setSelectionRange(begin, begin + words.length);
}

app.registerExtension({
  name: "nava.prompt",
  commands: [{ id: "Nava.WrapSpeech", label: "NAVA: mark the selection as speech", icon: "pi pi-comment", function: wrapSelection }],
  keybindings: [{ combo: { key: "l", ctrl: true, shift: true }, commandId: "Nava.WrapSpeech" }],
  setup() {
    watch(() => eachView((view) => view.look()));
    // The text encoder is loaded now: counts become exact.
    api.addEventListener("execution_success", () => eachView((view) => view.asking.forget()));
  },
  nodeCreated(node) {
    if (node.comfyClass?.startsWith("Nava")) voicesLast(node);
    if (node.comfyClass === "NavaTextEncode") viewsOf(node, viewOf);
  },
});
