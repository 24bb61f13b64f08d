"""The pack's panels where graphs are rearranged: copied, put into subgraphs, continued with a next shot."""

import shutil

import clips
import pytest
from editor_page import run, set_option
from shipped import BY_KEY
from small_set import MINI, MINI_FOLDER, YELLOW_BALL
from test_editor import open_workflow, shot
from workflow import load, set_widgets

from nava_core.meters.synchrony import synchrony

LONG = 300_000  # ms; the machine may be busy


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def renderer(request, editor):
    set_option(editor, "Comfy.VueNodes.Enabled", request.param)
    yield request.param
    set_option(editor, "Comfy.VueNodes.Enabled", False)


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


UNDONE = "([way]) => window.app.extensionManager.workflow.activeWorkflow.changeTracker[way]()"
PANELS = "[...document.querySelectorAll('.nava-front')].filter((p) => p.offsetParent)"
SIZE_OUTSIDE = f"['width', 'height'].map((n) => {OUTSIDE}.widgets.find((w) => w.name === n).value)"


def test_undo_leaves_one_panel_that_lives(editor, renderer):
    """Two clicks on sizes are two steps; the panel that stands there afterwards shows and sets what there is."""
    open_shipped(editor, "nava_text_to_av")
    wait_front(editor, "tokens")
    opened = editor.evaluate(SIZE_OUTSIDE)
    for size in ("960×960", "1088×832"):
        editor.get_by_role("button", name=size).locator("visible=true").first.click()
        editor.wait_for_selector(f"button[aria-pressed=true]:has-text('{size}') >> visible=true", timeout=LONG)
    for wanted in ([960, 960], opened):
        editor.evaluate(UNDONE, ["undo"])
        editor.wait_for_function(
            f"(wanted) => {SIZE_OUTSIDE}.join() === wanted.join() && {PANELS}.length === 1", arg=wanted, timeout=LONG
        )
        wait_front(editor, "tokens")
    editor.get_by_role("button", name="832×1088").locator("visible=true").click()
    editor.wait_for_selector("button[aria-pressed=true]:has-text('832×1088') >> visible=true", timeout=LONG)
    assert editor.evaluate(SIZE_OUTSIDE) == [832, 1088]
    assert editor.evaluate(f"{PANELS}.length") == 1


PLAYER = "window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.find((w) => w.name === 'nava_player')"


def test_shipped_workflow_shows_plays_and_goes_on(editor):
    """Progress and player on what saves the clip; the next shot is whole, runs, and is undone at once."""
    open_shipped(editor, "nava_text_to_av")
    editor.evaluate(
        """() => { window.shown = []; window.app.api.addEventListener('nava.live', () => window.shown.push(  // after the panel's own listener
            window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.map((w) => w.name).filter((n) => n.startsWith('nava')).join())); }"""
    )
    (seed,) = editor.evaluate(SEEDS)
    editor.evaluate("window.app.queuePrompt(0)")
    editor.wait_for_function(PLAYER, timeout=LONG)
    assert editor.evaluate("window.shown")[0] == "nava_live", "while it samples, in the place of the result"
    assert editor.evaluate(f"{PLAYER}.element.querySelector('video').src").startswith("http")
    set_option(editor, "Comfy.VueNodes.Enabled", True)
    try:
        editor.wait_for_selector(".lg-node .nava-panel video", timeout=LONG)
        editor.wait_for_timeout(500)
        assert editor.locator(".lg-node video").count() == 1, "the host's own player is not shown beside ours"
        shot(editor, "shipped_player_vue")
    finally:
        set_option(editor, "Comfy.VueNodes.Enabled", False)

    before = editor.evaluate("window.app.graphToPrompt().then((p) => Object.keys(p.output).length)")
    editor.evaluate(
        f"[...{PLAYER}.element.querySelectorAll('button')].find((b) => b.textContent.includes('next shot')).click()"
    )
    editor.wait_for_function(f"{OUTSIDE}.widgets.some((w) => w.name === 'noise_seed_2')")
    queued = editor.evaluate("window.app.graphToPrompt().then((p) => p.output)")
    kinds = sorted(n["class_type"] for n in queued.values())
    for kind in ("NavaTextEncode", "NavaGuider", "SamplerCustomAdvanced", "NavaDecode", "RandomNoise"):
        assert kinds.count(kind) == 2, kind
    for kind in ("NavaJoin", "NavaFirstFrame", "ImageFromBatch", "NavaScheduler"):
        assert kinds.count(kind) == 1, kind
    seeds = [n["inputs"]["noise_seed"] for n in queued.values() if n["class_type"] == "RandomNoise"]
    assert sorted(seeds) == [seed, seed + 1], "the first shot is the one that is shown"
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
    assert run(editor) is None
    seam, whole = 25 / 24, (25 + 25 - 1) / 24  # of both clips, as NavaJoin tells it
    editor.wait_for_function(
        f"(s) => Math.abs({PLAYER}.element.querySelector('video').duration - s) < 0.1", arg=whole, timeout=LONG
    )
    editor.wait_for_function(f"{PLAYER}.element.innerText.includes('goes on at {seam:.2f} s')", timeout=LONG)
    editor.wait_for_function(WHITE_LINE, arg=round(seam / whole * 600), timeout=LONG)
    assert not editor.evaluate(WHITE_LINE, round(seam / whole * 600) - 40), "and nowhere else"


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
    set_option(editor, "Comfy.VueNodes.Enabled", True)
    try:
        editor.wait_for_selector(".lg-node .nava-panel audio", timeout=LONG)
        editor.wait_for_timeout(500)
        shown = "[...document.querySelectorAll('.lg-node [data-testid=node-widget]:has(audio)')].filter((w) => w.offsetParent)"
        assert editor.evaluate(f"{shown}.length") == 1, "the host's own player is not shown beside ours"
        shot(editor, "sound_player")
    finally:
        set_option(editor, "Comfy.VueNodes.Enabled", False)


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


CURVES = f"{PLAYER}.element.querySelector('canvas[aria-label^=curves]')"
PRESS = f"(label) => [...{PLAYER}.element.querySelectorAll('button')].find((b) => b.textContent === label).click()"
SHOWN = f"""() => {{ const video = {PLAYER}?.element.querySelector('video'); if (!(video?.duration > 0)) return null;
    const query = new URL(video.src).searchParams; return [query.get('subfolder'), query.get('filename'), video.duration] }}"""
SEEDS = (
    f"['noise_seed', 'noise_seed_2'].flatMap((n) => {OUTSIDE}.widgets.filter((w) => w.name === n).map((w) => w.value))"
)
WHITE_LINE = f"""(x) => {{ const paint = {PLAYER}.element.querySelector('canvas[aria-label^=waveform]').getContext('2d');
    return [...Array(90).keys()].filter((y) => [x - 1, x].some((x) => paint.getImageData(x, y, 1, 1).data.slice(0, 3).every((v) => v > 120))).length > 30 }}"""
PIXELS = "([of, places]) => { const paint = eval(of).getContext('2d'); return places.map(([x, y]) => [...paint.getImageData(x, y, 1, 1).data].slice(0, 3)) }"


@pytest.fixture
def mini(server):
    """NAVA-mini's files beside those of the random set, which the other tests expect alone."""
    put = [(server.base / "models" / folder / name, MINI_FOLDER / name) for folder, name in MINI.files.items()]
    for file, source in put:
        shutil.copyfile(source, file)
    yield MINI
    for file, _ in put:
        file.unlink()


def run_and_show(editor, server):
    """Queue the graph; the file that the player shows then, and its length there."""
    before = editor.evaluate(SHOWN)
    assert run(editor) is None
    editor.wait_for_function(
        f"(before) => {{ const now = ({SHOWN})(); return now && now[1] !== before }}",
        arg=before and before[1],
        timeout=LONG,
    )
    folder, name, seconds = editor.evaluate(SHOWN)
    return server.base / "output" / folder / name, seconds


def test_curves_of_a_real_clip_and_its_extension(editor, server, object_info, mini):
    """What the player shows of a clip is what the meters say of its file; extended, it is longer and marked where it goes on."""
    document = load(BY_KEY["nava_text_to_av"].path)
    mini.apply(document, object_info)
    set_widgets(document, object_info, "NavaTextEncode", [{"prompt": YELLOW_BALL}])
    set_widgets(document, object_info, "NavaScheduler", [{"steps": 4}])
    document["extra"].pop("nava")
    editor.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", document)
    asked = []
    editor.on("request", lambda request: asked.append(request.url) if request.url.endswith("/nava/curves") else None)
    (seed,) = editor.evaluate(SEEDS)
    file, seconds = run_and_show(editor, server)
    assert not asked and editor.evaluate(f"{CURVES}.style.display") == "none", "nothing is measured unasked"

    with editor.expect_response("**/nava/curves", timeout=LONG) as answer:
        editor.evaluate(PRESS, "Sync curves")
    frames, fps, waveform, rate = clips.opened(file)
    measured = synchrony(frames, fps, waveform, rate)
    found = answer.value.json()
    assert (found["sounds"], found["pictures"], found["f1"], found["lag"]) == (
        measured.sounds, measured.pictures, measured.f1, measured.lag
    )  # fmt: skip
    count = f"{len(measured.pairs)} of {len(measured.sounds)} sounds and {len(measured.pictures)} events match"
    words = "not measured" if measured.f1 is None else f"{measured.f1:.2f}"
    panel = f"{PLAYER}.element.innerText"
    editor.wait_for_function(f"(words) => {panel}.includes(words)", arg=f"F1 {words}: {count}", timeout=LONG)
    if measured.lag:
        assert f"{'late' if measured.lag > 0 else 'early'} by {abs(measured.lag):.2f} s" in editor.evaluate(panel)
    marked = {i for _, i in measured.pairs}, {i for i, _ in measured.pairs}
    for times, matched, y, colour in (
        (measured.pictures, marked[0], 7, (240, 180, 60)),
        (measured.sounds, marked[1], 83, (90, 180, 250)),
    ):
        for i, at in enumerate(times):
            if at < 0.02:  # at the border, under the play head
                continue
            places = [[round(at / seconds * 600) - away, y] for away in (2, 3, 4, 5)]  # over the edge of its dot
            wanted = (90, 220, 120) if i in matched else colour
            drawn = editor.evaluate(PIXELS, [CURVES, places])
            assert min(max(abs(a - b) for a, b in zip(d, wanted, strict=True)) for d in drawn) < 60, (y, at, drawn)

    editor.evaluate(
        f"() => {{ const c = {CURVES}, r = c.getBoundingClientRect(); c.dispatchEvent(new MouseEvent('click', {{ clientX: r.left + r.width / 2, clientY: r.top + 5 }})) }}"
    )
    editor.wait_for_function(f"{CURVES}.getContext('2d').getImageData(301, 3, 1, 1).data[0] === 255", timeout=LONG)
    at = editor.evaluate(f"{PLAYER}.element.querySelector('video').currentTime")
    assert at == pytest.approx(seconds / 2, abs=0.05), "a click is where the clip goes on playing"
    set_option(editor, "Comfy.VueNodes.Enabled", True)
    try:
        editor.wait_for_selector(".lg-node .nava-panel canvas[aria-label^=curves]", timeout=LONG)
        editor.wait_for_timeout(500)
        inside = editor.evaluate(
            f"""() => {{ const [a, b] = [{CURVES}, {PLAYER}.element].map((e) => e.getBoundingClientRect());
                return [a.height > 20, a.top >= b.top - 1, a.bottom <= b.bottom + 1, {PLAYER}.element.scrollHeight <= {PLAYER}.element.clientHeight + 2] }}"""
        )
        shot(editor, "curves_vue")
        assert inside == [True] * 4, "nothing is cut off"
    finally:
        set_option(editor, "Comfy.VueNodes.Enabled", False)
    shot(editor, "curves")

    editor.evaluate(PRESS, "Extend this clip")
    editor.wait_for_function(f"{OUTSIDE}.widgets.some((w) => w.name === 'seconds_1')")
    assert editor.evaluate(SEEDS) == [seed, seed + 1], "of the clip that is shown, not the one drawn for the next run"
    editor.evaluate(SET_OUTSIDE, ["seconds_1", 1.0])
    longer, whole = run_and_show(editor, server)
    assert editor.evaluate(f"{CURVES}.style.display") == "none", "the curves were of another clip"
    pictures, _, sound, _ = clips.opened(longer)
    seam = len(frames) / fps
    assert len(pictures) / fps == pytest.approx(seam + 1, abs=0.3) and whole == pytest.approx(
        len(pictures) / fps, abs=0.1
    )
    assert sound.shape[-1] / rate == pytest.approx(len(pictures) / fps, abs=0.05)
    assert (pictures[: len(frames)] - frames).abs().mean() < 0.02, "it begins with the clip"
    goes_on = f"goes on at {float(f'{seam:.2f}'):g} s"
    editor.wait_for_function(f"(words) => {panel}.includes(words)", arg=goes_on, timeout=LONG)
    editor.wait_for_function(WHITE_LINE, arg=round(seam / whole * 600), timeout=LONG)
    assert editor.evaluate(SEEDS)[0] == seed != editor.evaluate(SEEDS)[1] - 1, "the new part alone is drawn anew"
    shot(editor, "extended")

    # two files of one run, as a batch has them
    named = [dict(filename=f.name, subfolder=f.parent.name, type="output") for f in (longer, file)]
    editor.evaluate(
        "(files) => { window.app.nodeOutputs[window.app.graph.nodes.find((n) => n.type === 'SaveVideo').id] = { images: files } }",
        named,
    )
    editor.wait_for_function(f"[...{PLAYER}.element.querySelectorAll('button')].some((b) => b.title === 'clip 2 of 2')")
    editor.evaluate(PRESS, "2")
    editor.wait_for_function(f"(name) => ({SHOWN})()?.[1] === name", arg=file.name, timeout=LONG)
    with editor.expect_response("**/nava/curves", timeout=LONG) as answer:
        editor.evaluate(PRESS, "Sync curves")
    assert answer.value.json()["sounds"] == measured.sounds, "of the clip that was chosen"
