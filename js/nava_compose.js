// Phrases for the parts of a prompt: a click writes one at the caret, in the language that the parts are written in.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, element, inOneStep, setWidget, watch } from "./nava_dom.js";
import { dropSection, frontOf, viewsOf } from "./nava_front.js";
import { allNodes, feed } from "./nava_graph.js";
import { fieldsOf } from "./nava_spoken.js";
import { chinese, say } from "./nava_words.js";

const FIELDS = ["style", "scene", "action", "camera", "dialogue", "sound"];
let phrases = null; // part -> [[English, Chinese], …], from the server

/** Whether the parts are written in Chinese, as nava_core/silence.py decides it; in the editor's language while they are empty. */
function writtenInChinese(texts) {
  const text = texts.join(" ");
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  return letters ? 10 * (text.match(/[\u4e00-\u9fff]/g)?.length ?? 0) >= letters : chinese();
}

/** A phrase as it goes between two texts: with what separates it from them, capital at the beginning. */
export function fitted(phrase, text, after, inChinese) {
  const begins = !text.trim() || /[.!?]\s*$/.test(text);
  const comma = inChinese ? "，" : ", ";
  let words = begins && !inChinese ? phrase[0].toUpperCase() + phrase.slice(1) : phrase;
  if (/[^\s,，.。;；:：、!！?？]$/.test(text)) words = comma + words;
  else if (/[,.;:!?]$/.test(text)) words = ` ${words}`;
  return /^[^\s,，.。;；:：、!！?？]/.test(after) ? words + comma : words;
}

const entered = new WeakSet(); // fields that had the keyboard: their caret is where the writer left it
document.addEventListener("focusin", ({ target }) => entered.add(target));

function insert(given, phrase, inChinese) {
  const value = String(given.value ?? "");
  const field = fieldsOf(given)[0];
  if (field) {
    const [start, end] = entered.has(field) ? [field.selectionStart, field.selectionEnd] : [value.length, value.length];
    field.focus();
    field.setSelectionRange(start, end);
    // as typing would: undo takes it back
    document.execCommand("insertText", false, fitted(phrase, value.slice(0, start), value.slice(end), inChinese));
    return;
  }
  // a line that is drawn on the canvas has no caret
  inOneStep(() => setWidget(given.node, given.widget, value + fitted(phrase, value, "", inChinese)));
}

class PhrasesView {
  constructor(node, host) {
    Object.assign(this, { node, host, part: null, key: null });
    if (!host) this.panel = addPanel(node, "nava_phrases", () => 92).panel;
  }

  look() {
    const { node, host } = this;
    if (!node.graph || !phrases) return;
    const given = Object.fromEntries(FIELDS.map((name) => [name, feed(node, name, host)]));
    const parts = Object.keys(phrases).filter((part) => given[part]?.widget && (!host || given[part].node === host));
    if (host && !parts.length) return dropSection(host, node);
    if (host) this.panel = frontOf(host).section(node, 0.2);
    this.given = given;
    const focused = parts.find((part) => fieldsOf(given[part]).includes(document.activeElement));
    if (focused || !parts.includes(this.part)) this.part = focused ?? parts[0];
    this.inChinese = writtenInChinese(FIELDS.map((name) => String(given[name]?.value ?? "")));
    const key = JSON.stringify([parts, this.part, this.inChinese]);
    if (key === this.key) return;
    this.key = key;
    this.draw(parts);
  }

  draw(parts) {
    const stay = (event) => event.preventDefault(); // the field keeps the keyboard
    const button = (text, attributes, action) => element("button", { type: "button", onpointerdown: stay, onmousedown: stay, onclick: action, ...attributes }, text);
    const tabs = parts.map((part) =>
      button(say(part), { "aria-pressed": String(part === this.part) }, () => {
        document.activeElement?.blur?.(); // else its part would come back
        this.part = part;
        this.look();
      }),
    );
    const chosen = (phrases[this.part] ?? []).map((pair) => pair[Number(this.inChinese)]);
    const words = chosen.map((phrase) => button(phrase, { class: "nava-phrase" }, () => insert(this.given[this.part], phrase, this.inChinese)));
    this.panel.replaceChildren(
      element("div", { class: "nava-row" }, element("span", { class: "nava-quiet" }, say("phrases")), ...tabs),
      element("div", { class: "nava-phrases" }, ...words),
    );
  }
}

const viewOf = (node, host) => new PhrasesView(node, host);

app.registerExtension({
  name: "nava.compose",
  async setup() {
    watch(() => {
      for (const node of allNodes()) {
        if (node.comfyClass === "NavaCompose") viewsOf(node, viewOf).forEach((view) => view.look());
      }
    });
    const answer = await api.fetchApi("/nava/phrases").catch(() => null);
    if (answer?.ok) phrases = await answer.json();
  },
  nodeCreated(node) {
    if (node.comfyClass === "NavaCompose") viewsOf(node, viewOf);
  },
});
