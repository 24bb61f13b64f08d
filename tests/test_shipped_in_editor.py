"""The shipped workflows in the real editor: they queue what we queue, with files that are here, in its language."""

import re

import pytest
import torch
from editor_page import open_document, ours, run, set_option
from shipped import ALL, BLUEPRINTS, BY_KEY
from test_editor import shot
from tiny import FILES
from workflow import load, to_api

from nava_core import prompt as prompts
from nava_core.sizes import check_side
from nava_core.voice import doubts


def queued(editor):
    return editor.evaluate("window.app.graphToPrompt().then((p) => p.output)")


def of_kind(prompt, kind):
    return [n["inputs"] for n in prompt.values() if n["class_type"] == kind]


def test_a_blueprint_is_a_node_of_the_search(editor, object_info):
    """Found by the node search, put into an empty graph with its settings on it, and joined to what saves; nodes by their use."""
    editor.evaluate("window.app.loadGraphData({ nodes: [], links: [], version: 0.4 }, true, true, null)")
    editor.keyboard.press("Escape")
    editor.evaluate("window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    prompt = object_info["NavaTextEncode"]["display_name"]
    for words in ("lipsync", "talking", "text to speech"):
        editor.keyboard.type(words)
        editor.get_by_text(prompt, exact=True).first.wait_for(timeout=60_000)
        editor.keyboard.press("Control+A")
        editor.keyboard.press("Backspace")
        editor.get_by_text(prompt, exact=True).first.wait_for(state="hidden", timeout=60_000)
    name = BLUEPRINTS["nava_text_to_av"].file
    editor.keyboard.type(name)
    editor.get_by_text(name, exact=True).first.wait_for(timeout=120_000)
    editor.wait_for_timeout(500)
    editor.keyboard.press("Enter")
    editor.wait_for_function("window.app.graph.nodes.length === 1", timeout=120_000)
    editor.mouse.click(640, 360)  # where it is put down
    editor.wait_for_timeout(500)
    names = editor.evaluate(
        """() => { const graph = window.app.graph, [host] = graph.nodes;
            const save = window.LiteGraph.createNode("SaveVideo");
            graph.add(save);
            host.connect(0, save, 0);
            host.widgets.find((w) => w.name === "seconds").value = 0.7;
            host.widgets.find((w) => w.name === "steps").value = 1;
            return host.widgets.map((w) => w.label ?? w.name) }"""
    )
    assert {"prompt", "seconds", "steps", "seed", "model"} <= set(names)
    assert editor.evaluate(MISSING) == [], "the files that were chosen are here"
    editor.evaluate(EXTEND)
    editor.wait_for_function("window.app.graph.nodes[0].widgets.some((w) => w.name === 'seconds_1')")
    assert editor.evaluate(MISSING) == []


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.key)
def test_editor_queues_what_the_file_says(editor, object_info, flow):
    document = load(flow.path)
    document["extra"].pop("nava")  # without files chosen for this server
    open_document(editor, document)
    theirs, ours = queued(editor), to_api(document, object_info)
    assert set(theirs) == set(ours)
    for node_id, node in ours.items():
        found = {k: v for k, v in theirs[node_id]["inputs"].items() if k not in ("upload", "audioUI", "video-preview")}
        assert found == node["inputs"], (node_id, node["class_type"])
    app_mode = document["extra"]["linearData"]
    found = editor.evaluate(
        "(inputs) => inputs.map(([id, name]) => window.app.graph.getNodeById(id)?.widgets.some((w) => w.name === name))",
        app_mode["inputs"],
    )
    assert found and all(found), "the inputs that the app mode lays out are there"


SAID_OF_FILES = """[...document.querySelectorAll("body *")].filter((e) => !e.children.length && e.getClientRects().length
  && e.textContent === "Opened with the random tiny set").length"""


@pytest.mark.parametrize("form", ["path", "open_path"])
def test_files_that_are_here_are_chosen_and_said(editor, form):
    editor.complaints.clear()
    for _ in range(2):  # what was said of the first is taken away
        open_document(editor, load(getattr(BY_KEY["nava_two_shots"], form)))
        editor.wait_for_selector("text=Opened with the random tiny set", timeout=30_000)
    editor.wait_for_function(f"{SAID_OF_FILES} === 1", timeout=10_000)
    assert ours(editor.complaints) == [] and "toast" not in str(editor.complaints)
    prompt = queued(editor)
    assert of_kind(prompt, "NavaModelLoader")[0]["model_name"] == "nava_tiny.safetensors"
    assert of_kind(prompt, "LTXVAudioVAELoader")[0]["ckpt_name"] == "nava_tiny_ltx_audio_vae.safetensors"
    size = of_kind(prompt, "NavaEmptyLatent")[0]
    assert (size["width"], size["height"], size["seconds"]) == (320, 192, 1.0)
    assert {n["steps"] for n in of_kind(prompt, "NavaScheduler")} == {4}
    editor.wait_for_function(  # not in the middle, where the editor's map covers what it saves
        """() => { const { ds } = window.app.canvas, left = Math.min(...window.app.graph.nodes.map((n) => n.boundingRect[0]));
            return Math.abs((left + ds.offset[0]) * ds.scale - 76) < 2 }""",
        timeout=30_000,
    )


MISSING = """() => document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s.get("missingModel").missingModelCandidates ?? []"""


EXTEND = """async () => {
  const { extendClip } = await import(window.comfyAPI.api.api.fileURL("/extensions/ComfyUI-NAVA/nava_next.js"));
  const host = window.app.graph.nodes.find((n) => n.isSubgraphNode?.());
  await extendClip(host.subgraph.nodes.find((n) => n.type === "NavaDecode"), "");
}"""


def test_choosing_a_file_that_is_here_clears_its_frame(editor):
    """The shipped names are not here; nodes say so until others are chosen, on the widgets that stand outside."""
    document = load(BY_KEY["nava_text_to_av"].path)
    document["extra"].pop("nava")  # without files chosen for this server
    set_option(editor, "Comfy.VueNodes.Enabled", True)
    try:
        open_document(editor, document)
        editor.wait_for_function(f"({MISSING})().length === 4", timeout=60_000)
        editor.keyboard.press("Escape")  # what a first visit lays over the canvas
        chooser = editor.locator(".lg-node:has(.nava-front)").get_by_role("combobox", name="model", exact=True)
        assert chooser.get_attribute("aria-invalid") == "true", "in red"
        chooser.click()
        editor.get_by_role("option", name=FILES["diffusion_models"]).first.click()
        editor.wait_for_function(f"({MISSING})().length === 3", timeout=60_000)
        assert chooser.get_attribute("aria-invalid") != "true"
        assert of_kind(queued(editor), "NavaModelLoader")[0]["model_name"] == FILES["diffusion_models"]
        saved = editor.evaluate("window.app.graph.serialize()")
        open_document(editor, saved)
        editor.wait_for_timeout(2000)
        assert "NAVA.safetensors" not in [m["name"] for m in editor.evaluate(MISSING)], "nor does it come back"
    finally:
        set_option(editor, "Comfy.VueNodes.Enabled", False)


def test_app_mode_lays_out_what_matters(editor):
    """The user's texts, size, seed and the result, without nodes; also where Vue draws nodes."""
    set_option(editor, "Comfy.VueNodes.Enabled", True)
    try:
        open_document(editor, load(BY_KEY["nava_text_to_av"].path))
        editor.wait_for_timeout(1000)
        editor.evaluate("window.app.extensionManager.command.execute('Comfy.ToggleLinear')")
        editor.wait_for_selector("[data-testid^=linear-]", timeout=60_000)
        editor.keyboard.press("Escape")  # what a first visit lays over it
        editor.wait_for_timeout(2000)
        shot(editor, "app_mode")
        shown = editor.evaluate("document.body.innerText")
        assert {"prompt", "width", "height", "seconds", "steps", "seed"} <= set(shown.splitlines())
        assert "nava_tiny" not in shown, "no model files among them"
    finally:
        editor.evaluate("window.app.extensionManager.command.execute('Comfy.ToggleLinear')")
        set_option(editor, "Comfy.VueNodes.Enabled", False)


def test_what_was_saved_since_is_left_alone(editor):
    open_document(editor, load(BY_KEY["nava_text_to_av"].path))
    saved = editor.evaluate(
        """() => { const n = window.app.graph.nodes.find((n) => n.isSubgraphNode?.());
            n.widgets.find((w) => w.name === "model_name").value = "mine.safetensors";
            n.widgets.find((w) => w.name === "seconds").value = 2;
            return window.app.graph.serialize() }"""
    )
    open_document(editor, saved)
    prompt = queued(editor)
    assert of_kind(prompt, "NavaModelLoader")[0]["model_name"] == "mine.safetensors"
    assert of_kind(prompt, "NavaEmptyLatent")[0]["seconds"] == 2


def test_chinese_editor_shows_chinese(editor):
    # the editor fetches all node names again after a change of language, then opens the current graph once more
    set_option(editor, "Comfy.Locale", "zh")
    try:
        for _ in range(20):
            open_document(editor, load(BY_KEY["nava_dialogue_two_voices"].path))
            editor.wait_for_timeout(1000)
            if editor.evaluate("window.app.graph.nodes.some((n) => n.title === '双人对话')"):
                break
        titles, labels, note = editor.evaluate(
            """() => { const n = window.app.graph.nodes.find((n) => n.isSubgraphNode?.());
                const note = window.app.graph.nodes.find((n) => n.type === "MarkdownNote");
                return [window.app.graph.nodes.map((n) => n.title), n.widgets.map((w) => w.label), note.widgets[0].value] }"""
        )
        assert {"双人对话", "安娜的声音", "说明"} <= set(titles)
        assert {"场景", "台词", "秒数", "种子"} <= set(labels)
        assert "模型文件" in note
        assert "安娜（低声" in of_kind(queued(editor), "NavaDialogue")[0]["script"]
        assert of_kind(queued(editor), "NavaVoice")[0]["name"] == "安娜"
        panels_speak_chinese(editor)
    finally:
        set_option(editor, "Comfy.Locale", "en")


def panels_speak_chinese(editor):
    """The panel of the open workflow, and every sentence that the core has for it; the user's words stay as they are."""
    panel = "document.querySelector('.nava-front')?.innerText ?? ''"
    editor.wait_for_function(f"({panel}).includes('句台词') && ({panel}).includes('音频步')", timeout=60_000)
    text = editor.evaluate(panel)
    assert "个 token 中的" in text and "帧" in text and not re.search("spoken|frames|steps|about", text)
    editor.evaluate(
        """() => { const n = window.app.graph.nodes.find((n) => n.isSubgraphNode?.());
            n.widgets.find((w) => w.label === "台词").value = "no colon" }"""
    )
    editor.wait_for_function(f"({panel}).includes('第 1 行“no colon”：请写成')", timeout=60_000)
    error = run(editor)  # and so does what the editor itself says of a run that failed
    assert error and "第 1 行“no colon”：请写成" in error, error
    editor.get_by_role("button", name="查看详情").click(timeout=60_000)
    editor.wait_for_function("document.body.textContent.split('第 1 行“no colon”：请写成').length > 2", timeout=60_000)
    shot(editor, "error_chinese")
    theirs = editor.evaluate(
        "(said) => import(window.comfyAPI.api.api.fileURL('/extensions/ComfyUI-NAVA/nava_words.js')).then((m) => said.map(m.toldAll))",
        list(SAID),
    )
    assert dict(zip(SAID, theirs, strict=True)) == SAID


def failing(action) -> str:
    with pytest.raises(ValueError) as raised:
        action()
    return str(raised.value)


def bound(text, *voices):
    """The warnings or the fault of a prompt of which one spoken line, the second, is cut off."""
    prompt = prompts.parse(text)
    tokens = prompts.Tokens([], [1, None][: len(prompt.names)], 600)
    return prompts.bind_voices(prompt, tokens, voices).warnings


SAID = {
    prompts.parse("a <S>width").problems[0]: "有一句台词没有用 <E> 结束，位置：“a <S>width”",
    prompts.parse("keep<E>").problems[0]: "<E> 之前没有 <S>，位置：“keep<E>”",
    prompts.parse("<s>a").problems[0]: "“<s>”不是标记：台词写成 <S>话<E>，用大写字母",
    failing(lambda: bound("<S:Eva>a<E>")): "<S:Eva> 所指的音色没有连接（音色：没有连接）",
    failing(lambda: bound("<S:Eva>a<E><S:keep>b<E>", "Anna", "Ben")): (
        "<S:Eva> 所指的音色没有连接；<S:keep> 所指的音色没有连接（音色：Anna, Ben）"
    ),
    failing(lambda: bound("a", "Anna", "anna")): "有两个连接的音色都叫“Anna”：请给它们不同的名字",
    bound("<S>a<E><S>b<E>")[0]: "第 2 句台词超出模型的 512 个 token，会丢失：请缩短提示词",
    bound("<S><E>")[0]: "第 1 句台词是空的：请在 <S> 和 <E> 之间写上话",
    bound("a", "Anna")[0]: "没有台词使用音色 Anna",
    failing(lambda: check_side(100, "height")): "高 是 100，NAVA 需要 32 的倍数：请用 96 或 128",
    doubts(torch.zeros(1, 9000), 9000)[0]: "录音只有 1.0 秒；5 到 15 秒清晰的说话效果最好",
    doubts(torch.zeros(1, 9000), 9000)[1]: "录音是静音",
    "it holds 3 parts, NAVA takes two, picture and sound. Make it with NAVA Size and Length.": (
        "它有 3 个部分，NAVA 只接受两个：画面和声音。请用“NAVA 尺寸与时长”生成。"
    ),
    f"{failing(lambda: check_side(100, 'height'))}.": ("高 是 100，NAVA 需要 32 的倍数：请用 96 或 128。"),
    "the recording is empty. Connect a recording of one person speaking.": ("录音是空的。请连接一个人说话的录音。"),
    "held: picture 0.00-2.00 s (12 of 25); sound 1.00-2.00 s, 3.00-4.00 s (50 of 100)": (
        "保持：画面 0.00-2.00 s（25 中的 12）；声音 1.00-2.00 s, 3.00-4.00 s（100 中的 50）"
    ),
    "frames 1 to 4, 0.04-0.21 s of 1.38 s; of 7 frames, 4 are used: whole groups of four": (
        "第 1 到 4 帧，1.38 秒中的 0.04-0.21 秒；7 帧中用了 4 帧：按四帧一组"
    ),
    "| seed | score | sync | voice |\n|---|---|---|---|\n| 7 ✓ | 0.5 | – | 0.5 |\nstopped after 1 of 4: good enough": (
        "| 种子 | 得分 | 同步 | 音色 |\n|---|---|---|---|\n| 7 ✓ | 0.5 | – | 0.5 |\n做了 4 个中的 1 个后停止：足够好"
    ),
    "score 0.62 · 50% of the lines in the right voice\n1. 0.20 to 1.40 s: Anna 0.61 · should be Anna, and is nearest to it": (
        "得分 0.62 · 50% 的台词音色正确\n1. 0.20 到 1.40 秒：Anna 0.61 · 应为 Anna，也最接近它"
    ),
    "F1 not measured · AV-Align 0.10 · precision 0.20 · recall 0.30\nbest lag 0.12 s (sound late), sharpness 0.50 · correlation 0.40": (
        "F1 未测量 · AV-Align 0.10 · 精确率 0.20 · 召回率 0.30\n最佳延迟 0.12 s（声音偏晚），确定度 0.50 · 相关 0.40"
    ),
    "Left as it is: the lag of 0.030 s is within a frame.": "保持原样：延迟 0.030 秒在一帧之内。",
}
