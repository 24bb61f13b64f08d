"""Take the pictures of the help pages from the running editor.

python tools/make_pictures.py HOST      (in the pack's virtual environment, with chromium installed)
"""

import io
import json
import sys
from pathlib import Path

import environment
import tiny
from comfy_server import Server
from editor_page import enter, launch
from PIL import Image
from playwright.sync_api import sync_playwright
from shipped import BY_KEY

DOCS = environment.ROOT / "js" / "docs"
# picture -> (workflow, node)
PICTURES = {
    "prompt.png": ("nava_dialogue_two_voices", "NavaTextEncode"),
    "size.png": ("nava_text_to_av", "NavaEmptyLatent"),
    "live.png": ("nava_text_to_av", "SamplerCustomAdvanced"),
    "player.png": ("nava_text_to_av", "SaveVideo"),
}
LOADERS = {
    "NavaModelLoader": "diffusion_models",
    "NavaTextEncoderLoader": "text_encoders",
    "NavaVideoVAELoader": "vae",
    "LTXVAudioVAELoader": "checkpoints",
    "NavaVoiceEncoderLoader": "audio_encoders",
}
SHRINK = """() => {
  const set = (n, name, value) => { const w = n.widgets.find((x) => x.name === name); w.value = value; w.callback?.(value); };
  for (const n of window.app.graph.nodes) {
    if (n.type === "NavaEmptyLatent") { set(n, "width", 320); set(n, "height", 192); set(n, "seconds", 2); }
    if (n.type === "NavaScheduler") set(n, "steps", 10);
  }
}"""


def load(page, name: str) -> None:
    """Open a workflow, every node loose, with the tiny set's files in place of the released ones."""
    document = json.loads(BY_KEY[name].open_path.read_text(encoding="utf-8"))
    document["extra"].pop("nava")
    for node in document["nodes"]:
        node["properties"].pop("models", None)
        if node["type"] in LOADERS:
            node["widgets_values"][0] = tiny.FILES[LOADERS[node["type"]]]
    page.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", document)
    page.wait_for_timeout(1500)
    page.keyboard.press("Escape")


def picture_of(page, kind: str) -> Image.Image:
    """The first node of a kind, as it stands in the editor."""
    width, height = page.evaluate(
        """(t) => { const n = window.app.graph.nodes.find((n) => n.type === t); const c = window.app.canvas;
            c.deselectAll?.(); c.ds.scale = 1; c.ds.offset = [200 - n.pos[0], 160 - n.pos[1]]; c.setDirty(true, true);
            return [n.size[0], n.size[1]] }""",
        kind,
    )
    page.wait_for_timeout(700)
    clip = {"x": 190, "y": 122, "width": width + 24, "height": height + 52}
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


def main(host: Path) -> None:
    base = environment.base_folder(environment.Environment(Path(sys.executable), host, False))
    tiny.make(host, base / "models")
    tiny.make_inputs(base / "input")
    with Server(host, base) as server, sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": False})
        enter(page, server.address)
        page.add_style_tag(
            content=".p-toast, .p-dialog-mask, .selection-toolbox, .litegraph-minimap, [role=alert], .actionbar { display: none !important }"
        )
        for workflow in BY_KEY:
            load(page, workflow)
            page.evaluate(SHRINK)
            page.wait_for_timeout(800)
            wanted = {name: kind for name, (source, kind) in PICTURES.items() if source == workflow}
            if wanted:
                page.evaluate("window.app.queuePrompt(0)")
                page.wait_for_function(
                    "window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.some((w) => w.name === 'nava_player')",
                    timeout=90_000,
                )
                page.wait_for_timeout(2500)
            for name, kind in wanted.items():
                picture_of(page, kind).save(DOCS / name, optimize=True)
                print("wrote", name)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
