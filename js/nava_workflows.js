// The shipped workflows as they open, and blueprints as they are put into a graph: in the editor's language, and with model files that are here.
import { app } from "../../scripts/app.js";
import { sayInstead, setWidget } from "./nava_dom.js";
import { feed } from "./nava_graph.js";
import { chinese, say } from "./nava_words.js";

// Names under which the released files also exist: fp8, bf16, other precisions of the same model.
const LOADERS = {
  NavaModelLoader: ["model_name", "diffusion_models", /^(?!.*nava_(mini|tiny)).*nava/i],
  NavaTextEncoderLoader: ["clip_name", "text_encoders", /umt5[-_]?xxl/i],
  NavaVideoVAELoader: ["vae_name", "vae", /^(?!.*nava_).*wan2\.2_vae/i],
  LTXVAudioVAELoader: ["ckpt_name", "checkpoints", /^(?!.*nava_).*ltx.*audio_vae/i],
  NavaVoiceEncoderLoader: ["encoder_name", "audio_encoders", /vb2\+vox2|^(?!.*nava_).*redimnet/i],
};

let sets = []; // the small sets, and the texts of the shipped workflows by their short names; read before anything can be opened: a node's files are chosen before the editor lists missing ones
let shipped = {};
let lastSaid = null; // what was said of the workflow before: it would lie over this one

/** Every widget that a file of ours stores: {node, name, value, write}. Promoted ones are written where they count. */
function storedWidgets(data) {
  const definitions = data.definitions?.subgraphs ?? [];
  const promoted = new Map();
  for (const instance of data.nodes) {
    const definition = definitions.find((d) => d.id === instance.type);
    if (!definition) continue;
    const names = instance.inputs.filter((s) => s.widget).map((s) => s.name);
    for (const edge of definition.inputs) {
      if (!names.includes(edge.name)) continue;
      for (const link of definition.links.filter((k) => edge.linkIds.includes(k.id))) {
        const target = definition.nodes.find((n) => n.id === link.target_id);
        promoted.set(`${target.id}/${target.inputs[link.target_slot].name}`, [instance, names.indexOf(edge.name)]);
      }
    }
  }
  return [...data.nodes, ...definitions.flatMap((d) => d.nodes)].flatMap((node) =>
    (node.inputs ?? [])
      .filter((s) => s.widget && node.type in window.LiteGraph.registered_node_types)
      .map((socket, index) => ({
        node,
        name: socket.name,
        get value() {
          const [instance, place] = promoted.get(`${node.id}/${socket.name}`) ?? [node, index];
          return instance.widgets_values[place];
        },
        write(value) {
          node.widgets_values[index] = value;
          const [instance, place] = promoted.get(`${node.id}/${socket.name}`) ?? [node, index];
          instance.widgets_values[place] = value;
        },
      })),
  );
}

/** The same of a subgraph's node that stands in the editor. */
const liveWidgets = (host) =>
  host.subgraph.nodes.flatMap((node) =>
    (node.widgets ?? []).map(({ name }) => ({
      node,
      name,
      get value() {
        return feed(node, name, host)?.value;
      },
      write(value) {
        const found = feed(node, name, host);
        if (found?.widget) setWidget(found.node, found.widget, value);
      },
    })),
  );

/** Titles, labels, notes and prompts in Chinese. definitionOf: the subgraph that a node shows, if it shows one. */
function translate(nodes, widgets, definitionOf) {
  for (const node of nodes) {
    const zh = node.properties?.nava_zh;
    if (!zh) continue;
    if (zh.title) node.title = zh.title;
    for (const [name, value] of Object.entries(zh.values ?? {})) {
      if (node.type === "MarkdownNote") node.widgets_values[0] = value;
      else widgets.find((w) => w.node === node && w.name === name)?.write(value);
    }
    const definition = definitionOf(node);
    if (definition && zh.title) definition.name = zh.title;
    const slots = definition ? [...node.inputs, ...node.outputs, ...definition.inputs, ...definition.outputs] : (node.inputs ?? []);
    for (const slot of slots) {
      if (zh.labels?.[slot.name]) slot.label = zh.labels[slot.name];
    }
  }
}

function filesHere(kind) {
  const [name] = LOADERS[kind];
  const spec = window.LiteGraph.registered_node_types[kind]?.nodeData?.input?.required?.[name];
  return (Array.isArray(spec?.[0]) ? spec[0] : spec?.[1]?.options) ?? [];
}

/** Choose files that are here in place of named ones that are not; the small set's, whole, where NAVA itself is not. */
function chooseFiles(widgets, workflow) {
  const loaders = widgets.filter((w) => LOADERS[w.node.type]?.[0] === w.name);
  const absent = (w) => !filesHere(w.node.type).includes(w.value);
  for (const widget of loaders.filter(absent)) {
    const other = filesHere(widget.node.type).find((file) => LOADERS[widget.node.type][2].test(file));
    if (other) widget.write(other);
  }
  if (!loaders.some((w) => w.node.type === "NavaModelLoader" && absent(w))) return;
  const fits = (set) => loaders.every((w) => filesHere(w.node.type).includes(set.files[LOADERS[w.node.type][1]]));
  const set = sets.find(fits);
  if (!set) return;
  for (const widget of loaders) {
    widget.write(set.files[LOADERS[widget.node.type][1]]);
    delete widget.node.properties.models;
  }
  const asShipped = (value) => shipped[workflow]?.includes(value) ?? true; // else somebody has written it
  const scene = set.scenes[workflow]?.inputs ?? {};
  const wanted = { ...scene, NavaEmptyLatent: [set.size], NavaScheduler: [{ steps: set.steps }] };
  wanted.NavaFirstFrame = [{ size: "as the latent" }];
  const everywhere = Object.entries(set.inputs ?? {}).map(([kind, values]) => [kind, [values]]);
  for (const [kind, turns] of [...everywhere, ...Object.entries(wanted)]) {
    const nodes = [...new Set(widgets.map((w) => w.node).filter((n) => n.type === kind))];
    nodes.forEach((node, turn) => {
      for (const [name, value] of Object.entries(turns[turn] ?? turns[0])) {
        const widget = widgets.find((w) => w.node === node && w.name === name);
        if (typeof value !== "string" || asShipped(widget?.value)) widget?.write(value);
      }
    });
  }
  const size = `${set.size.width}×${set.size.height}, ${say("{seconds} s", set.size)}`;
  lastSaid = sayInstead(lastSaid, {
    life: 15000,
    summary: say("Opened with {name}", { name: say(set.name) }),
    detail: say("NAVA's own model files are not here. The small files that are were chosen instead, at {size} and {steps} steps.", { size, steps: set.steps }),
  });
}

const SIDE_BAR = 76; // pixels, with some air

/**
 * The editor opens a template in the middle, its result under the map in the lower right corner: move it beside the side bar. It does so
 * some time after the graph stands, which shows by the middle; opened otherwise, a graph stays where its file says.
 */
async function moveFromTheMap(graph) {
  for (let tries = 0; tries < 60; tries++) {
    await new Promise((done) => setTimeout(done, 50));
    if (app.canvas?.graph !== graph) return;
    const { ds, canvas } = app.canvas;
    const boxes = graph.nodes.map((node) => node.boundingRect);
    const left = Math.min(...boxes.map((b) => b[0]));
    const right = Math.max(...boxes.map((b) => b[0] + b[2]));
    const aside = (left + right) / 2 + ds.offset[0] - canvas.getBoundingClientRect().width / 2 / ds.scale;
    if (Math.abs(aside * ds.scale) > 4) continue;
    ds.offset[0] = Math.min(ds.offset[0], SIDE_BAR / ds.scale - left);
    return app.canvas.setDirty(true, true);
  }
}

let fresh = false; // whether the graph that is being opened is one of ours, as it is shipped

app.registerExtension({
  name: "nava.workflows",
  async setup() {
    const read = fetch(new URL("./small_sets.json", import.meta.url)).then((r) => r.json());
    ({ sets, shipped } = await read.catch(() => ({ sets: [], shipped: {} })));
  },
  afterConfigureGraph() {
    if (fresh) moveFromTheMap(app.graph);
    fresh = false;
  },
  beforeConfigureGraph(data) {
    const ours = data?.extra?.nava;
    fresh = !!ours?.workflow && !ours.opened;
    if (!fresh) return; // what was saved since is the artist's own
    ours.opened = true;
    const definitions = data.definitions?.subgraphs ?? [];
    const nodes = [...data.nodes, ...definitions.flatMap((d) => d.nodes)];
    const widgets = storedWidgets(data);
    if (chinese()) translate(nodes, widgets, (node) => definitions.find((d) => d.id === node.type));
    chooseFiles(widgets, ours.workflow);
  },
  nodeCreated(node) {
    queueMicrotask(() => {
      const workflow = node.properties?.nava_blueprint; // once configured, and until now
      if (!workflow || !node.subgraph) return;
      delete node.properties.nava_blueprint;
      const widgets = liveWidgets(node);
      if (chinese()) translate([node, ...node.subgraph.nodes], widgets, (n) => n.subgraph);
      chooseFiles(widgets, workflow);
    });
  },
});
