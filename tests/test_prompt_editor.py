"""Writing prompts in the real editor, drawn on the canvas and by Vue: names, ends of lines, rewriting, the cast."""

import pytest
from editor_page import set_option
from shipped import BY_KEY
from support import ROOT
from workflow import load

SHOTS = ROOT / ".cache" / "screenshots"


@pytest.fixture(params=["canvas", "vue"])
def drawn(editor, request):
    """The text workflow, with a cast and a rewriting beside it."""
    set_option(editor, "Comfy.VueNodes.Enabled", request.param == "vue")
    document = load(BY_KEY["nava_text_to_av"].open_path)
    document["extra"].pop("nava")
    editor.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", document)
    editor.evaluate(
        """() => {
            const { app, LiteGraph } = window;
            const text = app.graph.nodes.find((n) => n.type === "NavaTextEncode");
            for (const n of [...app.graph.nodes]) if (n !== text) app.graph.remove(n);
            const made = ["NavaCast", "NavaRewrite", "PreviewAny"].map((kind, i) => {
              const n = LiteGraph.createNode(kind);
              n.pos = [text.pos[0] + 500 * (i + 1), text.pos[1]];
              n.size = [450, 620];
              app.graph.add(n);
              return n;
            });
            const set = (n, name, value) => { const w = n.widgets.find((x) => x.name === name); w.value = value; w.callback?.(value); };
            set(made[0], "characters", "Anna: a woman in a green sweater\\nAnton (#3aa0d8): a boy\\nBen");
            set(made[1], "prompt", "Ben & <img src=x onerror='window.injected=1'> says: <S:Ben>Hello<E>");
            made[1].connect(0, made[2], 0);
            const [encoder, sound, voice] = ["NavaVoiceEncoderLoader", "LoadAudio", "NavaVoice"].map((kind, i) => {
              const n = LiteGraph.createNode(kind);
              n.pos = [text.pos[0] + 500 * (i + 1), text.pos[1] + 700];
              app.graph.add(n);
              return n;
            });
            set(encoder, "encoder_name", "nava_tiny_redimnet.pt");
            set(sound, "audio", "anna.wav");
            encoder.connect(0, voice, voice.inputs.findIndex((i) => i.name === "encoder"));
            sound.connect(0, voice, voice.inputs.findIndex((i) => i.name === "audio"));
            voice.connect(0, made[0], made[0].inputs.findIndex((i) => i.name.startsWith("voices.")));
            made[0].connect(0, text, text.inputs.findIndex((i) => i.name === "cast"));
            const [compose, board] = ["NavaCompose", "NavaStoryboard"].map((kind, i) => {
              const n = LiteGraph.createNode(kind);
              n.pos = [text.pos[0] + 500 * i, text.pos[1] - 800];
              n.size = [450, 700];
              app.graph.add(n);
              return n;
            });
            made[0].connect(0, board, board.inputs.findIndex((i) => i.name === "cast"));
            app.canvas.ds.scale = 0.7;
            app.canvas.ds.offset = [120 - text.pos[0], 160 - text.pos[1]];
            app.canvas.setDirty(true, true);
        }"""
    )
    editor.keyboard.press("Escape")
    editor.wait_for_timeout(600)
    yield editor, request.param
    SHOTS.mkdir(parents=True, exist_ok=True)
    editor.screenshot(path=str(SHOTS / f"prompts_{request.param}.png"))
    set_option(editor, "Comfy.VueNodes.Enabled", False)


def look_at(editor, kind):
    editor.evaluate(
        """(t) => { const n = window.app.graph.nodes.find((n) => n.type === t), c = window.app.canvas;
            c.ds.offset = [120 - n.pos[0], 120 - n.pos[1]]; c.setDirty(true, true) }""",
        kind,
    )
    editor.wait_for_timeout(300)


def area_of(editor, how, kind):
    """The first text area of a node."""
    if how == "vue":
        node = editor.evaluate("(t) => window.app.graph.nodes.find((n) => n.type === t).id", kind)
        return editor.locator(f"[data-node-id='{node}'] textarea").first.element_handle()
    return editor.evaluate_handle(
        "(t) => window.app.graph.nodes.find((n) => n.type === t).widgets.find((w) => w.element?.tagName === 'TEXTAREA').element", kind
    ).as_element()  # fmt: skip


def panel(editor, kind, widget):
    return editor.evaluate(
        "([t, w]) => window.app.graph.nodes.find((n) => n.type === t).widgets.find((x) => x.name === w).element.innerText", [kind, widget]
    )  # fmt: skip


def value(editor, kind, name):
    return editor.evaluate(
        "([t, w]) => window.app.graph.nodes.find((n) => n.type === t).widgets.find((x) => x.name === w).value",
        [kind, name],
    )


def test_names_and_ends_of_lines(drawn):
    editor, how = drawn
    area = area_of(editor, how, "NavaTextEncode")
    area.click()
    editor.keyboard.press("Control+A")
    editor.keyboard.type("Anna says: <S:an")
    options = editor.locator(".nava-names [role=option]")
    assert options.all_inner_texts() == ["Anna", "Anton"]
    editor.keyboard.press("ArrowDown")
    editor.keyboard.press("ArrowUp")
    editor.keyboard.press("Enter")
    editor.keyboard.type("Hi<E> Then: <S>")
    assert area.input_value() == "Anna says: <S:Anna>Hi<E> Then: <S><E>"
    assert area.evaluate("(a) => a.selectionStart") == len("Anna says: <S:Anna>Hi<E> Then: <S>")
    editor.keyboard.press("Control+Z")
    assert area.input_value().endswith("<S>"), "undo takes the end back"
    editor.wait_for_function(
        "window.app.graph.nodes.find((n) => n.type === 'NavaTextEncode').widgets.find((w) => w.name === 'nava_prompt_check').element.innerText.includes('Anna:')"
    )
    assert "not connected" not in panel(editor, "NavaTextEncode", "nava_prompt_check")


def test_rewriting_is_shown_kept_and_taken_back(drawn):
    editor, _ = drawn
    editor.evaluate("window.app.queuePrompt(0)")
    shown = "(t) => window.app.graph.nodes.find((n) => n.type === t[0]).widgets.find((w) => w.name === t[1]).element.innerText.includes(t[2])"
    editor.wait_for_function(shown, arg=["NavaRewrite", "nava_rewrite_shown", "no language model"], timeout=60_000)
    editor.wait_for_function(shown, arg=["NavaCast", "nava_cast_shown", "a woman in a green sweater"], timeout=60_000)
    assert "<img src=x" in panel(editor, "NavaRewrite", "nava_rewrite_shown")
    assert panel(editor, "NavaCast", "nava_cast_shown").count("(no voice)") == 2, "Anna has the connected voice"
    played = editor.evaluate(
        """() => { const play = HTMLMediaElement.prototype.play, found = [];
            HTMLMediaElement.prototype.play = function () { found.push(this); return play.call(this) };
            const button = document.querySelector("[aria-label='play Anna']");
            button.click();
            const before = found[0].paused;
            button.click();
            HTMLMediaElement.prototype.play = play;
            return [found.length, found[0].src, before, found[0].paused] }"""
    )
    assert played[0] == 1 and "/view?filename=anna.wav" in played[1] and played[2:] == [False, True]
    press = "(label) => [...window.app.graph.nodes.find((n) => n.type === 'NavaRewrite').widgets.find((w) => w.name === 'nava_rewrite_shown').element.querySelectorAll('button')].find((b) => b.textContent === label).click()"
    prompt = value(editor, "NavaRewrite", "prompt")
    for label in ("keep", "undo rewrite"):
        editor.evaluate(press, label)
        assert value(editor, "NavaRewrite", "kept") == prompt
        editor.evaluate(
            "() => { window.app.graph.nodes.find((n) => n.type === 'NavaRewrite').widgets.find((w) => w.name === 'kept').value = 'old' }"
        )
    seed = value(editor, "NavaRewrite", "seed")
    editor.evaluate(press, "rewrite")
    assert value(editor, "NavaRewrite", "kept") == "" and value(editor, "NavaRewrite", "seed") == seed + 1
    assert not editor.evaluate("window.injected")


def test_phrases_go_where_the_caret_is(drawn):
    """In the language of the parts; typing's own undo takes one back."""
    editor, how = drawn
    look_at(editor, "NavaCompose")
    panel = editor.evaluate_handle(
        "window.app.graph.nodes.find((n) => n.type === 'NavaCompose').widgets.find((w) => w.name === 'nava_phrases').element"
    ).as_element()
    area = area_of(editor, how, "NavaCompose")
    area.click()
    editor.keyboard.type("A kitchen at night.")
    for _ in range(10):
        editor.keyboard.press("ArrowLeft")
    panel.wait_for_selector("button[aria-pressed=true]:text-is('scene')").evaluate("(b) => b.textContent")
    panel.wait_for_selector("button:text-is('warm light from the side')").click()
    assert area.input_value() == "A kitchen, warm light from the side at night."
    editor.keyboard.press("Control+Z")
    assert area.input_value() == "A kitchen at night."
    panel.wait_for_selector("button:text-is('style')").click()
    panel.wait_for_selector("button:text-is('slow motion')").click()
    assert value(editor, "NavaCompose", "style") == "Slow motion"
    area.fill("夜晚的厨房里一个人也没有")
    panel.wait_for_selector("button:text-is('侧面照来的暖光')").click()
    assert area.input_value() == "夜晚的厨房里一个人也没有，侧面照来的暖光"


BOARD = "--- 4 s\nNight. <S:Anna>One<E>\n--- 2 s, continue\nIt <S:Anton>two<E> goes on\n--- 2 s\nDay."


def test_the_storyboards_time_line(drawn):
    """Bars as long as their shots, lines in the cast's colours in the bars and in the text; a click selects a shot."""
    editor, how = drawn
    look_at(editor, "NavaStoryboard")
    area = area_of(editor, how, "NavaStoryboard")
    area.fill(BOARD)
    editor.wait_for_function("document.querySelectorAll('.nava-shot').length === 3")
    shots = editor.evaluate(
        """() => [...document.querySelectorAll('.nava-shot')].map((s) => [s.getBoundingClientRect().width, getComputedStyle(s).borderLeftStyle,
            [...s.querySelectorAll('.nava-strips span')].map((l) => l.style.backgroundColor)])"""
    )
    assert shots[0][0] / shots[1][0] == pytest.approx(2, rel=0.1) == 2 * shots[1][0] / shots[2][0]
    assert [s[1] for s in shots] == ["solid", "dashed", "solid"]
    assert [s[2] for s in shots] == [["rgb(224, 160, 48)"], ["rgb(58, 160, 216)"], []]
    marked = area.evaluate(
        """(a) => [...a.navaMarks.querySelectorAll('span')].filter((s) => s.style.backgroundColor !== 'transparent')
            .map((s) => [s.textContent, s.style.backgroundColor.includes('rgb(58, 160, 216)') || s.style.backgroundColor.includes('0.627')])"""
    )
    assert [m[0] for m in marked] == ["<S:Anna>One<E>", "<S:Anton>two<E>"]
    editor.locator(".nava-shot").nth(1).click()
    chosen = area.evaluate("(a) => a.value.slice(a.selectionStart, a.selectionEnd)")
    assert chosen.strip() == "It <S:Anton>two<E> goes on"
    said = panel(editor, "NavaStoryboard", "nava_storyboard")
    assert "3 shots · 8.08 s" in said and "Anton" in said and "not connected" not in said
