// The prompt: spoken lines in their speaker's colour, live checks, token count, and wrapping a selection as speech.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { castOf } from "./nava_cast.js";
import { addPanel, after, ask, element, onChange, settled, voiceColor, widgetOf } from "./nava_dom.js";

const TAG = /<S(?::([^<>]*))?>|<E>/g;
const PROMPTS = { NavaTextEncode: ["prompt"], NavaDialogue: ["scene", "script", "sounds"] };

/** Nodes whose voices are connected to this one, in order: [{name, slot}]. */
function connectedVoices(node) {
  const found = [];
  for (const [slot, input] of (node.inputs ?? []).entries()) {
    if (!input.name.startsWith("voices.")) continue;
    const link = input.link == null ? null : app.graph.getLink?.(input.link) ?? app.graph.links.get(input.link);
    if (!link) continue;
    const source = app.graph.getNodeById(link.origin_id);
    found.push({ slot, name: String((source && widgetOf(source, "name")?.value) ?? "").trim() });
  }
  return found;
}

/** What the prompt input will get: a text, the parts of a dialogue, or null when some other node writes it. */
function promptOf(node) {
  const slot = node.inputs?.findIndex((i) => i.name === "prompt") ?? -1;
  if (slot < 0 || node.inputs[slot].link == null) return { prompt: String(widgetOf(node, "prompt")?.value ?? "") };
  const source = node.getInputNode(slot);
  if (source?.comfyClass !== "NavaDialogue") return null;
  const names = ["scene", "script", "sounds", "voices_by_name"];
  return { dialogue: Object.fromEntries(names.map((n) => [n, widgetOf(source, n)?.value])) };
}

/** Cut a prompt into plain and spoken pieces, for showing only; the checks are the server's. */
function pieces(text) {
  const found = [];
  let end = 0;
  let open = null;
  for (const tag of text.matchAll(TAG)) {
    const before = text.slice(end, tag.index);
    if (before.trim()) found.push({ text: before, spoken: open !== null, line: open });
    end = tag.index + tag[0].length;
    if (tag[0] === "<E>") open = null;
    else open = found.lines = (found.lines ?? -1) + 1;
  }
  const rest = text.slice(end);
  if (rest.trim()) found.push({ text: rest, spoken: open !== null, line: open });
  return found;
}

/** Mark spoken words behind the text area's own text; the text itself stays an ordinary text area's. */
function paintBehind(node, lines) {
  const area = widgetOf(node, "prompt")?.element;
  if (area?.tagName !== "TEXTAREA" || !area.parentElement) return; // Vue nodes draw a text area of their own
  let behind = area.navaBehind;
  if (!behind?.isConnected) {
    behind = area.navaBehind = element("div", { "aria-hidden": "true", class: "nava-behind" });
    area.before(behind);
    area.addEventListener("scroll", () => (behind.scrollTop = area.scrollTop));
    new ResizeObserver(() => fit(area, behind)).observe(area);
  }
  const text = area.value;
  const parts = [];
  let [end, line, open] = [0, -1, false];
  const add = (upTo) => {
    if (upTo <= end) return;
    const color = open ? voiceColor(lines[line]?.voice) : "transparent";
    parts.push(element("span", { style: { backgroundColor: open ? `color-mix(in srgb, ${color} 35%, transparent)` : color } }, text.slice(end, upTo)));
    end = upTo;
  };
  for (const tag of text.matchAll(TAG)) {
    add(tag[0] === "<E>" ? tag.index + tag[0].length : tag.index);
    open = tag[0] !== "<E>";
    if (open) line += 1;
  }
  add(text.length);
  behind.replaceChildren(...parts);
  fit(area, behind);
}

function fit(area, behind) {
  const style = getComputedStyle(area);
  for (const name of ["font", "letterSpacing", "lineHeight", "padding", "borderWidth", "textAlign", "wordSpacing", "tabSize"]) {
    behind.style[name] = style[name];
  }
  Object.assign(behind.style, {
    left: `${area.offsetLeft}px`,
    top: `${area.offsetTop}px`,
    width: `${area.clientWidth}px`,
    height: `${area.clientHeight}px`,
  });
  behind.scrollTop = area.scrollTop;
  area.classList.add("nava-clear");
}

function draw(node, panel, given, report, voices) {
  const parts = [];
  if (given?.prompt !== undefined && report) paintBehind(node, report.lines);
  if (given === null) {
    parts.push(element("div", { class: "nava-quiet" }, "The prompt comes from another node."));
  } else if (report) {
    const text = report.prompt;
    const lines = report.lines.length;
    const count = `${report.exact ? "" : "about "}${report.tokens} of ${report.limit} tokens`;
    const summary = `${count} · ${lines === 1 ? "1 spoken line" : `${lines} spoken lines`}`;
    if (report.tokens != null) parts.push(element("div", { class: report.tokens > report.limit ? "nava-bad" : "nava-quiet" }, summary));
    for (const problem of report.problems) parts.push(element("div", { class: "nava-bad" }, problem));
    for (const warning of report.warnings) parts.push(element("div", { class: "nava-bad" }, warning));
    for (const hint of report.hints) parts.push(element("div", { class: "nava-quiet" }, hint));
    for (const piece of pieces(text).filter((p) => p.spoken)) {
      const line = report.lines[piece.line] ?? {};
      const color = voiceColor(line.voice);
      const who = line.name === "-" ? "no voice" : voices[line.voice]?.name || line.name || (line.voice == null ? "" : `voice ${line.voice + 1}`);
      parts.push(
        element(
          "div",
          { class: "nava-line", style: { borderColor: color } },
          who ? element("b", { style: { color } }, `${who}: `) : null,
          piece.text.trim(),
          line.lost ? element("span", { class: "nava-bad" }, " (beyond the limit)") : null,
        ),
      );
    }
  }
  panel.replaceChildren(...parts);
  for (const [index, { slot }] of voices.entries()) {
    const input = node.inputs[slot];
    input.color_on = input.color_off = voiceColor(index);
  }
  node.setDirtyCanvas?.(true, true);
}

function attach(node) {
  const { panel } = addPanel(node, "nava_prompt_check", 110);
  panel.setAttribute("aria-live", "polite");
  let [latest, lines] = [0, []];
  const check = async () => {
    const given = promptOf(node);
    const voices = connectedVoices(node);
    const turn = ++latest;
    const report = given && (await ask("/nava/prompt", { ...given, voices: voices.map((v) => v.name), cast: castOf(node) }));
    if (turn !== latest) return;
    lines = report?.lines ?? [];
    draw(node, panel, given, report, voices);
  };
  const soon = settled(check);
  onChange(node, ["prompt"], () => {
    paintBehind(node, lines); // the marks move with the words at once, the checks follow
    soon();
  });
  after(node, "onConnectionsChange", soon);
  after(node, "onConfigure", soon);
  node.navaCheck = soon;
  soon();
}

const checkAll = () => app.graph.nodes.forEach((node) => node.navaCheck?.());

/** The text area that has the keyboard, when it belongs to a prompt of ours. */
function focusedArea() {
  const area = document.activeElement;
  if (area?.tagName !== "TEXTAREA") return null;
  for (const node of app.graph.nodes) {
    for (const name of PROMPTS[node.comfyClass] ?? []) {
      const widget = widgetOf(node, name);
      const own = widget?.element;
      if (own === area || own?.contains?.(area)) return area;
    }
  }
  // Vue nodes draw their own text areas inside an element that carries the node's id.
  const id = area.closest("[data-node-id]")?.getAttribute("data-node-id");
  const node = id == null ? null : app.graph.getNodeById(id);
  return node && PROMPTS[node.comfyClass] ? area : null;
}

/** Put <S> and <E> around the selection, as typing would: undo takes it back. */
function wrapSelection() {
  const area = focusedArea();
  if (!area) return;
  const { selectionStart, selectionEnd, value } = area;
  const words = value.slice(selectionStart, selectionEnd);
  document.execCommand("insertText", false, `<S>${words}<E>`);
  area.setSelectionRange(selectionStart + 3, selectionStart + 3 + words.length);
}

app.registerExtension({
  name: "nava.prompt",
  commands: [{ id: "Nava.WrapSpeech", label: "NAVA: mark the selection as speech", icon: "pi pi-comment", function: wrapSelection }],
  keybindings: [{ combo: { key: "l", ctrl: true, shift: true }, commandId: "Nava.WrapSpeech" }],
  setup() {
    api.addEventListener("execution_success", checkAll); // the text encoder is loaded now: counts become exact
  },
  nodeCreated(node) {
    if (node.comfyClass === "NavaTextEncode") attach(node);
    if (node.comfyClass === "NavaVoice") onChange(node, ["name"], checkAll);
    if (node.comfyClass === "NavaCast") onChange(node, ["characters", "file"], checkAll);
    if (node.comfyClass === "NavaDialogue") onChange(node, ["scene", "script", "sounds", "voices_by_name"], checkAll);
  },
});
