// The cast: what NavaCast holds, for the prompt's checks, and its characters in their colours.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, after, element, voiceColor, wordColor } from "./nava_dom.js";
import { allNodes, feed, linkAt, silenced } from "./nava_graph.js";
import { say } from "./nava_words.js";

/** The node behind an input, null when nothing is connected. */
const sourceOf = (node, name, host) => feed(node, name, host)?.source?.node ?? null;

/** What the server needs to know of the cast that a node is connected to: {characters, file, voices}, or undefined. */
export function castOf(node, host) {
  const cast = sourceOf(node, "cast", host);
  if (cast?.comfyClass !== "NavaCast") return undefined;
  const inside = cast.graph === node.graph ? host : undefined;
  const slots = (cast.inputs ?? []).map((i) => i.name).filter((name) => name.startsWith("voices."));
  const voices = slots.map((name) => sourceOf(cast, name, inside)).filter((source) => source);
  return {
    characters: String(feed(cast, "characters", inside)?.value ?? ""),
    file: String(feed(cast, "file", inside)?.value ?? "none"),
    voices: voices.map((source) => String(feed(source, "name", source.graph === cast.graph ? inside : undefined)?.value ?? "").trim()),
  };
}

/** Nodes whose voices are connected to this one, in order: [{name, slot}]. */
export function connectedVoices(node, host) {
  const found = [];
  for (const [slot, input] of (node.inputs ?? []).entries()) {
    if (!input.name.startsWith("voices.") || !linkAt(node, slot)) continue;
    const source = feed(node, input.name, host)?.source?.node;
    if (!source || silenced(source)) continue;
    const inside = source.graph === node.graph ? host : undefined;
    found.push({ slot, name: String(feed(source, "name", inside)?.value ?? "").trim() });
  }
  return found;
}

/** Every name that a line may be given in this graph: of voices, and of the rows of casts. */
export function speakerNames() {
  const names = [];
  for (const node of allNodes()) {
    if (node.comfyClass === "NavaVoice") names.push(String(feed(node, "name")?.value ?? ""));
    if (node.comfyClass !== "NavaCast") continue;
    for (const row of String(feed(node, "characters")?.value ?? "").split("\n")) names.push(row.split(/[:：(（]/)[0]);
    names.push(...(node.navaCharacters ?? []).map((c) => c.name));
  }
  return [...new Set(names.map((name) => name.trim()).filter(Boolean))];
}

/** Who speaks a line, as the server reports it, in words; empty where nobody is named. */
export function speakerName(line, voices) {
  if (line.name === "-") return say("no voice");
  return voices[line.voice]?.name || line.name || (line.voice == null ? "" : say("voice {number}", { number: line.voice + 1 }));
}

/** The colour of a spoken line as the server reports it: its voice's, or that of its character in the cast. */
export function speakerColor(line, voices, characters) {
  const character = line?.voice == null ? null : characters?.[line.voice - voices.length];
  return character?.colour ?? voiceColor(line?.voice);
}

const player = new Audio();

/** Where the recording can be heard that a connected voice was made from, or null; number: among the connected ones. */
function recordingOf(node, number) {
  const slots = (node.inputs ?? []).filter((i) => i.name.startsWith("voices.") && i.link != null);
  const voice = slots[number] && sourceOf(node, slots[number].name);
  const loader = voice?.comfyClass === "NavaVoice" ? sourceOf(voice, "audio") : null;
  if (loader?.comfyClass !== "LoadAudio") return null;
  const path = String(feed(loader, "audio")?.value ?? "").split("/");
  const filename = path.pop();
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: path.join("/"), type: "input" })}`);
}

/** A button that plays the recording of a character's voice from its beginning, or stops it. */
function playButton(node, character) {
  const url = character.source == null ? null : recordingOf(node, character.source);
  if (!url) return null;
  const onclick = () => {
    const playing = !player.paused && player.src.endsWith(url);
    player.pause();
    if (playing) return;
    player.src = url;
    player.play().catch(() => {}); // a recording that is gone, or a browser without sound
  };
  return element("button", { type: "button", "aria-label": say("play {name}", character), onclick }, "▶");
}

function attach(node) {
  const { panel } = addPanel(node, "nava_cast_shown", () => 90);
  panel.append(element("div", { class: "nava-quiet" }, say("Characters and their voices show here after a run.")));
  after(node, "onExecuted", (output) => {
    const shown = output?.nava_cast?.[0];
    if (!shown) return;
    node.navaCharacters = shown.characters;
    const rows = shown.characters.map((c) =>
      element(
        "div",
        { class: "nava-line", style: { borderColor: c.colour } },
        playButton(node, c),
        element("b", { style: { color: wordColor(c.colour) } }, c.name),
        c.look ? `: ${c.look}` : "",
        c.voice ? "" : element("span", { class: "nava-quiet" }, ` ${say("(no voice)")}`),
      ),
    );
    if (shown.saved) rows.push(element("div", { class: "nava-quiet" }, say("saved as {name}", { name: shown.saved })));
    panel.replaceChildren(...rows);
  });
}

app.registerExtension({
  name: "nava.cast",
  nodeCreated(node) {
    if (node.comfyClass === "NavaCast") attach(node);
  },
});
