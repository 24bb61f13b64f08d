"""Subgraphs laid flat, as the real editor lays them flat: compared on templates that the host ships."""

from importlib.resources import files

import pytest
from flatten import WorkflowError
from workflow import load, to_api

TEMPLATES = {
    "video_ltx2_3_t2v": "older form: values within, one subgraph",
    "image_flux2_klein_image_edit_4b_distilled": "newer form: values at the node; nested; a bypassed copy",
    "video_wan_vace_flf2v": "nested, promoted widgets fed by nodes",
    "flux_depth_lora_example": "nested, an image output through two edges",
}


def template(name):
    return load(files("comfyui_workflow_templates_json") / "templates" / f"{name}.json")


@pytest.mark.parametrize("name", TEMPLATES)
def test_as_the_editor_does(editor, object_info, name):
    document = template(name)
    editor.evaluate("(d) => window.app.loadGraphData(d, true, true, null)", document)
    theirs = editor.evaluate("window.app.graphToPrompt().then((p) => p.output)")
    ours = to_api(document, object_info)
    assert any(":" in node_id for node_id in ours), "nodes inside carry their path"
    assert {k: n["class_type"] for k, n in ours.items()} == {k: n["class_type"] for k, n in theirs.items()}
    for node_id, node in ours.items():
        found = {k: v for k, v in theirs[node_id]["inputs"].items() if k not in ("upload", "audioUI")}
        assert found == node["inputs"], (node_id, node["class_type"])


def instance(document):
    ids = {d["id"] for d in document["definitions"]["subgraphs"]}
    return next(n for n in document["nodes"] if n["type"] in ids and n["mode"] == 0)


def test_promoted_value_at_the_node_wins(object_info):
    document = template("image_flux2_klein_image_edit_4b_distilled")
    node = instance(document)
    node["widgets_values"][3] = "Paint it green."
    prompt = to_api(document, object_info)
    texts = [n["inputs"]["text"] for n in prompt.values() if n["class_type"] == "CLIPTextEncode"]
    assert texts == ["Paint it green."]
    node["widgets_values"] = []
    prompt = to_api(document, object_info)
    texts = [n["inputs"]["text"] for n in prompt.values() if n["class_type"] == "CLIPTextEncode"]
    assert texts == ["Change the bag color to blue."], "the inner widget's own value"


def test_muted_subgraph_is_left_out(object_info):
    document = template("video_ltx2_3_t2v")
    instance(document)["mode"] = 2
    prompt = to_api(document, object_info)
    assert [n["class_type"] for n in prompt.values()] == ["SaveVideo"]
    assert "video" not in next(iter(prompt.values()))["inputs"]


def test_subgraph_within_itself_is_told(object_info):
    document = template("video_ltx2_3_t2v")
    definition = document["definitions"]["subgraphs"][0]
    definition["nodes"].append({**instance(document), "id": 9999})
    with pytest.raises(WorkflowError, match="267:9999 lies within itself"):
        to_api(document, object_info)
