"""demo and serve, as they are called."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import av
import pytest
import small_set
from comfy_server import free_port
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


@pytest.fixture
def served(tmp_path):
    """`serve` itself, answering, and its ComfyUI's process id."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "serve.py"), "--port", str(port)],
        env={**os.environ, "NAVA_HOST": str(HOST)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    line = process.stdout.readline()
    assert f"127.0.0.1:{port}" in line, line
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
        comfy = int(children.read().split()[0])
    yield process, comfy, port
    for pid in (comfy, process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for the child")
def test_serve_ends_well(served):
    """Told to stop. What it does when its ComfyUI dies is seen in test_generate.py."""
    process, comfy, port = served
    process.send_signal(signal.SIGTERM)
    assert "Stopped" in process.communicate(timeout=60)[0]
    for _ in range(50):
        try:
            os.kill(comfy, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    else:
        pytest.fail("ComfyUI still runs")
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
