"""Every example workflow, from its editor file, on the real server; their outputs are opened."""

import re
import threading
import time

import av
import numpy as np
import pytest
import small_set
import tiny
from comfy_server import ServerError
from PIL import Image
from shipped import ALL
from small_set import RANDOM
from support import DATA
from workflow import load, nodes_of, set_inputs, to_api

VIDEO = (
    "nava_text_to_av",
    "nava_image_to_av",
    "nava_dialogue_two_voices",
    "nava_idea_to_clip",
    "nava_cast_scene",
    "nava_two_shots",
)
SILENT = ("nava_silent_video",)
SOUND = ("nava_text_to_speech", "nava_sound_effects")


def opened(path):
    """(frames [T, H, W, 3], sound [C, N], streams by type, container) of a media file, all packets decoded."""
    frames, sound, streams = [], [], {}
    with av.open(str(path)) as media:
        for stream in media.streams:
            streams[stream.type] = {
                "codec": stream.codec.name,
                "rate": float(stream.average_rate) if stream.type == "video" else stream.rate,
                "layout": getattr(getattr(stream, "layout", None), "name", None),
            }
        for frame in media.decode():
            if isinstance(frame, av.VideoFrame):
                frames.append(frame.to_ndarray(format="rgb24"))
            else:
                samples = frame.to_ndarray()
                sound.append(samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T)
    return np.array(frames), np.concatenate(sound, axis=-1) if sound else None, streams


def only(files):
    assert len(files) == 1, files
    return files[0]


@pytest.mark.parametrize("name", VIDEO)
def test_picture_and_sound(server, workflow, name):
    prompt = workflow(name)
    frames, sound, streams = opened(only(server.outputs(server.queue(prompt), ".mp4")))
    expected = 25 * 2 - 1 if name == "nava_two_shots" else 25
    assert frames.shape == (expected, 192, 320, 3)
    assert streams["video"]["codec"] == "h264" and streams["video"]["rate"] == 24
    assert streams["audio"] == {"codec": "aac", "rate": 48000, "layout": "stereo"}
    lengths = len(frames) / 24, sound.shape[-1] / 48000
    print(f"{name}: picture {lengths[0]:.3f} s, sound {lengths[1]:.3f} s")
    assert abs(lengths[0] - lengths[1]) < 1 / 24
    assert frames.std() > 1 and np.isfinite(sound).all() and sound.std() > 0


def test_older_workflow_runs(server, object_info):
    """A file from before inputs were added still makes its clip."""
    document = load(DATA / "workflow_0_1.json")
    RANDOM.apply(document, object_info)
    prompt = to_api(document, object_info)
    frames, sound, _ = opened(only(server.outputs(server.queue(prompt), ".mp4")))
    assert len(frames) == 25 and sound is not None


@pytest.mark.parametrize("name", SILENT)
def test_silent_video(server, workflow, name):
    frames, sound, streams = opened(only(server.outputs(server.queue(workflow(name)), ".mp4")))
    assert frames.shape == (25, 192, 320, 3) and sound is None and list(streams) == ["video"]


def test_one_stream_in_a_graph_for_both(server, workflow):
    """Mode video saves a silent clip; mode audio, whose sound only a video would take, is refused before sampling."""
    prompt = workflow("nava_text_to_av")
    set_inputs(prompt, "NavaEmptyLatent", mode="video")
    frames, sound, streams = opened(only(server.outputs(server.queue(prompt), ".mp4")))
    assert len(frames) == 25 and sound is None and list(streams) == ["video"]
    set_inputs(prompt, "NavaEmptyLatent", mode="audio")
    steps = []
    with pytest.raises(ServerError, match=r"mode is audio.*Save Audio"):
        server.queue(prompt, lambda kind, _: steps.append(kind))
    assert "progress" not in steps


@pytest.mark.parametrize("name", SOUND)
def test_sound_alone(server, workflow, name):
    _, sound, streams = opened(only(server.outputs(server.queue(workflow(name)), ".flac")))
    assert streams == {"audio": {"codec": "flac", "rate": 48000, "layout": "stereo"}}
    assert abs(sound.shape[-1] / 48000 - 25 / 24) < 1 / 24


def test_first_picture_is_the_first_frame(server, workflow):
    """The clip begins with the picture as the VAE gives it back, whatever the seed."""
    starts = []
    for seed in (1, 2):
        prompt = workflow("nava_image_to_av")
        set_inputs(prompt, "RandomNoise", noise_seed=seed)
        frames, _, _ = opened(only(server.outputs(server.queue(prompt), ".mp4")))
        starts.append(frames.astype(float))
    first, rest = np.abs(starts[0][0] - starts[1][0]).mean(), np.abs(starts[0][8:] - starts[1][8:]).mean()
    print(f"two seeds differ by {first:.2f} in the first frame and by {rest:.2f} after it")
    assert first < 4 and rest > 2 * first


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("nava_sound_to_picture", (25, 96, 160, 3)),
        ("nava_first_last_frame", (25, 96, 160, 3)),
        ("nava_extend", (49, 96, 160, 3)),  # all 25 frames are repeated, 24 are new
        ("nava_upscale", (25, 192, 320, 3)),
    ],
)
def test_longer_and_controlled(server, workflow, name, shape):
    prompt = workflow(name)
    set_inputs(prompt, "NavaEmptyLatent", width=160, height=96)
    frames, sound, _ = opened(only(server.outputs(server.queue(prompt), ".mp4")))
    assert frames.shape == shape and frames.std() > 1
    assert abs(len(frames) / 24 - sound.shape[-1] / 48000) < 1 / 24 and sound.std() > 0


def test_storyboard(server, workflow):
    """With its cast; a look that is changed makes the shots anew that mention the character, and no others."""
    prompt = workflow("nava_storyboard")
    set_inputs(prompt, "NavaEmptyLatent", width=160, height=96)
    set_inputs(
        prompt, "NavaStoryboard", shots="--- 0.7 s\na\n--- 0.5 s, continue\nb\n--- 0.4 s\n<S:Anna>c<E>", overlap=0.3
    )
    frames, sound, streams = opened(only(server.outputs(server.queue(prompt), ".mp4")))
    assert frames.shape == (17 + 12 + 9, 96, 160, 3) and frames.std() > 1 and sound.std() > 0
    assert streams["video"]["rate"] == 24 and abs(len(frames) / 24 - sound.shape[-1] / 48000) < 0.05
    assert not list(server.base.rglob("*.part"))
    set_inputs(prompt, "NavaCast", characters="Anna: an old woman")
    server.queue(prompt)
    made = sorted(f.name[:8] for f in (server.base / "output" / "nava_shots" / "storyboard").iterdir())
    assert made == ["shot_001", "shot_002", "shot_003", "shot_003"]


def test_foley_keeps_the_picture(server, workflow):
    """Two seeds: the same frames, and other sounds."""
    clips = []
    for seed in (1, 2):
        prompt = workflow("nava_foley")
        set_inputs(prompt, "RandomNoise", noise_seed=seed)
        frames, sound, _ = opened(only(server.outputs(server.queue(prompt), ".mp4")))
        assert frames.shape == (33, 160, 256, 3)
        clips.append((frames.astype(float), sound))
    (a, sound_a), (b, sound_b) = clips
    assert np.abs(a - b).mean() < 4 and np.abs(sound_a - sound_b).max() > 1e-3


def test_seeds(server, workflow):
    """The same seed gives the same frames and samples, another seed others.

    Compared as they reach the encoder: PyAV's x264 does not give the same bytes for the same frames in every process.
    """
    contents, clips = [], []
    for run, seed in enumerate((1, 1, 2)):
        prompt = workflow("nava_text_to_av")
        set_inputs(prompt, "NavaEmptyLatent", width=160, height=96)
        set_inputs(prompt, "RandomNoise", noise_seed=seed)
        set_inputs(prompt, "SaveVideo", filename_prefix=f"video/seed{run}")
        decode = next(i for i, n in prompt.items() if n["class_type"] == "NavaDecode")
        prompt["frames"] = {
            "class_type": "SaveImage",
            "inputs": {"images": [decode, 0], "filename_prefix": f"seed{run}"},
        }
        prompt["sound"] = {"class_type": "SaveAudio", "inputs": {"audio": [decode, 1], "filename_prefix": f"seed{run}"}}
        server.post("/free", {"free_memory": True})  # nothing may be left over from the run before
        history = server.queue(prompt)
        frames = [np.asarray(Image.open(p)) for p in server.outputs(history, ".png")]
        contents.append((np.array(frames), opened(only(server.outputs(history, ".flac")))[1]))
        clips.append(opened(only(server.outputs(history, ".mp4")))[0].astype(float))
    for a, b, c in zip(*contents, strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    same, other = np.abs(clips[0] - clips[1]).mean(), np.abs(clips[0] - clips[2]).mean()
    print(f"encoded clips differ by {same:.2f} with the same seed, by {other:.2f} with another")
    assert same < 4 < other


def test_progress_and_previews_arrive_and_models_are_reused(server, workflow):
    events = []
    prompt = workflow("nava_text_to_av")
    set_inputs(prompt, "RandomNoise", noise_seed=77)
    server.queue(prompt, lambda kind, data: events.append((kind, data)))
    values = {}
    for kind, data in events:
        if kind == "progress":
            values.setdefault(prompt[data["node"]]["class_type"], []).append(data["value"])
    assert values["SamplerCustomAdvanced"] == [1, 2, 3, 4]
    assert values["NavaDecode"][-1] == 7, "decoding reports its latent frames"
    assert sum(k == "preview" for k, _ in events) >= 4
    events.clear()
    set_inputs(prompt, "RandomNoise", noise_seed=78)
    server.queue(prompt, lambda kind, data: events.append((kind, data)))
    ran = {d["node"] for k, d in events if k == "executing" and d.get("node")}
    loaders = {i for i, n in prompt.items() if "Loader" in n["class_type"]}
    assert loaders and not loaders & ran, "the second prompt loads nothing"


def test_interrupting(server, workflow):
    """Sampling ends within a step of being interrupted, and the next prompt runs."""
    prompt = workflow("nava_text_to_av")
    set_inputs(prompt, "NavaScheduler", steps=400)
    set_inputs(prompt, "RandomNoise", noise_seed=5)
    steps = []

    def watch(kind, data):
        if kind == "progress":
            steps.append((data["value"], time.monotonic()))
            if data["value"] == 3:
                threading.Thread(target=server.post, args=("/interrupt", {})).start()

    history = server.queue(prompt, watch)
    assert history["status"]["status_str"] == "error" and not history["outputs"]
    assert any(m[0] == "execution_interrupted" for m in history["status"]["messages"])
    assert steps[-1][0] <= 6, "a step or two may pass while the request is under way"
    assert server.queue(workflow("nava_sound_effects"))["status"]["completed"]


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("NavaEmptyLatent", {"width": 333}, ["NavaEmptyLatent, width", "320 or 352"]),
        ("NavaEmptyLatent", {"seconds": 99.0}, ["seconds", "max"]),
        ("NavaEmptyLatent", {"seconds": 0.0}, ["seconds", "min"]),
        ("NavaTextEncode", {"prompt": ""}, ["NavaTextEncode, prompt", "empty"]),
        ("NavaTextEncode", {"prompt": "<S>oh"}, ["NavaTextEncode, prompt", "never closed"]),
        ("NavaScheduler", {"steps": 0}, ["steps"]),
    ],
)
def test_bad_input_is_told_before_sampling(server, workflow, kind, values, words):
    prompt = workflow("nava_text_to_av")
    set_inputs(prompt, kind, **values)
    refused(server, prompt, words)


def refused(server, prompt, words):
    events = []
    with pytest.raises(ServerError) as error:
        server.queue(prompt, lambda kind, data: events.append(kind))
    print(error.value)
    assert all(word in str(error.value) for word in words)
    assert "progress" not in events, "sampling had begun"


def test_swapped_vaes_are_told_before_sampling(server, workflow):
    prompt = workflow("nava_text_to_av")
    set_inputs(prompt, "RandomNoise", noise_seed=99)
    for inputs in nodes_of(prompt, "NavaDecode"):
        inputs["video_vae"], inputs["audio_vae"] = inputs["audio_vae"], inputs["video_vae"]
    refused(server, prompt, ["NavaDecode, video_vae", "swapped"])


@pytest.mark.parametrize(
    ("kind", "name", "folder"),
    [
        ("NavaModelLoader", "model_name", "diffusion_models"),
        ("NavaTextEncoderLoader", "clip_name", "text_encoders"),
        ("NavaVideoVAELoader", "vae_name", "vae"),
        ("NavaVoiceEncoderLoader", "encoder_name", "audio_encoders"),
    ],
)
def test_missing_files_say_where_to_get_them(server, workflow, kind, name, folder):
    prompt = workflow("nava_dialogue_two_voices")
    set_inputs(prompt, kind, **{name: "absent.safetensors"})
    refused(server, prompt, [f"{kind}, {name}", f"models/{folder}", "Get it from https://"])


def test_foreign_files_in_the_loaders(server, workflow, base):
    """A file of the wrong kind under a loader's folder, as it happens."""
    models = base / "models"
    (models / "diffusion_models" / "wrong.safetensors").hardlink_to(next((models / "text_encoders").iterdir()))
    prompt = workflow("nava_text_to_av")
    set_inputs(prompt, "NavaModelLoader", model_name="wrong.safetensors")
    refused(server, prompt, ["NavaModelLoader, model_name", "wrong.safetensors", "a T5 text encoder"])
    for kind, name, folder in (
        ("NavaTextEncoderLoader", "clip_name", "text_encoders"),
        ("NavaVideoVAELoader", "vae_name", "vae"),
        ("NavaVoiceEncoderLoader", "encoder_name", "audio_encoders"),
    ):
        (models / folder / "wrong.safetensors").hardlink_to(
            models / "diffusion_models" / tiny.FILES["diffusion_models"]
        )
        prompt = workflow("nava_dialogue_two_voices")
        set_inputs(prompt, kind, **{name: "wrong.safetensors"})
        refused(server, prompt, [f"{kind}, {name}", "wrong.safetensors"])


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.key)
def test_both_forms_of_a_file_make_the_same(object_info, flow):
    """The shipped subgraph runs what the open graph runs, node for node."""

    def inner(node_id):
        return node_id.rsplit(":", 1)[-1]

    shipped, opened_up = (to_api(load(path), object_info) for path in (flow.path, flow.open_path))
    flat = {
        inner(node_id): {
            k: [inner(v[0]), v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()
        }
        for node_id, node in shipped.items()
    }  # fmt: skip
    assert flat == {node_id: node["inputs"] for node_id, node in opened_up.items()}
    assert sum(":" in node_id for node_id in shipped) >= len(shipped) - 3, "the loose ones are media in and out"


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.key)
def test_shipped_files_fit_a_small_screen(flow):
    """As it opens within 1280×720, side bar, tabs and Graph button left free; nothing lies over anything; note ids and node ids are one."""
    document = load(flow.path)
    boxes = []
    for node in document["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        boxes.append((x, y - 30, x + width, y + (0 if node["flags"].get("collapsed") else height)))
    (left, top), scale = document["extra"]["ds"]["offset"], document["extra"]["ds"]["scale"]
    assert scale * (min(b[0] for b in boxes) + left) >= 60 and scale * (min(b[1] for b in boxes) + top) >= 88
    assert scale * (max(b[2] for b in boxes) + left) <= 1280 and scale * (max(b[3] for b in boxes) + top) <= 720
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3], (a, b)
    ids = [n["id"] for n in document["nodes"]] + [
        n["id"] for d in document["definitions"]["subgraphs"] for n in d["nodes"]
    ]
    assert len(ids) == len(set(ids)), "the editor renumbers what is not unique over all graphs"


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.key)
def test_notes_list_the_files_that_are_needed(object_info, flow):
    """No more and no fewer; the other language's prompt lies beside."""
    document = load(flow.path)
    about, other = [n for n in document["nodes"] if n["type"] == "MarkdownNote"]
    prompt = to_api(document, object_info)
    needed = {
        n["inputs"][small_set.LOADERS[n["class_type"]][0]]
        for n in prompt.values()
        if n["class_type"] in small_set.LOADERS
    }
    for text in (about["widgets_values"][0], about["properties"]["nava_zh"]["values"][""]):
        listed = set(re.findall(r"^- 📂 \w+: \[([^\]]+)\]\(https://", text, re.MULTILINE))
        assert listed == needed
    assert re.search(r"[\u4e00-\u9fff]{6}", other["widgets_values"][0])
    assert not re.search(r"[\u4e00-\u9fff]", other["properties"]["nava_zh"]["values"][""])


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.key)
def test_files_name_their_sockets_and_models(object_info, flow):
    """Every socket of a workflow file carries its input's name, and every released file its source and folder."""
    document = load(flow.path)
    for node in [*document["nodes"], *document["definitions"]["subgraphs"][0]["nodes"]]:
        if node["type"] not in object_info:
            continue
        info = object_info[node["type"]]
        known = {*info["input"].get("required", {}), *info["input"].get("optional", {})}
        assert {s["name"].split(".")[0] for s in node["inputs"]} == known
        if node["type"] in ("NavaModelLoader", "NavaTextEncoderLoader", "NavaVideoVAELoader", "LTXVAudioVAELoader"):
            entry = only(node["properties"]["models"])
            assert entry["name"] == node["widgets_values"][0]
            assert entry["url"].endswith(entry["name"]) and entry["directory"]


def test_best_of_many_seeds(server, workflow):
    """The best clips are saved, the best first; the table has all seeds, and a seed of it is the clip of plain sampling."""
    prompt = workflow("nava_best_of")
    set_inputs(prompt, "NavaEmptyLatent", width=160, height=96)
    set_inputs(prompt, "NavaBestOf", candidates=3, keep=2, noise_seed=4)
    history = server.queue(prompt)
    files = server.outputs(history, ".mp4")
    assert len(files) == 2
    clips = [opened(file) for file in files]
    for frames, sound, _ in clips:
        assert frames.shape == (25, 96, 160, 3) and abs(len(frames) / 24 - sound.shape[-1] / 48000) < 1 / 24
    assert np.abs(clips[0][0].astype(float) - clips[1][0]).mean() > 1, "two clips"
    shown = next(i for i, n in prompt.items() if n["class_type"] == "PreviewAny")
    (table,) = history["outputs"][shown]["text"]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    assert sorted(int(row[0].split()[0]) for row in rows) == [4, 5, 6]
    assert ["✓" in row[0] for row in rows] == [True, True, False]
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
