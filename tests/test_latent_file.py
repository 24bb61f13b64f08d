"""Latents kept in files and taken up again."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nava_core.files import CheckpointError
from nava_core.latent_file import StoredLatent, load_latent, save_latent


def clip():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, 48, 3, 4, 6, generator=generator), torch.randn(1, 8, 9, 16, generator=generator)


@pytest.fixture
def nodes(nava):
    return SimpleNamespace(stored=nava("save_latent").stored, restored=nava("load_latent").restored)


def test_a_latent_comes_back_whole(nava, nodes, tmp_path):
    """Both streams, a mask with numbers below 0, the first frame's mark, and what NavaExtend needs: to the bit."""
    from comfy.nested_tensor import NestedTensor

    picture, sound = clip()
    latent = {
        "samples": NestedTensor([picture, sound]),
        "noise_mask": NestedTensor([torch.full((1, 1, 3, 4, 6), -0.7), torch.full((1, 1, 9, 16), 0.25)]),
        "nava_overlap": (2, 5),
        "odd": object(),
    }
    setattr(latent["samples"], nava("masks").KEEPS_FIRST_FRAME, True)
    file, left_out = nodes.stored(latent, [7, 8])
    assert left_out == ["odd"]
    save_latent(file, tmp_path / "a.latent", {"prompt": "{}"})
    back = nodes.restored(load_latent(tmp_path / "a.latent"))
    for key in ("samples", "noise_mask"):
        assert all(torch.equal(a, b) for a, b in zip(back[key].unbind(), latent[key].unbind(), strict=True))
    assert back["nava_overlap"] == (2, 5) and getattr(back["samples"], nava("masks").KEEPS_FIRST_FRAME)
    with safe_open(tmp_path / "a.latent", "pt") as opened:
        assert json.loads(opened.metadata()["nava_latent"])["seeds"] == [7, 8] and opened.metadata()["prompt"] == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["a.latent"], "no part is left"


@pytest.mark.parametrize("streams", ["picture", "sound"])
def test_one_stream_alone(nodes, tmp_path, streams):
    from comfy.nested_tensor import NestedTensor

    picture, sound = clip()
    samples = picture if streams == "picture" else NestedTensor([sound])
    save_latent(nodes.stored({"samples": samples}, [])[0], tmp_path / "a.latent")
    back = nodes.restored(load_latent(tmp_path / "a.latent"))["samples"]
    assert torch.equal(back if streams == "picture" else back.unbind()[0], picture if streams == "picture" else sound)


def test_a_file_of_the_hosts_own_node(nodes, tmp_path):
    picture, _ = clip()
    save_file({"latent_tensor": picture, "latent_format_version_0": torch.tensor([])}, tmp_path / "a.latent")
    assert torch.equal(nodes.restored(load_latent(tmp_path / "a.latent"))["samples"], picture)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"<html>", "is a web page"),
        (b"\x10\0\0\0\0\0\0\0{", "not a complete safetensors file"),
        ({"picture": torch.full((1, 48, 1, 2, 2), float("nan"))}, "its picture is damaged"),
        ({"picture": torch.zeros(1, 48, 0, 2, 2)}, "is no latent of a clip"),
        ({"sound": torch.zeros(3, 3)}, "is no latent of a clip"),
        ({}, "neither picture nor sound"),
        (({"picture": torch.zeros(1, 48, 1, 2, 2)}, {}), "was not written by NAVA Save Latent"),
        (({"picture": torch.zeros(1, 48, 1, 2, 2)}, {"nava_latent": '{"version": 99}'}), "newer version"),
        (({"picture": torch.zeros(1, 48, 1, 2, 2)}, {"nava_latent": "[" * 100000}), "was not written by"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, content, words):
    path = tmp_path / "a.latent"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, tuple):
        save_file(content[0], path, content[1])
    else:
        save_file(content, path, {"nava_latent": '{"version": 1}'})
    with pytest.raises(CheckpointError, match=words):
        load_latent(path)


def test_saved_and_taken_up_by_the_server(server, workflow):
    """A graph that saves its sampled latent, and one that decodes the file: the same clip as without."""
    graph = workflow("nava_text_to_av")
    sampler = next(k for k, n in graph.items() if n["class_type"] == "SamplerCustomAdvanced")
    graph["keep"] = {
        "class_type": "NavaSaveLatent",
        "inputs": {"latent": [sampler, 0], "filename_prefix": "latents/kept"},
    }
    done = server.queue(graph)
    texts = [t for o in done["outputs"].values() for t in o.get("text", [])]
    saved = next(o["latents"][0] for o in done["outputs"].values() if o.get("latents"))
    assert any(saved["filename"] in text and "picture" in text and "sound" in text and "seed" in text for text in texts)
    file = load_latent(server.base / "output" / saved["subfolder"] / saved["filename"])
    assert file.picture.shape[2] > 1 and file.sound.shape[2] > 1 and file.notes["seeds"]
    names = server.get("/object_info/NavaLoadLatent")["NavaLoadLatent"]["input"]["required"]["latent"]
    chosen = f"latents/{saved['filename']} [output]"
    assert chosen in (names[0] if isinstance(names[0], list) else names[1]["options"])
    decode = next(n for n in graph.values() if n["class_type"] == "NavaDecode")
    decode["inputs"]["latent"] = ["load", 0]
    graph["load"] = {"class_type": "NavaLoadLatent", "inputs": {"latent": chosen}}
    del graph["keep"]
    assert server.outputs(server.queue(graph), ".mp4")
    graph["load"]["inputs"]["latent"] = "../../secret.latent [output]"
    with pytest.raises(Exception, match=r"NavaLoadLatent, latent: there is no file"):
        server.queue(graph)


def test_a_full_disk_is_one_sentence(small_disk):
    from nava_core.files import WriteError

    with pytest.raises(WriteError, match="cannot be written"):
        save_latent(StoredLatent(torch.zeros(1, 48, 60, 64, 64), None), small_disk.folder / "a.latent")
    assert not list(small_disk.folder.iterdir())
