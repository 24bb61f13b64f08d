// What follows a clip: everything that made it once more, begun with its last frame and joined to it, or continuing it.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { setWidget, widgetOf } from "./nava_dom.js";
import { before, feed, fromBorder, linkAt, nodesAlong } from "./nava_graph.js";
import { say } from "./nava_words.js";

// What a shot has of its own; the models, the schedule and the size are shared by all shots.
const OWN = [
  ["latent", "SamplerCustomAdvanced"],
  ["noise", "RandomNoise"],
  ["guider", "NavaGuider"],
  ["positive", "NavaTextEncode"],
  ["prompt", "NavaDialogue"],
];
const TEXTS = ["prompt", "scene", "script", "sounds"]; // and the seed: each shot's own, also where they are promoted
const GAP = 60;

const slotOf = (node, name) => node.inputs.findIndex((input) => input.name === name);

/** Connect whatever feeds an input of one node to an input of another, a border of the subgraph too. */
function share(from, name, to, as = name) {
  const slot = slotOf(from, name);
  const link = slot < 0 ? null : linkAt(from, slot);
  const target = slotOf(to, as);
  if (!link || target < 0) return;
  if (fromBorder(from.graph, link)) from.graph.inputs[link.origin_slot].connect(to.inputs[target], to);
  else from.graph.getNodeById(link.origin_id)?.connect(link.origin_slot, to, target);
}

/** The nodes of the shot that this decoder ends, as far as they stand in its own graph: name of the role -> node. */
function shotOf(decode) {
  const shot = new Map([["decode", decode]]);
  const parts = [decode];
  for (const [input, kind] of OWN) {
    for (const node of parts) {
      const found = feed(node, input)?.source?.node;
      if (found?.comfyClass === kind && found.graph === decode.graph) {
        shot.set(input, found);
        parts.push(found);
        break;
      }
    }
  }
  return shot;
}

/** The same values; those promoted to the outside as they stand there. */
function widgetsFrom(node, copy) {
  for (const [index, widget] of (node.widgets ?? []).entries()) {
    const own = copy.widgets?.[index];
    if (own?.name !== widget.name || widget.serialize === false) continue;
    const given = node.inputs.some((input) => input.widget?.name === widget.name) ? feed(node, widget.name) : null;
    own.value = given?.widget ? given.value : widget.value;
  }
}

/** Promote a widget of a new node, under a name and a label that are numbered on. */
function expose(node, name, label, first = 2) {
  const { graph } = node;
  const taken = graph.inputs.map((input) => input.name);
  let number = first;
  while (taken.includes(`${name}_${number}`)) number += 1;
  const input = node.inputs[slotOf(node, name)];
  const border = graph.addInput(`${name}_${number}`, input.type);
  graph.renameInput(border, number === 1 ? label : `${label} ${number}`);
  border.connect(input, node);
}

/** Promote a widget of the new shot as that of the shot before is. */
function promote(node, copy, name) {
  const link = linkAt(node, slotOf(node, name));
  if (!link || !fromBorder(node.graph, link)) return false;
  const shown = node.graph.inputs[link.origin_slot];
  expose(copy, name, (shown.label ?? shown.name).replace(/ \d+$/, "")); // "prompt 2" is followed by "prompt 3"
  return true;
}

/** Let what took the decoder's output take the joined clip's; the new join itself keeps the decoder. */
function redirect(decode, output, join, joined) {
  const graph = decode.graph;
  for (const id of [...(decode.outputs[output].links ?? [])]) {
    const link = graph.getLink?.(id) ?? graph.links.get(id);
    if (!link) continue;
    if (graph.outputNode && String(link.target_id) === String(graph.outputNode.id)) {
      graph.outputs[link.target_slot].connect(join.outputs[joined], join);
      continue;
    }
    const target = graph.getNodeById(link.target_id);
    if (target && target !== join && target.comfyClass !== "ImageFromBatch") join.connect(joined, target, link.target_slot);
  }
}

/** [path of the node, seed] of all noise with which a run made its clip: the editor may have drawn new seeds since. */
async function seedsOf(run) {
  try {
    const prompt = (await (await api.fetchApi(`/history/${run}`)).json())[run].prompt[2];
    const noises = Object.entries(prompt).filter(([, { class_type, inputs }]) => class_type === "RandomNoise" && Number.isFinite(inputs.noise_seed));
    return noises.map(([path, { inputs }]) => [path, inputs.noise_seed]);
  } catch {
    return []; // the server has forgotten that run
  }
}

/** Put seeds back where they came from; the nodes of noise that have them. */
function restore(seeds) {
  return seeds.flatMap(([path, seed]) => {
    const [host, node] = [undefined, ...nodesAlong(path)].slice(-2);
    const given = node?.comfyClass === "RandomNoise" ? feed(node, "noise_seed", host) : null;
    if (!given?.widget) return [];
    const { widget } = given;
    if (widget.value !== seed) setWidget(given.node, widget, seed);
    return [node];
  });
}

/**
 * Add and wire what `build` makes; undone in one step. It follows the clip that `run` made: that one keeps its seeds, the new
 * part's are drawn as the clip's were.
 */
async function grow(decode, run, build) {
  const { canvas } = app;
  const seeds = await seedsOf(run);
  canvas.emitBeforeChange?.();
  try {
    const kept = restore(seeds);
    const made = build(decode);
    for (const control of kept.map((node) => widgetOf(node, "control_after_generate"))) if (control) control.value = "fixed";
    if (decode.graph === canvas.graph) {
      canvas.selectItems?.(made);
      canvas.centerOnNode?.(made[0]);
    }
    return made;
  } finally {
    canvas.emitAfterChange?.();
    canvas.setDirty(true, true);
  }
}

/** Add the next shot, which begins with the last frame and is joined to this one. */
export const nextShot = (decode, run) => grow(decode, run, begin);

/** Let the clip go on: its end is held, and this decoder makes one clip of both. False where nothing is known that samples it. */
export async function extendClip(decode, run) {
  if (!shotOf(decode).has("latent")) return false;
  await grow(decode, run, goOn);
  return true;
}

function place(graph, kind) {
  const node = LiteGraph.createNode(kind);
  graph.add(node);
  return node;
}

/** The nodes of a shot once more, wired as they are among themselves and to what all shots share; the next seed. */
function copied(shot, nodes) {
  const copies = new Map();
  for (const node of nodes) {
    const copy = place(node.graph, node.type);
    copy.title = node.title;
    copies.set(node, copy);
    widgetsFrom(node, copy);
  }
  const seed = copies.get(shot.get("noise"))?.widgets.find((w) => w.name === "noise_seed");
  if (seed) seed.value = Number(seed.value) + 1;
  for (const [node, copy] of copies) {
    for (const input of [...node.inputs]) {
      const source = feed(node, input.name)?.source;
      const twin = source && copies.get(source.node);
      if (twin) twin.connect(source.slot, copy, slotOf(copy, input.name));
      else if (input.widget && (TEXTS.includes(input.name) || node === shot.get("noise")) && promote(node, copy, input.name)) continue;
      else share(node, input.name, copy);
    }
  }
  return copies;
}

function goOn(decode) {
  const { graph } = decode;
  const shot = shotOf(decode);
  const copies = copied(shot, [...shot.values()].filter((node) => node !== decode));
  const sampler = shot.get("latent");
  const sampling = copies.get(sampler);
  const extend = place(graph, "NavaExtend");
  const output = linkAt(decode, slotOf(decode, "latent")).origin_slot;
  sampler.connect(output, extend, slotOf(extend, "latent"));
  share(decode, "before", extend); // a clip that was extended already
  extend.connect(0, sampling, slotOf(sampling, "latent_image"));
  sampling.connect(output, decode, slotOf(decode, "latent"));
  extend.connect(1, decode, slotOf(decode, "before"));
  if (graph.inputNode) expose(extend, "seconds", say("seconds more"), 1);
  const at = (role) => copies.get(shot.get(role));
  return layOut(graph, [[extend], [at("prompt")], [at("positive")], [at("guider"), at("noise")], [sampling]]);
}

function begin(decode) {
  const graph = decode.graph;
  const shot = shotOf(decode);
  const copies = copied(shot, shot.values());
  const [last, first, join] = ["ImageFromBatch", "NavaFirstFrame", "NavaJoin"].map((kind) => place(graph, kind));

  last.title = say("Last frame");
  last.widgets.find((w) => w.name === "batch_index").value = -1; // counted from the end
  decode.connect(0, last, slotOf(last, "image"));
  last.connect(0, first, slotOf(first, "image"));
  share(decode, "video_vae", first);
  const sampler = shot.get("latent");
  const earlier = before(sampler ?? decode, "NavaFirstFrame");
  if (earlier?.graph === graph) {
    widgetsFrom(earlier, first); // else a first shot of its picture's shape and a second of another
    share(earlier, "size", first);
  }
  const empty = before(sampler ?? decode, "NavaEmptyLatent");
  if (empty && empty.graph === graph) empty.connect(0, first, slotOf(first, "latent"));
  else if (sampler) share(sampler, "latent_image", first, "latent");
  const sampling = copies.get(sampler);
  if (sampling) first.connect(0, sampling, slotOf(sampling, "latent_image"));

  const decoded = copies.get(decode);
  if (slotOf(decoded, "before") >= 0) decoded.disconnectInput(slotOf(decoded, "before")); // what came before this clip
  redirect(decode, 0, join, 0);
  redirect(decode, 1, join, 1);
  decode.connect(0, join, slotOf(join, "images_1"));
  decoded.connect(0, join, slotOf(join, "images_2"));
  if (slotOf(decode, "audio_vae") >= 0 && linkAt(decode, slotOf(decode, "audio_vae"))) {
    decode.connect(1, join, slotOf(join, "audio_1"));
    decoded.connect(1, join, slotOf(join, "audio_2"));
  }
  if (slotOf(join, "fps") >= 0) decode.connect(2, join, slotOf(join, "fps"));

  const at = (role) => copies.get(shot.get(role));
  return layOut(graph, [[last, first], [at("prompt")], [at("positive")], [at("guider"), at("noise")], [sampling], [decoded, join]]);
}

/** New nodes in a row of their own below everything, in the order in which they run. */
function layOut(graph, columns) {
  const made = new Set(columns.flat().filter(Boolean));
  const others = graph.nodes.filter((node) => !made.has(node));
  const top = Math.max(...others.map((node) => node.pos[1] + node.size[1])) + 2 * GAP;
  let left = Math.min(...others.map((node) => node.pos[0]));
  for (const column of columns.map((c) => c.filter(Boolean)).filter((c) => c.length)) {
    let y = top;
    for (const node of column) {
      node.setPos ? node.setPos(left, y) : (node.pos = [left, y]);
      y += node.size[1] + GAP;
    }
    left += Math.max(...column.map((node) => node.size[0])) + GAP;
  }
  return [...made];
}
