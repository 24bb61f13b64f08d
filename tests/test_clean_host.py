"""A ComfyUI that has installed nothing but its own requirements: no torchaudio, ftfy, gguf, peft, sageattention … for us."""

import json
import os
import subprocess
import sys

import pytest
from comfy_server import Server
from support import HOST, ROOT
from test_workflows import only, opened
from workflow import set_inputs

VARIABLES = {"PYTHONPATH": str(ROOT / "tests" / "clean_host"), "NAVA_ONLY_PROMISED": str(ROOT)}


@pytest.fixture(scope="module")
def clean(base):
    with Server(HOST, base, variables=VARIABLES) as running:
        yield running


def test_the_packages_are_really_hidden(tmp_path):
    """The control: the same line fails in a file of the pack, and not in one beside it."""
    for folder, hidden in ((ROOT / "nodes", True), (tmp_path, False)):
        code = f"exec(compile('import ftfy', 'x', 'exec'), {{'__file__': {str(folder / 'x.py')!r}}})"
        run = subprocess.run([sys.executable, "-c", code], env=os.environ | VARIABLES, capture_output=True, text=True)
        assert ("hidden: no clean ComfyUI" in run.stderr) == hidden, run.stderr


def test_every_node_is_there(clean):
    wanted = set(json.loads((ROOT / "node_list.json").read_text(encoding="utf-8")))
    assert wanted <= clean.get("/object_info").keys(), clean.log_tail()


def test_a_voice_is_heard(clean, workflow):
    """Its sound encoded, its words cleaned without ftfy, which the log says."""
    _, sound, _ = opened(only(clean.outputs(clean.queue(workflow("nava_text_to_speech")), ".flac")))
    assert sound.std() > 0
    assert "ftfy is not installed" in clean.log.read_text(encoding="utf-8")


def test_a_clip_is_measured(clean, workflow):
    prompt = workflow("nava_best_of")
    history = clean.queue(prompt)
    frames, sound, _ = opened(only(clean.outputs(history, ".mp4")))
    assert len(frames) and sound is not None


def test_what_needs_a_package_names_it(clean, workflow):
    prompt = workflow("nava_text_to_av")
    loader = next(n for n, node in prompt.items() if node["class_type"] == "NavaModelLoader")
    prompt["attention"] = {
        "class_type": "NavaAttention", "inputs": {"model": [loader, 0], "kernel": "sage"},
    }  # fmt: skip
    set_inputs(prompt, "NavaGuider", model=["attention", 0])
    with pytest.raises(Exception, match="pip install sageattention"):
        clean.queue(prompt)


def test_a_name_that_the_host_has_no_more(base):
    """One sentence with the host's version, and every node that does not need it."""
    gone = VARIABLES | {"NAVA_GONE_NAME": "comfy.ldm.wan.vae2_2:unpatchify"}  # the decoder of pictures asks for it
    with Server(HOST, base, variables=gone) as server:
        there, log = server.get("/object_info").keys(), server.log.read_text(encoding="utf-8")
    wanted = set(json.loads((ROOT / "node_list.json").read_text(encoding="utf-8")))
    lost = wanted - there
    assert "NavaDecode" in lost and "NavaGuider" in there and len(lost) < 6, lost
    said = [line for line in log.splitlines() if "ComfyUI-NAVA:" in line and "left out" in line]
    assert len(said) == 1 and all(name in said[0] for name in (*lost, "unpatchify", host_version())), said
    assert "Traceback" not in log


def host_version():
    text = (HOST / "comfyui_version.py").read_text(encoding="utf-8")
    return text.split('"')[1]
