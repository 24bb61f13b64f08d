"""The pack in ComfyUI's own editor, in a real browser."""

import json
import shutil

import pytest
from support import ROOT
from workflow import load, to_api

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WORKFLOWS = sorted(p.stem for p in (ROOT / "workflows").glob("*.json"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: install Debian's package chromium")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page(browser, server):
    """The editor, loaded, with everything that its console says about our files."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.goto(f"http://{server.address}/")
    page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=60_000)
    page.wait_for_function("Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 500", timeout=60_000)
    page.evaluate("window.app.extensionManager.setting.set('Comfy.TutorialCompleted', true)")
    return page


def open_workflow(page, name):
    document = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    page.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", document)
    page.wait_for_function("(n) => window.app.graph.nodes.length === n", arg=len(document["nodes"]))
    return document


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_opens_with_no_missing_node(page, object_info, name):
    """The editor knows every node, keeps every value, and would queue what our own conversion queues."""
    document = open_workflow(page, name)
    missing = page.evaluate(
        "window.app.graph.nodes.map((n) => n.type).filter((t) => !(t in window.LiteGraph.registered_node_types))"
    )
    assert missing == []
    values = page.evaluate(
        "Object.fromEntries(window.app.graph.nodes.map((n) => [n.id, n.widgets?.map((w) => w.value) ?? []]))"
    )
    for node in document["nodes"]:
        stored = node.get("widgets_values", [])
        assert values[str(node["id"])][: len(stored)] == stored, node["type"]  # upload buttons come after
    queued = page.evaluate("window.app.graphToPrompt().then((p) => p.output)")
    for node_id, node in to_api(load(ROOT / "workflows" / f"{name}.json"), object_info).items():
        assert queued[node_id]["class_type"] == node["class_type"]
        found = queued[node_id]["inputs"]
        assert {k: found.get(k) for k in node["inputs"]} == node["inputs"], node["class_type"]
    assert len(queued) == len(to_api(document, object_info))


def test_older_workflow_loads_unchanged(page, object_info):
    """A file from before inputs were added: stored values stay, new inputs take their defaults."""
    path = ROOT / "tests" / "data" / "workflow_0_1.json"
    page.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", load(path))
    queued = page.evaluate("window.app.graphToPrompt().then((p) => p.output)")
    ours = to_api(load(path), object_info)
    guiders = [n["inputs"] for n in ours.values() if n["class_type"] == "NavaGuider"]
    assert guiders[0]["contrast_start"] == 0.0 and guiders[0]["contrast_end"] == 1.0
    for node_id, node in ours.items():
        found = queued[node_id]["inputs"]
        assert {k: found.get(k) for k in node["inputs"]} == node["inputs"], node["class_type"]
