"""The nodes that write prompts, on the real server, with a tiny language model in the host's format."""

import pytest
from comfy_server import ServerError

LINE = "<S:Anna>The sea today is just as it was.<E>"
IDEA = f"A woman by the sea smiles and says: {LINE} Waves."


@pytest.fixture(scope="module")
def language_models(base):
    """File names of a tiny random Qwen3-4B and a Qwen3-VL-4B."""
    import language_model

    folder = base / "models" / "text_encoders"
    for name in ("tiny_qwen3.safetensors", "tiny_qwen3_vl.safetensors"):
        language_model.make(folder / name, sees="vl" in name)
    return "tiny_qwen3.safetensors", "tiny_qwen3_vl.safetensors"


def graph(file=None, image=False, **values):
    """NavaRewrite alone, its text shown."""
    inputs = {"prompt": IDEA, "length": "short", "language": "English", "seed": 1, "temperature": 0.3, "max_tokens": 16,
              "thinking": False, "kept": ""} | values  # fmt: skip
    nodes = {"write": {"class_type": "NavaRewrite", "inputs": inputs}}
    if file:
        nodes["model"] = {"class_type": "TinyLanguageModel", "inputs": {"file": file}}
        inputs["clip"] = ["model", 0]
    if image:
        nodes["picture"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
        inputs["image"] = ["picture", 0]
    nodes["show"] = {"class_type": "PreviewAny", "inputs": {"source": ["write", 0]}}
    return nodes


def run(server, nodes):
    """(what NavaRewrite shows, the text that went on, the nodes that ran)."""
    ran = []
    history = server.queue(nodes, lambda kind, data: ran.append(data.get("node")) if kind == "executing" else None)
    return history["outputs"]["write"]["nava_rewrite"][0], history["outputs"]["show"]["text"][0], ran


def test_the_whole_path(server, language_models):
    """Tokenizer, three tries of generation, decoding and mending are real; the words are noise, the spoken line is not."""
    shown, text, _ = run(server, graph(language_models[0], temperature=1.0))
    print(shown)
    assert text == shown["prompt"] and text.count(LINE) == 1 and shown["notes"]
    assert "".join(piece for _, piece in shown["pieces"]) == text
    assert shown["rewritten"] or text == IDEA
    _, text, ran = run(server, graph(language_models[0], kept=f"A kept text. {LINE}", seed=99))
    assert text == f"A kept text. {LINE}" and "model" not in ran, "a kept text loads no language model"


def test_a_picture_is_described(server, language_models):
    shown, text, _ = run(server, graph(language_models[1], image=True, prompt="", temperature=0.0))
    print(shown)
    assert shown["rewritten"] and len(text) > 12 and "Nobody speaks" in text and "<S" not in text


def test_without_a_language_model_the_prompt_goes_on(server):
    shown, text, _ = run(server, graph())
    assert text == IDEA and "no language model" in shown["notes"][0]


def refused(server, nodes, *words):
    with pytest.raises(ServerError) as error:
        server.queue(nodes)
    assert all(word in str(error.value) for word in words), error.value


def test_what_cannot_be_rewritten_is_told(server, language_models, base):
    refused(server, graph(language_models[0], image=True), "NavaRewrite, image", "cannot see", "Qwen3-VL")
    refused(server, graph("absent.safetensors", prompt="<S>open"), "NavaRewrite, prompt", "never closed")
    foreign = graph(language_models[0])
    foreign["model"] = {
        "class_type": "NavaTextEncoderLoader",
        "inputs": {"clip_name": "nava_tiny_umt5.safetensors", "device": "default"},
    }
    refused(server, foreign, "NavaRewrite, clip", "cannot write", "Load CLIP")


# The cast


def cast_graph(**values):
    """A cast of two, one with a voice, whose prompt is encoded."""
    inputs = {
        "characters": "Anna: a woman in a green sweater\nBen: an older man",
        "file": "none",
        "save_as": "",
        "keep_recordings": False,
    }
    voice = {"encoder": ["encoder", 0], "audio": ["sound", 0], "name": ""}
    clip = {"clip_name": "nava_tiny_umt5.safetensors", "device": "default"}
    text = {
        "clip": ["clip", 0],
        "prompt": "Ben waits. He says: <S:Ben>Anna?<E> <S:anna>Here.<E>",
        "negative": "",
        "cast": ["cast", 0],
    }
    return {
        "encoder": {"class_type": "NavaVoiceEncoderLoader", "inputs": {"encoder_name": "nava_tiny_redimnet.pt"}},
        "sound": {"class_type": "LoadAudio", "inputs": {"audio": "anna.wav"}},
        "voice": {"class_type": "NavaVoice", "inputs": voice},
        "cast": {"class_type": "NavaCast", "inputs": inputs | {"voices.voice_0": ["voice", 0]} | values},
        "clip": {
            "class_type": "NavaTextEncoderLoader",
            "inputs": {"clip_name": clip["clip_name"], "device": "default"},
        },
        "text": {"class_type": "NavaTextEncode", "inputs": text},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["text", 0]}},
    }


def test_a_cast_is_saved_loaded_and_speaks(server, base):
    folder = base / "user" / "nava_casts"
    shown = server.queue(cast_graph(save_as="friends"))["outputs"]["cast"]["nava_cast"][0]
    assert [(c["name"], c["voice"], c["source"]) for c in shown["characters"]] == [
        ("Anna", True, 0),
        ("Ben", False, None),
    ]
    assert shown["saved"] == "friends.safetensors" and (folder / shown["saved"]).stat().st_size < 4096
    changed = server.queue(cast_graph(save_as="friends", characters="Anna: in red\nBen"))["outputs"]["cast"][
        "nava_cast"
    ][0]
    assert changed["saved"] == "friends_2.safetensors", "nothing is overwritten"
    loaded = cast_graph(file="friends.safetensors", characters="Eve: tall")
    del loaded["cast"]["inputs"]["voices.voice_0"]
    shown = server.queue(loaded)["outputs"]["cast"]["nava_cast"][0]
    assert [(c["name"], c["look"]) for c in shown["characters"]] == [
        ("Anna", "a woman in a green sweater"),
        ("Ben", "an older man"),
        ("Eve", "tall"),
    ]
    assert [c["voice"] for c in shown["characters"]] == [True, False, False]
    for file in ("../../comfyui.db", "absent.safetensors"):
        refused(server, cast_graph(file=file), "NavaCast, file")
    refused(server, cast_graph(save_as="../out"), "NavaCast, save_as")
    (folder / "stranger.safetensors").write_bytes(b"<html>")
    refused(server, cast_graph(file="stranger.safetensors"), "NavaCast, file", "web page")


def test_voices_of_a_cast_reach_the_conditioning(nava, base):
    """The row of each line holds its speaker's numbers; a character without a voice has none in particular."""
    import folder_paths
    import torch
    from tiny import FILES

    from nava_core.cast import Cast, Character
    from nava_core.voice import Voice

    folder_paths.add_model_folder_path("text_encoders", str(base / "models" / "text_encoders"), is_default=True)
    clip = nava("load").NavaTextEncoderLoader.execute(FILES["text_encoders"], "default")[0]
    cast = Cast((Character("Anna", voice=Voice("Anna", torch.arange(192.0))), Character("Ben")))
    other = Voice("", torch.ones(192))
    prompt = "<S:Ben>a<E><S>b<E><S:anna>c<E>"
    extra = nava("text").NavaTextEncode.execute(clip, prompt, "", {"voice_0": other}, cast)[0][0][1]
    assert torch.equal(extra["nava_voices"], torch.stack([torch.zeros(192), torch.ones(192), torch.arange(192.0)]))
    assert len(extra["nava_voice_positions"]) == 3
    connected = Voice("ANNA", torch.ones(192))
    extra = nava("text").NavaTextEncode.execute(clip, "<S:anna>c<E>", "", {"voice_0": connected}, cast)[0][0][1]
    assert torch.equal(extra["nava_voices"], torch.ones(1, 192)), "a connected voice goes before the cast"
