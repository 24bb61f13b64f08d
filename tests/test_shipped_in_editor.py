"""The shipped workflows in the real editor: they queue what we queue, with files that are here, in its language."""

import pytest
from shipped import ALL, BY_KEY
from workflow import load, to_api


def open_in(editor, document):
    editor.evaluate("(d) => window.app.loadGraphData(d, true, true, null, { openSource: 'template' })", document)


def queued(editor):
    return editor.evaluate("window.app.graphToPrompt().then((p) => p.output)")


def of_kind(prompt, kind):
    return [n["inputs"] for n in prompt.values() if n["class_type"] == kind]


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.key)
def test_editor_queues_what_the_file_says(editor, object_info, flow):
    document = load(flow.path)
    document["extra"].pop("nava")  # without files chosen for this server
    open_in(editor, document)
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


@pytest.mark.parametrize("form", ["path", "open_path"])
def test_files_that_are_here_are_chosen_and_said(editor, form):
    open_in(editor, load(getattr(BY_KEY["nava_two_shots"], form)))
    prompt = queued(editor)
    assert of_kind(prompt, "NavaModelLoader")[0]["model_name"] == "nava_tiny.safetensors"
    assert of_kind(prompt, "LTXVAudioVAELoader")[0]["ckpt_name"] == "nava_tiny_ltx_audio_vae.safetensors"
    size = of_kind(prompt, "NavaEmptyLatent")[0]
    assert (size["width"], size["height"], size["seconds"]) == (320, 192, 1.0)
    assert {n["steps"] for n in of_kind(prompt, "NavaScheduler")} == {4}
    editor.wait_for_selector("text=Opened with the random tiny set", timeout=30_000)


def test_what_was_saved_since_is_left_alone(editor):
    open_in(editor, load(BY_KEY["nava_text_to_av"].path))
    saved = editor.evaluate(
        """() => { const n = window.app.graph.nodes.find((n) => n.isSubgraphNode?.());
            n.widgets.find((w) => w.name === "model_name").value = "mine.safetensors";
            n.widgets.find((w) => w.name === "seconds").value = 2;
            return window.app.graph.serialize() }"""
    )
    open_in(editor, saved)
    prompt = queued(editor)
    assert of_kind(prompt, "NavaModelLoader")[0]["model_name"] == "mine.safetensors"
    assert of_kind(prompt, "NavaEmptyLatent")[0]["seconds"] == 2


def test_chinese_editor_shows_chinese(editor):
    # the editor fetches all node names again after a change of language, then opens the current graph once more
    editor.evaluate("window.app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    try:
        for _ in range(20):
            open_in(editor, load(BY_KEY["nava_dialogue_two_voices"].path))
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
    finally:
        editor.evaluate("window.app.extensionManager.setting.set('Comfy.Locale', 'en')")
