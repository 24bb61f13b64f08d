"""The pack in ComfyUI's own editor, in a real browser."""

import re

import pytest
from editor_page import enter, ours, set_option
from shipped import ALL, BY_KEY
from support import ROOT
from workflow import load, to_api

WORKFLOWS = [flow.key for flow in ALL]


@pytest.fixture(scope="module")
def page(browser, server):
    """The editor, loaded, with everything that its console says about our files."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    enter(page, server.address)
    return page


def open_workflow(page, name):
    """The open variant, every node loose."""
    document = load(BY_KEY[name].open_path)
    document["extra"].pop("nava")  # as it is written, without files chosen for this server
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
    for node_id, node in to_api(document, object_info).items():
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


# The pack's own widgets, used as a person would.

SHOTS = ROOT / ".cache" / "screenshots"


def shot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SHOTS / f"{name}.png"))


def node_id(page, kind):
    return page.evaluate("(t) => window.app.graph.nodes.find((n) => n.type === t).id", kind)


def show(page, kind, scale=1.0):
    """Bring a node into view, and close what lies over the canvas."""
    page.evaluate(
        """([t, scale]) => {
            const n = window.app.graph.nodes.find((n) => n.type === t);
            window.app.canvas.ds.scale = scale;
            window.app.canvas.ds.offset = [120 / scale - n.pos[0], 140 / scale - n.pos[1]];
            window.app.canvas.setDirty(true, true);
        }""",
        [kind, scale],
    )
    page.keyboard.press("Escape")
    page.wait_for_timeout(400)


def panel_text(page, kind, widget):
    return page.evaluate(
        "([t, w]) => window.app.graph.nodes.find((n) => n.type === t).widgets.find((x) => x.name === w)?.element.innerText ?? ''",
        [kind, widget],
    )


def wait_for_panel(page, kind, widget, words):
    page.wait_for_function(
        "([t, w, words]) => (window.app.graph.nodes.find((n) => n.type === t).widgets.find((x) => x.name === w)?.element.innerText ?? '').includes(words)",
        arg=[kind, widget, words],
    )


def use_tiny(page, steps=4):
    """Choose the tiny files and small sizes in the open workflow."""
    import tiny

    page.evaluate(
        """([files, steps]) => {
            const choose = { NavaModelLoader: ["model_name", "diffusion_models"], NavaTextEncoderLoader: ["clip_name", "text_encoders"],
              NavaVideoVAELoader: ["vae_name", "vae"], LTXVAudioVAELoader: ["ckpt_name", "checkpoints"] };
            const set = (n, name, value) => { const w = n.widgets.find((x) => x.name === name); w.value = value; w.callback?.(value); };
            for (const n of window.app.graph.nodes) {
              if (choose[n.type]) set(n, choose[n.type][0], files[choose[n.type][1]]);
              if (n.type === "NavaEmptyLatent") { set(n, "width", 320); set(n, "height", 192); set(n, "seconds", 1); }
              if (n.type === "NavaScheduler") set(n, "steps", steps);
            }
        }""",
        [tiny.FILES, steps],
    )


def change(page, kind, **values):
    page.evaluate(
        """([t, values]) => { const n = window.app.graph.nodes.find((n) => n.type === t);
            for (const w of n.widgets) if (w.name in values) { w.value = values[w.name]; w.callback?.(w.value) } }""",
        [kind, values],
    )


def prompt_area(page):
    """The prompt's text area, as it stands on the canvas."""
    handle = page.evaluate_handle(
        "window.app.graph.nodes.find((n) => n.type === 'NavaTextEncode').widgets.find((w) => w.name === 'prompt').element"
    )
    return handle.as_element()


def test_prompt_panel_checks_while_typing(page):
    open_workflow(page, "nava_text_to_av")
    show(page, "NavaTextEncode")
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "1 spoken line")
    area = prompt_area(page)
    area.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("A man shouts: <S>Come here")  # pasted: what is typed is closed by itself
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "never closed")
    page.keyboard.type("<E> and <S:Eve>now<E>.")
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "<S:Eve> names a voice that is not connected")
    marked = area.evaluate(
        """(a) => { const spans = [...a.parentElement.querySelectorAll('.nava-marks span')];
            const boxes = [a, a.navaMarks].map((e) => { const r = e.getBoundingClientRect(); return [r.left, r.top] });
            return [spans.map((s) => s.textContent).join(''), spans.filter((s) => s.style.backgroundColor !== 'transparent').map((s) => s.textContent), boxes] }"""
    )
    assert marked[0] == area.evaluate("(a) => a.value")
    assert marked[1] == ["<S>Come here<E>", "<S:Eve>now<E>"], "spoken words are marked in the text itself"
    assert marked[2][0] == pytest.approx(marked[2][1], abs=1.5)
    shot(page, "prompt_problems")


def test_wrapping_the_selection_and_undo(page):
    open_workflow(page, "nava_text_to_av")
    show(page, "NavaTextEncode")
    area = prompt_area(page)
    area.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("She says hello")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Control+Shift+L")
    assert area.evaluate("(a) => a.value") == "She says <S>hello<E>"
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "hello")
    stored = page.evaluate("window.app.graph.serialize().nodes.find((n) => n.type === 'NavaTextEncode').widgets_values")
    assert stored[0] == "She says <S>hello<E>" and len(stored) == 2, "only the plain texts are saved"
    area.click()
    page.keyboard.press("Control+Z")
    assert area.evaluate("(a) => a.value") == "She says hello"


def test_prompt_text_is_never_html(page):
    open_workflow(page, "nava_text_to_av")
    show(page, "NavaTextEncode")
    area = prompt_area(page)
    area.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("<S><img src=x onerror='window.injected=1'><b>bold</b><E>")
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "<b>bold</b>")
    assert not page.evaluate("window.injected")


def test_dialogue_colours_speakers(page):
    open_workflow(page, "nava_dialogue_two_voices")
    show(page, "NavaDialogue", 0.8)
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "Anna: You could have called.")
    colours = page.evaluate(
        """() => { const n = window.app.graph.nodes.find((n) => n.type === 'NavaTextEncode');
            const lines = [...n.widgets.find((w) => w.name === 'nava_prompt_check').element.querySelectorAll('.nava-line b')];
            return [lines.map((b) => b.style.color), n.inputs.filter((i) => i.name.startsWith('voices.') && i.link != null).map((i) => i.color_on)] }"""
    )
    assert len(set(colours[0])) == 2 and len(set(colours[1])) == 2
    shot(page, "dialogue")


def test_size_panel(page):
    open_workflow(page, "nava_text_to_av")
    show(page, "NavaEmptyLatent")
    wait_for_panel(page, "NavaEmptyLatent", "nava_size", "145 frames · 6.04 s · 152 audio steps · about 1.0 GB a pass")
    sizes = page.evaluate(
        "[...window.app.graph.nodes.find((n) => n.type === 'NavaEmptyLatent').widgets.find((w) => w.name === 'nava_size').element.querySelectorAll('button')].map((b) => b.textContent)"
    )
    assert sizes == ["1280×704", "704×1280", "960×960", "1088×832", "832×1088"], "what most clips are comes first"
    change(page, "NavaEmptyLatent", batch_size=2)
    wait_for_panel(page, "NavaEmptyLatent", "nava_size", "about 2.")
    change(page, "NavaEmptyLatent", width=320, height=192, batch_size=1)
    wait_for_panel(page, "NavaEmptyLatent", "nava_size", " MB a pass")
    wait_for_panel(page, "NavaEmptyLatent", "nava_size", "far from the sizes that the model was trained on")
    page.get_by_role("button", name="960×960").click()
    wait_for_panel(page, "NavaEmptyLatent", "nava_size", "GB a pass")
    values = page.evaluate(
        "window.app.graph.nodes.find((n) => n.type === 'NavaEmptyLatent').widgets.slice(1, 3).map((w) => w.value)"
    )
    assert values == [960, 960]
    page.wait_for_selector("button[aria-pressed=true]:has-text('960×960')")
    page.get_by_role("button", name="704×1280").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("window.app.graph.nodes.find((n) => n.type === 'NavaEmptyLatent').widgets[1].value === 704")
    shot(page, "size")


def test_dropped_file_runs_with_live_view_and_player(page, server):
    """A workflow file is dropped in, queued, watched and played."""
    text = BY_KEY["nava_text_to_av"].open_path.read_text(encoding="utf-8")
    page.evaluate(
        """(text) => { const data = new DataTransfer();
            data.items.add(new File([text], "nava_text_to_av.json", { type: "application/json" }));
            document.querySelector("#graph-canvas, canvas").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })) }""",
        text,
    )
    page.wait_for_function(
        "window.app.graph.nodes.some((n) => n.type === 'NavaGuider') && window.app.graph.nodes.length === 16"
    )
    page.wait_for_timeout(500)
    use_tiny(page, steps=12)
    show(page, "SamplerCustomAdvanced", 0.7)
    page.evaluate(
        "() => { window.seen = new Set(); window.app.api.addEventListener('nava.live', (e) => window.seen.add(e.detail.step + e.detail.sound)); }"
    )
    page.evaluate("window.app.queuePrompt(0)")
    page.wait_for_function(
        "window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.some((w) => w.name === 'nava_player')",
        timeout=300_000,
    )
    assert page.evaluate("window.seen.size") >= 2, "the preview changes while sampling"
    assert "Step 12 of 12" in panel_text(page, "SamplerCustomAdvanced", "nava_live")
    assert "prompt, negative, alignment" in panel_text(page, "SamplerCustomAdvanced", "nava_live")
    wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "of 512 tokens")
    page.wait_for_function(  # the text encoder is loaded: the count is exact now
        "!window.app.graph.nodes.find((n) => n.type === 'NavaTextEncode').widgets.find((w) => w.name === 'nava_prompt_check').element.innerText.includes('about')"
    )
    page.wait_for_timeout(1500)
    shot(page, "live")
    show(page, "SaveVideo", 0.9)
    player = page.evaluate_handle(
        "window.app.graph.nodes.find((n) => n.type === 'SaveVideo').widgets.find((w) => w.name === 'nava_player').element"
    ).as_element()
    video = player.query_selector("video")
    video.evaluate("(v) => { v.muted = true; return v.play(); }")
    page.wait_for_function("(v) => v.currentTime > 0.2", arg=video)
    page.wait_for_function(  # the waveform is drawn, once the sound was decoded
        "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 1 && v > 60).length > 100",
        arg=player.query_selector("canvas[aria-label^=waveform]"),  # not the curves above it
    )
    video.evaluate("(v) => v.pause()")
    shot(page, "player")


def test_warnings_reach_the_artist(page):
    """What a node says about its input is shown, not only logged."""
    open_workflow(page, "nava_sound_effects")
    use_tiny(page, steps=1)
    page.evaluate(
        """() => { const w = window.app.graph.nodes.find((n) => n.type === 'NavaTextEncode').widgets.find((w) => w.name === 'prompt');
            w.value = "rain ".repeat(1500); w.callback?.(w.value); window.app.queuePrompt(0) }"""
    )
    page.wait_for_selector("text=the model reads the first 512", timeout=300_000)
    shot(page, "warning")


def test_saving_and_loading_keeps_every_value(page):
    open_workflow(page, "nava_text_to_av")
    use_tiny(page)
    first = page.evaluate("window.app.graph.serialize()")
    page.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", first)
    second = page.evaluate("window.app.graph.serialize()")
    values = [{n["id"]: n.get("widgets_values") for n in d["nodes"]} for d in (first, second)]
    assert values[0] == values[1]


@pytest.mark.parametrize("zoom", [1.0, 1.5])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_themes_and_zoom(page, theme, zoom):
    """Panels stay inside their nodes and keep readable contrast."""
    set_option(page, "Comfy.ColorPalette", theme)
    open_workflow(page, "nava_text_to_av")
    show(page, "NavaEmptyLatent", zoom)
    wait_for_panel(page, "NavaEmptyLatent", "nava_size", "frames")
    box, panel, colors = page.evaluate(
        """() => { const n = window.app.graph.nodes.find((n) => n.type === 'NavaEmptyLatent');
            const e = n.widgets.find((w) => w.name === 'nava_size').element; const r = e.getBoundingClientRect();
            const s = getComputedStyle(e);
            return [[n.size[0], n.size[1]], [r.width / window.app.canvas.ds.scale, r.height / window.app.canvas.ds.scale, e.scrollHeight, e.clientHeight], [s.color, s.backgroundColor]] }"""
    )
    shot(page, f"size_{theme}_{zoom}")
    assert panel[0] <= box[0] + 1 and panel[1] <= box[1]
    assert panel[2] <= panel[3] + 2, "nothing is cut off"

    def light(color):
        return sum(float(v) for v in color[color.index("(") + 1 : color.index(")")].split(",")[:3]) / 3

    assert abs(light(colors[0]) - light(colors[1])) > 90, colors
    set_option(page, "Comfy.ColorPalette", "dark")


def test_vue_nodes(page):
    """The same panels where the editor draws nodes with Vue, and the same command in its text areas."""
    set_option(page, "Comfy.VueNodes.Enabled", True)
    try:
        open_workflow(page, "nava_text_to_av")
        show(page, "NavaTextEncode", 0.8)
        wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "1 spoken line")
        wait_for_panel(page, "NavaEmptyLatent", "nava_size", "145 frames")
        area = page.locator(f"[data-node-id='{node_id(page, 'NavaTextEncode')}'] textarea").first
        area.click()
        page.keyboard.press("Control+A")
        page.keyboard.type("hello")
        page.keyboard.press("Control+A")
        page.keyboard.press("Control+Shift+L")
        assert area.input_value() == "<S>hello<E>"
        wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "hello")
        page.get_by_role("button", name="960×960").click()
        page.wait_for_function(
            "window.app.graph.nodes.find((n) => n.type === 'NavaEmptyLatent').widgets[1].value === 960"
        )
        change(page, "NavaEmptyLatent", width=1280, height=704, batch_size=2)
        wait_for_panel(page, "NavaEmptyLatent", "nava_size", "about 2.")
        shot(page, "vue_nodes")
        open_workflow(page, "nava_dialogue_two_voices")
        show(page, "NavaTextEncode", 0.8)
        wait_for_panel(page, "NavaTextEncode", "nava_prompt_check", "Anna: You could have called.")
        page.wait_for_function(
            """(id) => { const dots = [...document.querySelectorAll(`[data-node-id="${id}"] [data-testid="slot-dot"]`)];
                const shown = dots.map((d) => getComputedStyle(d).backgroundColor);
                return ["rgb(224, 160, 48)", "rgb(58, 160, 216)"].every((c) => shown.includes(c)) }""",
            arg=node_id(page, "NavaTextEncode"),
        )
    finally:
        set_option(page, "Comfy.VueNodes.Enabled", False)


def test_chinese(page, server, browser):
    """Names and tooltips in the model's own language."""
    server.post("/settings", {"Comfy.Locale": "zh", "Comfy.TutorialCompleted": True})
    try:
        chinese = browser.new_page(viewport={"width": 1600, "height": 1000})
        chinese.goto(f"http://{server.address}/")
        chinese.wait_for_function(
            "window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 500",
            timeout=60_000,
        )
        open_workflow(chinese, "nava_text_to_av")
        chinese.wait_for_timeout(500)
        titles = chinese.evaluate("window.LiteGraph.registered_node_types.NavaGuider.title")
        show(chinese, "NavaGuider", 0.8)
        shot(chinese, "chinese")
        assert titles == "NAVA 引导"
        chinese.close()
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})


def test_thumbnails_are_served(server):
    import urllib.parse
    import urllib.request

    for flow in ALL:
        name = urllib.parse.quote(f"{flow.file}.jpg")
        with urllib.request.urlopen(f"http://{server.address}/api/workflow_templates/ComfyUI-NAVA/{name}") as answer:
            assert answer.read(4) in (b"\xff\xd8\xff\xe0", b"RIFF"), "a JPEG, or a moving WebP under that name"


def test_console_is_quiet_about_our_files(page):
    assert ours(page.complaints) == []


# What the editor asks the server for.


def ask(server, path, body):
    return server.post(path, body)


def test_routes_answer(server):
    report = ask(server, "/nava/prompt", {"prompt": "<S:Anna>a<E> <S>b<E>", "voices": ["Anna", ""]})
    assert [line["voice"] for line in report["lines"]] == [0, 1] and not report["problems"]
    report = ask(server, "/nava/prompt", {"dialogue": {"scene": "x", "script": "no colon", "sounds": ""}})
    assert "row 1" in report["problems"][0]
    size = ask(server, "/nava/size", {"mode": "audio + video", "width": 1280, "height": 704, "seconds": 6})
    assert (size["frames"], size["audio_steps"]) == (145, 152)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/nava/prompt", {}),
        ("/nava/prompt", {"prompt": 3}),
        ("/nava/prompt", {"prompt": "a", "voices": [1]}),
        ("/nava/prompt", {"prompt": "a", "voices": ["a"] * 101}),
        ("/nava/prompt", {"prompt": "a" * 70_000}),
        ("/nava/prompt", {"dialogue": {"scene": 1}}),
        ("/nava/size", {"mode": "video", "width": 64, "height": 64, "seconds": 1, "batch_size": "a"}),
        ("/nava/size", {"mode": "x", "width": 1, "height": 1, "seconds": 1}),
        ("/nava/size", {"mode": "video", "width": "a", "height": 64, "seconds": 1}),
        ("/nava/size", {"mode": "video", "width": 64, "height": 64, "seconds": 1e9}),
    ],
)
def test_routes_refuse(server, path, body):
    from comfy_server import ServerError

    with pytest.raises(ServerError):
        ask(server, path, body)
    assert ask(server, "/nava/prompt", {"prompt": "still there"})["tokens"] > 0


def test_help_locales_and_templates(server, object_info):
    """Every node has a help page in both languages, Chinese names, and every workflow is a template."""
    import urllib.parse
    import urllib.request

    ours = [k for k in object_info if k.startswith("Nava")]
    for node in ours:
        for path in (f"{node}.md", f"{node}/zh.md"):
            with urllib.request.urlopen(f"http://{server.address}/extensions/ComfyUI-NAVA/docs/{path}") as answer:
                text = answer.read().decode()
            assert text.startswith("# ")
            assert "->" not in re.sub("`[^`]*`", "", text), "the editor's font draws an arrow, but not in code"
            assert "&" not in "".join(re.findall("`[^`]*`", text)), "code shows what it holds"
    translations = server.get("/api/i18n")
    for language in ("en", "zh"):
        entries = translations[language]["nodeDefs"]
        for node in ours:
            known = {*object_info[node]["input"].get("required", {}), *object_info[node]["input"].get("optional", {})}
            assert set(entries[node]["inputs"]) == known, (language, node)
    templates = server.get("/api/workflow_templates")["ComfyUI-NAVA"]
    assert sorted(templates) == sorted(flow.file for flow in ALL)
    for words in ("nava", "speech", "lip sync", "picture", "sound"):
        assert any(words in name.lower() for name in templates), "the template browser searches names"
