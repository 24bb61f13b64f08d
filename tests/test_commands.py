"""What demo finds and says, and the small sets that the commands run on."""

import json
import runpy

import av
import pytest
import small_set
from demo import find
from shipped import BY_KEY
from support import HOST, ROOT
from workflow import load, set_widgets, to_api


def test_workflows_are_found_by_name_and_path(tmp_path, monkeypatch):
    flow = BY_KEY["nava_text_to_av"]
    expected = flow.path
    for name in (flow.key, f"{flow.key}.json", flow.file, f"{flow.file}.json", str(expected)):
        assert find(name) == expected, name
    assert find("nava_nothing") is None and find(str(tmp_path)) is None
    (tmp_path / "mine.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert find("mine.json").samefile(tmp_path / "mine.json")


def test_saved_clip_carries_the_graph_that_ran(server, object_info):
    document = load(BY_KEY["nava_silent_video"].path)
    small_set.RANDOM.apply(document, object_info)
    set_widgets(document, object_info, "NavaEmptyLatent", [{"seconds": 0.05}])
    set_widgets(document, object_info, "NavaScheduler", [{"steps": 1}])
    history = server.queue(to_api(document, object_info), workflow=document)
    with av.open(str(server.outputs(history, ".mp4")[0])) as media:
        kept = {k: json.loads(v) for k, v in media.metadata.items() if k in ("prompt", "workflow")}
    again = to_api(kept["workflow"], object_info)
    assert {k: n["inputs"] for k, n in again.items()} == {k: n["inputs"] for k, n in kept["prompt"].items()}
    loader = next(n["inputs"] for n in kept["prompt"].values() if n["class_type"] == "NavaModelLoader")
    assert loader["model_name"] == "nava_tiny.safetensors"


@pytest.mark.parametrize("name", small_set.MINI.scenes)
def test_mini_knows_a_text_for_every_workflow(object_info, name):
    document = load(BY_KEY[name].path)
    small_set.MINI.apply(document, object_info)
    prompt = to_api(document, object_info)
    scene = small_set.MINI.scenes[name]
    for kind, turns in scene.inputs.items():
        found = [n["inputs"] for n in prompt.values() if n["class_type"] == kind]
        assert [{k: f[k] for k in t} for f, t in zip(found, turns, strict=True)] == turns
    files = {v for n in prompt.values() for v in n["inputs"].values() if isinstance(v, str)}
    kinds = {n["class_type"] for n in prompt.values()} & set(small_set.LOADERS)
    assert {small_set.MINI.files[small_set.LOADERS[k][1]] for k in kinds} <= files
    if name == "nava_foley":  # as large and as long as its video
        put = next(n["inputs"] for n in prompt.values() if n["class_type"] == "NavaPictureToLatent")
        assert put["size"] == "as the picture"
        return
    latent = next(n["inputs"] for n in prompt.values() if n["class_type"] == "NavaEmptyLatent")
    assert (latent["width"], latent["height"], latent["seconds"]) == (256, 160, 1.375)


def test_the_trained_set_is_taken_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(small_set, "MINI_FOLDER", tmp_path)
    assert small_set.chosen() is small_set.RANDOM
    for name in small_set.MINI.files.values():
        (tmp_path / name).write_bytes(name.encode())
    assert small_set.chosen() is small_set.MINI
    small_set.MINI.make(HOST, tmp_path / "models")
    for folder, name in small_set.MINI.files.items():
        assert (tmp_path / "models" / folder / name).read_bytes() == name.encode()
    # trained further: other numbers in files of the same size
    for name in small_set.MINI.files.values():
        (tmp_path / name).write_bytes(name.upper().encode())
    small_set.MINI.make(HOST, tmp_path / "models")
    for folder, name in small_set.MINI.files.items():
        assert (tmp_path / "models" / folder / name).read_bytes() == name.upper().encode()


@pytest.mark.parametrize(
    ("words", "two"),
    [
        ("", True), ("-x -v --durations=9", True), ("-rs --color=yes", True), ("-k name", False), ("-sv", False), ("-n 4", False),
        ("--pdb", False), ("--lf", False), ("tests/test_commands.py", False), ("tests/test_commands.py::test_x -v", False),
    ],
)  # fmt: skip
def test_the_whole_suite_is_shared_by_two_workers(monkeypatch, words, two):
    monkeypatch.chdir(ROOT)
    assert runpy.run_path(str(ROOT / "run.py"))["whole_suite"](words.split()) is two
