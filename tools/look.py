"""Open every shipped workflow in the real editor as artists do, check what a machine can, and keep pictures.

python tools/look.py [KEY ...] [--only PART ...] [--no-runs] [--again] [--out DIR] [--docs]
    (in the pack's virtual environment, NAVA_HOST naming ComfyUI's folder, with chromium installed)

Each in both renderers, themes, sizes and languages, on the small set; and each run once per renderer. PART chooses among
them: canvas, vue, dark, light, 1600x1000, 1280x720, en, zh. What is there is not made again. DIR then holds pictures, what was found
beside each, contact sheets and table.md; --docs puts table and some sheets into docs/looks.md.
"""

import argparse
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import environment
import small_set
import tiny
from comfy_server import Server
from editor_page import enter, launch, open_document, ours, run, save_picture, set_option
from PIL import Image, ImageDraw
from playwright.sync_api import Error, sync_playwright
from shipped import ALL, BY_KEY
from workflow import load

LANGUAGES, SIZES, RENDERERS, THEMES = ("en", "zh"), ("1600x1000", "1280x720"), ("canvas", "vue"), ("dark", "light")
RUNS = {"canvas": ("en", "1600x1000", "canvas", "dark"), "vue": ("zh", "1280x720", "vue", "light")}  # where each is run
PASSING = "[data-testid=queue-progress-overlay] { display: none }"  # how far a run is: gone with its end
STEPS = 2  # of a run: enough for a player
DOCS = environment.ROOT / "docs" / "looks.md"
BEGIN, END = "<!-- written by tools/look.py -->", "<!-- end -->"
SHEETS = ("nava_text_to_av", "nava_dialogue_two_voices", "nava_storyboard")  # those that docs/ keeps

# What a page shows of the open workflow, as sentences of what is wrong with it. chinese: the editor's language.
FAULTS = r"""(chinese) => {
  const { app } = window, found = [], vue = !!window.LiteGraph.vueNodesMode;
  const seen = (e) => e.offsetParent !== null && e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
  const { scale, offset } = app.canvas.ds, page = app.canvas.canvas.getBoundingClientRect();
  const onScreen = ([x, y, w, h]) => ({ left: page.left + (x + offset[0]) * scale, top: page.top + (y + offset[1]) * scale,
    right: page.left + (x + w + offset[0]) * scale, bottom: page.top + (y + h + offset[1]) * scale });
  const domOf = (n) => document.querySelector(`.lg-node[data-node-id="${n.id}"]`);
  const boxOf = (n) => (vue && domOf(n) ? domOf(n).getBoundingClientRect() : onScreen(n.boundingRect));

  for (const d of document.querySelectorAll(".p-dialog, [role=dialog], .p-toast-message-error"))
    if (seen(d)) found.push(`dialog: ${d.innerText.slice(0, 80)}`);

  const boxes = [...app.graph.nodes.map((n) => [n.title, boxOf(n)]), ...app.graph.groups.map((g) => [`group ${g.title}`, onScreen([...g.pos, ...g.size]), true])];
  for (const [name, b] of boxes) {
    if (b.left < 0 || b.top < 0 || b.right > innerWidth || b.bottom > innerHeight) { found.push(`outside: ${name}`); continue; }
    const over = new Set();
    for (const fx of [0.02, 0.5, 0.98]) for (const fy of [0.03, 0.5, 0.97]) {
      const e = document.elementFromPoint(b.left + fx * (b.right - b.left), b.top + fy * (b.bottom - b.top));
      if (e?.closest(".litegraph-minimap, .minimap-main-container, [class*=minimap]")) over.add("minimap");
      else if (e && !e.closest("canvas, .lg-node, .dom-widget, [data-node-id], .p-toast, .selection-toolbox, .nava-panel, [data-testid=transform-pane]"))
        over.add((e.closest("[class]")?.className ?? e.tagName).toString().slice(0, 50));
    }
    for (const what of over) found.push(`covered by ${what}: ${name}`);
  }
  const plain = boxes.filter((b) => !b[2]);
  for (const [i, [a, p]] of plain.entries()) for (const [b, q] of plain.slice(0, i))
    if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1) found.push(`overlap: ${a}, ${b}`);

  const holders = [...document.querySelectorAll(".dom-widget, .lg-node")].filter(seen);
  for (const e of new Set(holders.flatMap((h) => [h, ...h.querySelectorAll("*")]))) {
    if (!seen(e) || e.closest(".nava-marks, .nava-phrases")) continue; // drawn under a text area; a list to scroll
    const style = getComputedStyle(e), text = String(e.value ?? e.innerText ?? "").trim().replace(/\s+/g, " ").slice(0, 40);
    if (e.tagName === "TEXTAREA") {
      const line = parseFloat(style.lineHeight) || 1.2 * parseFloat(style.fontSize);
      if (e.scrollHeight > e.clientHeight + 2 && e.clientHeight < 3.4 * line) found.push(`few lines: ${Math.floor(e.clientHeight / line)} of ${Math.ceil(e.scrollHeight / line)}, ${text}`);
    } else if (text && e.clientHeight > 8 && e.scrollHeight > e.clientHeight + 3 && ["auto", "scroll", "hidden"].includes(style.overflowY))
      found.push(`cut: ${e.scrollHeight - e.clientHeight} px, ${text}`);
    else if (text && style.textOverflow === "ellipsis" && !/\.(safetensors|png|wav|mp4)$/.test(text) && e.clientWidth && e.scrollWidth > e.clientWidth + 1) found.push(`shortened: ${text}`);
  }
  for (const p of document.querySelectorAll(".nava-panel"))
    if (seen(p) && p.clientHeight > 8 && !p.innerText.trim() && !p.querySelector("canvas, video, audio, img")) found.push("empty panel");

  const cjk = /[\u3400-\u9fff\uff00-\uffef]/, own = (n) => n.subgraph || n.type.startsWith("Nava");
  const names = /NAVA|nava\w*|VAE|token|ComfyUI|LoRA|fps|safetensors/g;
  const check = (kind, text) => {
    if (!text || text.startsWith("$$")) return;
    if (chinese ? !cjk.test(text) && /[A-Za-z]{3}/.test(text.replace(names, "")) : cjk.test(text)) found.push(`language: ${kind} ${text.slice(0, 60)}`);
  };
  for (const n of app.graph.nodes) {
    check("title", n.title);
    if (!own(n)) continue;
    for (const s of [...(n.inputs ?? []), ...(n.outputs ?? [])]) check("socket", s.label ?? s.localized_name ?? s.name);
    for (const w of n.widgets ?? []) if (w.type !== "nava_panel") { check("label", w.label ?? w.name); check("tooltip", w.tooltip); }
  }
  for (const p of document.querySelectorAll(".nava-panel")) {
    if (!seen(p)) continue;
    const copy = p.cloneNode(true);
    copy.querySelectorAll(".nava-line, .nava-phrase, textarea").forEach((e) => e.remove()); // the user's own words
    for (const e of [copy, ...copy.querySelectorAll("*")]) {
      for (const t of e.childNodes) if (t.nodeType === 3) check("panel", t.textContent.trim());
      check("panel tooltip", e.title);
    }
  }
  for (const n of app.graph.nodes.filter((n) => n.type === "MarkdownNote" && !n.flags.collapsed))
    if (chinese !== cjk.test(n.widgets[0].value)) found.push(`language: note ${n.title}`);

  const media = { LoadImage: "img", LoadVideo: "video", SaveVideo: "video", SaveAudioAdvanced: "audio" };
  for (const n of app.graph.nodes.filter((n) => vue && n.type in media)) {
    const many = [...domOf(n)?.querySelectorAll(media[n.type]) ?? []].filter((e) => seen(e) && e.getBoundingClientRect().height > 4).length;
    if (many > 1) found.push(`${many} previews: ${n.title}`);
    if (!many && n.type.startsWith("Load")) found.push(`no preview: ${n.title}`);
  }
  return found;
}"""

CLOSE_OTHERS = """async () => {
  const tabs = window.app.extensionManager.workflow;
  for (const tab of [...tabs.openWorkflows]) if (tab !== tabs.activeWorkflow) await tabs.closeWorkflow(tab);
}"""
CLEAR = "(({ dismissAll, removeAll }) => (dismissAll ?? removeAll)())(window.app.extensionManager.toast)"  # by its newer name, or the older
SETTLED = """() => { const text = [...document.querySelectorAll(".nava-panel")].filter((p) => p.offsetParent).map((p) => p.innerText).join();
  const same = text === window.lookText && [...document.images].every((i) => i.complete);
  window.lookText = text; return same && text.trim() !== "" }"""
SET_STEPS = """(steps) => { const host = window.app.graph.nodes.find((n) => n.isSubgraphNode?.());
  for (const w of host.widgets) if (/^steps/.test(w.name)) { w.value = steps; w.callback?.(steps); } }"""
PLAYS = """() => { const n = window.app.graph.nodes.find((n) => n.constructor?.nodeData?.output_node);
  const p = n.widgets.find((w) => w.name === "nava_player")?.element, m = p?.querySelector("video, audio");
  const r = p?.getBoundingClientRect();
  return !!m && m.readyState > 0 && r.height > 40 && p.querySelectorAll("video, audio").length === 1 }"""


class Eyes:
    """One page on a running server, and the folder of what it has seen."""

    def __init__(self, server: Server, browser, out: Path, again: bool):
        self.server, self.browser, self.out, self.again = server, browser, out, again
        self.page, self.language = None, None

    def missing(self, name: str) -> bool:
        return self.again or not (self.out / f"{name}.json").exists()

    def prepare(self, language: str, size: str, renderer: str) -> None:
        """The page in this language (which is loaded anew), size and renderer."""
        if language != self.language:
            if self.page:
                self.page.close()
            self.server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Locale": language})
            self.page, self.language = self.browser.new_page(), language
            enter(self.page, self.server.address)
            self.page.add_style_tag(content=PASSING)
        width, height = map(int, size.split("x"))
        self.page.set_viewport_size({"width": width, "height": height})
        set_option(self.page, "Comfy.VueNodes.Enabled", renderer == "vue")

    def open(self, key: str) -> None:
        open_document(self.page, load(BY_KEY[key].path), BY_KEY[key].file)
        self.page.evaluate(CLOSE_OTHERS)
        self.page.keyboard.press("Escape")  # what a first visit lays over the canvas
        self.page.wait_for_timeout(800)
        for _ in range(12):  # panels have asked the server
            self.page.wait_for_timeout(350)
            if self.page.evaluate(SETTLED):
                break
        self.page.evaluate(CLEAR)  # the greeting of the small set, 15 s long
        self.page.wait_for_timeout(400)

    def keep(self, name: str, more: list[str] = ()) -> None:
        found = [
            *self.page.evaluate(FAULTS, self.language == "zh"),
            *(f"console: {c}" for c in ours(self.page.complaints)),
            *more,
        ]
        self.page.complaints.clear()
        save_picture(self.page, self.out / f"{name}.jpg")
        (self.out / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
        print(name, *(found or ["-"]), sep="\n    " if found else " ", flush=True)

    def look(self, key: str, language: str, size: str, renderer: str, themes: list[str]) -> None:
        """Open a workflow and keep it in each theme."""
        names = {theme: f"{key}.{language}.{size}.{renderer}.{theme}" for theme in themes}
        todo = {theme: name for theme, name in names.items() if self.missing(name)}
        if not todo:
            return
        self.prepare(language, size, renderer)
        self.open(key)
        for theme, name in todo.items():
            set_option(self.page, "Comfy.ColorPalette", theme)
            self.page.wait_for_timeout(300)
            self.keep(name)

    def run(self, key: str, language: str, size: str, renderer: str, theme: str) -> None:
        """Queue it from the page, as it opens but with few steps, and wait for its player."""
        name = f"{key}.run.{renderer}"
        if not self.missing(name):
            return
        self.prepare(language, size, renderer)
        set_option(self.page, "Comfy.ColorPalette", theme)
        self.open(key)
        self.page.evaluate(SET_STEPS, STEPS)
        error = run(self.page)
        fault = None if error is None else f"failed: {error}"
        if not fault:
            try:
                self.page.wait_for_function(PLAYS, timeout=60_000)
            except Error:
                fault = "no player"
        self.page.wait_for_timeout(1200)
        self.page.evaluate(CLEAR)
        self.page.wait_for_timeout(300)
        self.keep(name, [fault] if fault else [])


def sheet(out: Path, key: str, names: list[str], file: Path, width: int, columns: int = 4, quality: int = 80) -> None:
    """Pictures side by side, each with its name above it."""
    pictures = [(name, out / f"{name}.jpg") for name in names if (out / f"{name}.jpg").exists()]
    if not pictures:
        return
    tile, bar = round(width * 0.625), 16
    rows = -(-len(pictures) // columns)
    made = Image.new("RGB", (columns * width, rows * (tile + bar)), "#777")
    draw = ImageDraw.Draw(made)
    for i, (name, path) in enumerate(pictures):
        picture = Image.open(path).convert("RGB")
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        x, y = i % columns * width, i // columns * (tile + bar)
        draw.text((x + 4, y + 2), name.removeprefix(f"{key}."), fill="#fff")
        made.paste(picture, (x, y + bar))
    file.parent.mkdir(parents=True, exist_ok=True)
    made.save(file, quality=quality, optimize=True)


def names_of(key: str, languages=LANGUAGES) -> list[str]:
    found = itertools.product(languages, RENDERERS, SIZES, THEMES)
    return [f"{key}.{language}.{size}.{renderer}.{theme}" for language, renderer, size, theme in found]


def table(out: Path) -> str:
    """A row for each workflow; below it what was found, and in how many pictures."""
    lines = ["| workflow | pictures | without a fault | run, canvas | run, Vue |", "|---|---|---|---|---|"]
    everywhere = Counter()
    for flow in ALL:
        seen = [read(out, n) for n in names_of(flow.key)]
        seen = [f for f in seen if f is not None]
        runs = [read(out, f"{flow.key}.run.{renderer}") for renderer in RENDERERS]
        for found in [*seen, *runs]:
            everywhere.update({re.sub(r"\d+ px, |: .*$", "", f) for f in found or ()})
        told = ["not run" if r is None else run_in_words(r) for r in runs]
        clean = sum(not f for f in seen)
        lines.append(f"| {flow.key} | {len(seen)} of {len(names_of(flow.key))} | {clean} | {told[0]} | {told[1]} |")
    lines += ["", "Left, with the number of pictures:", ""] if everywhere else ["", "Nothing else was found."]
    return "\n".join([*lines, *(f"- {what}: {count}" for what, count in everywhere.most_common())])


def run_in_words(found: list[str]) -> str:
    plays = not any(f.startswith(("failed", "no player")) for f in found)
    return "; ".join([*(["plays"] if plays else []), *found])


def read(out: Path, name: str) -> list[str] | None:
    file = out / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write_sheets(out: Path, keys: list[str]) -> None:
    pictures = out / "pictures"
    for key in keys:
        for language in LANGUAGES:
            sheet(pictures, key, names_of(key, (language,)), out / "sheets" / f"{key}.{language}.jpg", 640)
    sheet(pictures, "", [f"{k}.run.{r}" for k in keys for r in RENDERERS], out / "sheets" / "runs.jpg", 640)


def write_docs(out: Path) -> None:
    pictures = out / "pictures"
    for key in SHEETS:
        sheet(pictures, key, names_of(key), DOCS.parent / "looks" / f"{key}.jpg", 360, 4, 62)
    runs = [f"{flow.key}.run.{r}" for flow in ALL for r in RENDERERS]
    sheet(pictures, "", runs, DOCS.parent / "looks" / "runs.jpg", 300, 6, 62)
    before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    DOCS.write_text(f"{before}{BEGIN}\n{table(pictures)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="workflows; by default all")
    parser.add_argument("--only", nargs="+", default=[], choices=[*LANGUAGES, *SIZES, *RENDERERS, *THEMES])
    parser.add_argument("--no-runs", action="store_true")
    parser.add_argument("--no-looks", action="store_true", help="runs only")
    parser.add_argument("--again", action="store_true", help="make anew what is there")
    parser.add_argument("--out", type=Path, default=environment.CACHE / "looks-out")
    parser.add_argument("--docs", action="store_true", help="write docs/looks.md from what is there, and open nothing")
    options = parser.parse_args()
    if options.docs:
        return write_docs(options.out)
    keys = options.keys or list(BY_KEY)

    def wanted(choices):
        return [c for c in choices if c in options.only] or list(choices)

    env = environment.running()
    base = environment.base_folder(env, "looks")
    small_set.chosen().make(env.host, base / "models")
    tiny.make_inputs(base / "input")
    with Server(env.host, base) as server, sync_playwright() as playwright:
        browser = launch(playwright)
        eyes = Eyes(server, browser, options.out / "pictures", options.again)
        for language, size, renderer in itertools.product(wanted(LANGUAGES), wanted(SIZES), wanted(RENDERERS)):
            for key in keys:
                if not options.no_looks:
                    eyes.look(key, language, size, renderer, wanted(THEMES))
        for renderer in [] if options.no_runs else wanted(RENDERERS):
            for key in keys:
                eyes.run(key, *RUNS[renderer])
        browser.close()
    write_sheets(options.out, keys)
    (options.out / "table.md").write_text(table(options.out / "pictures"), encoding="utf-8")


if __name__ == "__main__":
    main()
