"""The pack's panels where graphs are rearranged: copied, put into subgraphs, continued with a next shot."""

import pytest
from shipped import BY_KEY
from test_editor import open_workflow, shot
from workflow import load

LONG = 300_000  # ms; the machine may be busy


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def renderer(request, editor):
    editor.evaluate("(v) => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', v)", request.param)
    yield request.param
    editor.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_copies_keep_their_voices(editor, renderer):
    open_workflow(editor, "nava_dialogue_two_voices")
    connected = editor.evaluate(
        """async () => {
            const graph = window.app.graph, canvas = window.app.canvas;
            const text = graph.nodes.find((n) => n.type === "NavaTextEncode");
            const extra = LiteGraph.createNode("NavaVoice");
            graph.add(extra);
            extra.connect(0, text, text.inputs.findIndex((i) => i.name === "voices.voice_2"));
            const chosen = [text, ...graph.nodes.filter((n) => n.type === "NavaVoice")];
            canvas.copyToClipboard(chosen);
            const before = new Set(graph.nodes);
            canvas.pasteFromClipboard({});
            await new Promise((done) => setTimeout(done, 300));
            const copy = graph.nodes.find((n) => n.type === "NavaTextEncode" && !before.has(n));
            return copy.inputs.filter((i) => i.link != null).map((i) => [i.name, before.has(copy.getInputNode(copy.inputs.indexOf(i)))]);
        }"""
    )
    assert connected == [[f"voices.voice_{i}", False] for i in range(3)]


def test_many_voices(editor):
    """The seventeenth voice takes a socket of its own."""
    open_workflow(editor, "nava_text_to_av")
    count = editor.evaluate(
        """async () => {
            const text = window.app.graph.nodes.find((n) => n.type === "NavaTextEncode");
            for (let i = 0; i < 18; i++) {
              const voice = LiteGraph.createNode("NavaVoice");
              window.app.graph.add(voice);
              voice.connect(0, text, text.inputs.findLastIndex((s) => s.name.startsWith("voices.")));
              await new Promise(requestAnimationFrame);
            }
            return text.inputs.filter((i) => i.name.startsWith("voices.") && i.link != null).length;
        }"""
    )
    assert count == 18


INTO_SUBGRAPH = """(kinds) => {
    const graph = window.app.rootGraph;
    const made = graph.convertToSubgraph(new Set(graph.nodes.filter((n) => kinds.includes(n.type))));
    return made.node.id;
}"""
INNER = """(kind) => { for (const h of window.app.rootGraph.nodes) { const n = h.subgraph?.nodes.find((n) => n.type === kind); if (n) return n; } }"""
INNER_TEXT = """([kind, widget]) => {
    for (const h of window.app.rootGraph.nodes) {
      const n = h.subgraph?.nodes.find((n) => n.type === kind);
      if (n) return n.widgets.find((w) => w.name === widget)?.element.innerText ?? "";
    }
    return "";
}"""


def wait_inside(editor, kind, widget, words):
    editor.wait_for_function(
        f"([a, words]) => ({INNER_TEXT})(a).includes(words)", arg=[[kind, widget], words], timeout=LONG
    )


def test_prompt_panel_inside_a_subgraph(editor):
    """Voices, a dialogue and a promoted prompt outside of the subgraph are found."""
    open_workflow(editor, "nava_dialogue_two_voices")
    complaints = []
    editor.on("pageerror", lambda error: complaints.append(str(error)))
    editor.evaluate(INTO_SUBGRAPH, ["NavaTextEncode"])
    wait_inside(editor, "NavaTextEncode", "nava_prompt_check", "Anna: You could have called.")
    assert "not connected" not in editor.evaluate(INNER_TEXT, ["NavaTextEncode", "nava_prompt_check"])
    open_workflow(editor, "nava_text_to_av")
    editor.evaluate(INTO_SUBGRAPH, ["NavaTextEncode"])
    editor.evaluate(
        """() => {
            const host = window.app.rootGraph.nodes.find((n) => n.subgraph), graph = host.subgraph;
            const text = graph.nodes.find((n) => n.type === "NavaTextEncode");
            const slot = text.inputs.find((i) => i.name === "prompt");
            const border = graph.addInput("prompt", "STRING");
            border.connect(slot, text);
            const outside = host.widgets.find((w) => w.name === "prompt");
            outside.value = "She says <S>promoted words<E>";
            outside.callback?.(outside.value);
        }"""
    )
    wait_inside(editor, "NavaTextEncode", "nava_prompt_check", "promoted words")
    assert complaints == []


def test_muted_voices_leave_the_panel(editor):
    open_workflow(editor, "nava_dialogue_two_voices")
    editor.evaluate("""() => { window.app.graph.nodes.find((n) => n.type === "NavaVoice").mode = 2 }""")
    editor.wait_for_function(
        "window.app.graph.nodes.find((n) => n.type === 'NavaTextEncode').widgets.find((w) => w.name === 'nava_prompt_check').element.innerText.includes('not connected')",
        timeout=LONG,
    )


def open_shipped(editor, key, steps=1):
    """A shipped workflow on the tiny set, as it opens, with few steps."""
    document = load(BY_KEY[key].path)
    editor.keyboard.press("Escape")  # what a first visit lays over the canvas
    editor.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", document)
    editor.wait_for_function("window.app.graph.nodes.some((n) => n.isSubgraphNode?.())")
    editor.evaluate(SET_OUTSIDE, ["steps", steps])


OUTSIDE = "window.app.graph.nodes.find((n) => n.isSubgraphNode?.())"
SET_OUTSIDE = f"""([name, value]) => {{
    const w = {OUTSIDE}.widgets.find((w) => w.name === name);
    w.value = value;
    w.callback?.(value);
}}"""
FRONT = "[...document.querySelectorAll('.nava-front')].find((p) => p.offsetParent)"


def wait_front(editor, words):
    editor.wait_for_function(f"(words) => {FRONT}?.innerText.includes(words)", arg=words, timeout=LONG)


def test_panels_stand_on_the_shipped_node(editor, renderer):
    """Who never opens the subgraph sees tokens, spoken lines in their colours, sizes; and choosing works."""
    open_shipped(editor, "nava_text_to_av")
    wait_front(editor, "tokens")
    editor.evaluate(SET_OUTSIDE, ["prompt", "She says <S>good morning<E> and leaves, <S>bye"])
    wait_front(editor, "never closed")
    editor.wait_for_function(
        """[...document.querySelectorAll('.nava-marks')].some((m) => m.offsetParent && [...m.querySelectorAll('span')]
            .some((s) => s.style.backgroundColor !== 'transparent' && s.textContent === '<S>good morning<E>'))""",
        timeout=LONG,
    )
    editor.get_by_role("button", name="960×960").locator("visible=true").first.click()
    wait_front(
        editor,
        "33 frames"
        if editor.evaluate(f"{OUTSIDE}.widgets.find((w) => w.name === 'seconds').value") > 1.2
        else "frames",
    )
    sizes = editor.evaluate(f"['width', 'height'].map((n) => {OUTSIDE}.widgets.find((w) => w.name === n).value)")
    assert sizes == [960, 960]
    inside = editor.evaluate(
        f"""() => {{ const p = {FRONT}; const host = p.closest('.lg-node, .dom-widget'); const [a, b] = [p, host].map((e) => e.getBoundingClientRect());
            return [a.right <= b.right + 1, p.scrollHeight <= p.clientHeight + 2, {OUTSIDE}.widgets.filter((w) => w.name === 'nava_front').length] }}"""
    )
    assert inside == [True, True, 1], "nothing is cut off"
    saved = editor.evaluate("window.app.graph.serialize().nodes.find((n) => n.properties?.nava_zh?.labels)")
    assert len(saved["widgets_values"]) == 10 and "nava_front" not in str(saved), "the panel is not saved"
    shot(editor, f"shipped_{'vue' if renderer else 'canvas'}")


PLAYER = "window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.find((w) => w.name === 'nava_player')"


def test_shipped_workflow_shows_plays_and_goes_on(editor):
    """Progress and player on what saves the clip; the next shot is whole, runs, and is undone at once."""
    open_shipped(editor, "nava_text_to_av")
    editor.evaluate(
        """() => { window.shown = []; window.app.api.addEventListener('nava.live', () => setTimeout(() => window.shown.push(
            window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.map((w) => w.name).filter((n) => n.startsWith('nava')).join()), 50)); }"""
    )
    editor.evaluate("window.app.queuePrompt(0)")
    editor.wait_for_function(PLAYER, timeout=LONG)
    assert editor.evaluate("window.shown")[0] == "nava_live", "while it samples, in the place of the result"
    assert editor.evaluate(f"{PLAYER}.element.querySelector('video').src").startswith("http")
    editor.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    try:
        editor.wait_for_selector(".lg-node .nava-panel video", timeout=LONG)
        editor.wait_for_timeout(500)
        assert editor.locator(".lg-node video").count() == 1, "the host's own player is not shown beside ours"
        shot(editor, "shipped_player_vue")
    finally:
        editor.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")

    before = editor.evaluate("window.app.graphToPrompt().then((p) => Object.keys(p.output).length)")
    editor.evaluate(
        f"[...{PLAYER}.element.querySelectorAll('button')].find((b) => b.textContent.includes('next shot')).click()"
    )
    queued = editor.evaluate("window.app.graphToPrompt().then((p) => p.output)")
    kinds = sorted(n["class_type"] for n in queued.values())
    for kind in ("NavaTextEncode", "NavaGuider", "SamplerCustomAdvanced", "NavaDecode", "RandomNoise"):
        assert kinds.count(kind) == 2, kind
    for kind in ("NavaJoin", "NavaFirstFrame", "ImageFromBatch", "NavaScheduler"):
        assert kinds.count(kind) == 1, kind
    seeds = [n["inputs"]["noise_seed"] for n in queued.values() if n["class_type"] == "RandomNoise"]
    assert max(seeds) == min(seeds) + 1
    index = next(n["inputs"]["batch_index"] for n in queued.values() if n["class_type"] == "ImageFromBatch")
    assert index == -1, "the last one, however long the clip is"
    video = next(n for n in queued.values() if n["class_type"] == "CreateVideo")
    assert queued[video["inputs"]["images"][0]]["class_type"] == "NavaJoin"
    names = editor.evaluate(f"{OUTSIDE}.widgets.map((w) => w.name)")
    assert {"prompt_2", "noise_seed_2"} <= set(names), "its text and seed stand beside the first ones"
    assert overlaps(editor) == []
    undo_and_redo = """async (way) => { const t = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
        await t[way](); return Object.keys((await window.app.graphToPrompt()).output).length }"""
    assert editor.evaluate(undo_and_redo, "undo") == before
    editor.wait_for_function(PLAYER, timeout=LONG)  # the graph was opened anew: the clip is still there
    assert editor.evaluate(undo_and_redo, "redo") == len(queued)
    editor.evaluate(SET_OUTSIDE, ["prompt_2", "He says <S>second<E>"])
    wait_front(editor, "prompt 2: ")
    shot(editor, "next_shot")
    outcome = editor.evaluate(
        """() => new Promise((done) => {
            for (const end of ["execution_success", "execution_error"])
                window.app.api.addEventListener(end, (e) => done([end, e.detail.exception_message]), { once: true });
            window.app.queuePrompt(0) })"""
    )
    assert outcome[0] == "execution_success", outcome


def overlaps(editor):
    """Nodes of the subgraph that lie over each other."""
    return editor.evaluate(
        f"""() => {{ const ns = {OUTSIDE}.subgraph.nodes; const found = [];
            for (const a of ns.slice(-9)) for (const b of ns) if (a !== b && a.pos[0] < b.pos[0] + b.size[0] && b.pos[0] < a.pos[0] + a.size[0]
              && a.pos[1] < b.pos[1] + b.size[1] && b.pos[1] < a.pos[1] + a.size[1]) found.push([a.type, b.type]);
            return found }}"""
    )


def test_sound_player_and_few_toasts(editor):
    """Saved sound is played too; many warnings make three messages and a count, each of a bearable length."""
    open_shipped(editor, "nava_sound_effects")
    editor.evaluate(SET_OUTSIDE, ["prompt", "rain " * 900 + "<S>a<E>" * 30])
    editor.evaluate(
        """() => { window.toasts = []; const add = window.app.extensionManager.toast.add;
            window.app.extensionManager.toast.add = (t) => { window.toasts.push(t.detail); return add.call(window.app.extensionManager.toast, t) };
            window.app.queuePrompt(0) }"""
    )
    editor.wait_for_function(
        "window.app.graph.nodes.find((n) => n.type === 'SaveAudioAdvanced').widgets.find((w) => w.name === 'nava_player')?.element.querySelector('audio')",
        timeout=LONG,
    )
    toasts = editor.evaluate("window.toasts")
    assert 2 <= len(toasts) <= 4 and all(len(text) < 320 for text in toasts), toasts
    assert any("more" in text for text in toasts)
    editor.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    try:
        editor.wait_for_selector(".lg-node .nava-panel audio", timeout=LONG)
        editor.wait_for_timeout(500)
        shown = "[...document.querySelectorAll('.lg-node [data-testid=node-widget]:has(audio)')].filter((w) => w.offsetParent)"
        assert editor.evaluate(f"{shown}.length") == 1, "the host's own player is not shown beside ours"
        shot(editor, "sound_player")
    finally:
        editor.evaluate("window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_command_toggles_and_stays_where_speech_belongs(editor):
    open_workflow(editor, "nava_dialogue_two_voices")
    outcome = editor.evaluate(
        """async () => {
            const press = () => window.app.extensionManager.command.execute("Nava.WrapSpeech");
            const dialogue = window.app.graph.nodes.find((n) => n.type === "NavaDialogue");
            const scene = dialogue.widgets.find((w) => w.name === "scene").element;
            const before = scene.value;
            scene.focus(); scene.select(); await press();
            return before === scene.value;
        }"""
    )
    assert outcome, "the scene stays as it was"
    open_workflow(editor, "nava_text_to_av")
    values = editor.evaluate(
        """async () => {
            const press = () => window.app.extensionManager.command.execute("Nava.WrapSpeech");
            const area = window.app.graph.nodes.find((n) => n.type === "NavaTextEncode").widgets.find((w) => w.name === "prompt").element;
            area.focus(); area.select(); document.execCommand("insertText", false, "hello"); area.select();
            const seen = [];
            await press(); seen.push(area.value);
            await press(); seen.push(area.value);
            area.select(); await press(); area.select(); await press(); seen.push(area.value);
            return seen;
        }"""
    )
    assert values == ["<S>hello<E>", "hello", "hello"]
