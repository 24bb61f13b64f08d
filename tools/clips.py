"""Rows of a prompt list -> graphs for the server, and finished media files -> tensors."""

import copy
import glob
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import torch
from environment import ROOT
from prompt_sets import Row
from workflow import WorkflowError, nodes_of

sys.path.insert(0, str(ROOT))
from nava_core.checkpoint import CheckpointError
from nava_core.convert import convert
from nava_core.media_file import read_all

sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's

MODEL_ENDINGS = (".safetensors", ".pt", ".pt2", ".pth", ".ckpt", ".sft", ".bin", ".pkl", ".gguf")
SAVED = (".mp4", ".flac", ".webm", ".wav")
EDGE = 1 << 20


def lend(file: Path, folder: Path) -> str:
    """Copy a recording or picture into the server's input folder, under a name that says its content."""
    content = file.read_bytes()
    name = f"evaluate_{hashlib.sha256(content).hexdigest()[:16]}{file.suffix.lower()}"
    if not (folder / name).exists():
        part = folder / f"{name}.part"
        part.write_bytes(content)
        part.replace(folder / name)
    return name


def choices(object_info: dict, kind: str, name: str) -> list:
    spec = object_info[kind]["input"]["required"][name]
    return spec[0] if isinstance(spec[0], list) else spec[1].get("options", [])


def change(prompt: dict, setting: str) -> None:
    """Apply `Node.input=value` (value as JSON, else as text) to every node of that kind, or the one of that id or title."""
    place, equals, text = setting.partition("=")
    which, dot, name = place.partition(".")
    if not (equals and dot and name):
        raise WorkflowError(f"set {setting}: write Node.input=value, as in NavaGuider.video_align=0")
    found = nodes_of(prompt, which) or [n["inputs"] for k, n in prompt.items() if which in (k, n["_meta"]["title"])]
    if not found:
        raise WorkflowError(f"set {setting}: the workflow has no node {which}")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    for inputs in found:
        if name not in inputs:
            raise WorkflowError(f"set {setting}: {which} has no input {name}; it has {', '.join(sorted(inputs))}")
        # 1 and 1.0 make the same clip
        inputs[name] = float(value) if isinstance(inputs[name], float) and type(value) is int else value


def load_as(prompt: dict, dtype: str, folders: list[Path]) -> None:
    """Let the graph load its NAVA file as `run.py convert` writes it; folders: models folders, the copy goes into the first."""
    for inputs in nodes_of(prompt, "NavaModelLoader"):
        name = inputs["model_name"]
        source = next((f for folder in folders if (f := folder / "diffusion_models" / name).is_file()), None)
        if source is None:
            raise WorkflowError(f"{name} is not in diffusion_models, so it cannot be converted to {dtype}")
        target = (
            folders[0] / "diffusion_models" / f"{source.stem}_{dtype}.{'gguf' if dtype == 'q8_0' else 'safetensors'}"
        )
        if target.exists() and target.stat().st_mtime < source.stat().st_mtime:
            target.unlink()
        if not target.exists():
            try:
                convert(source, target, dtype)
            except CheckpointError as error:
                raise WorkflowError(str(error)) from error
        inputs["model_name"] = target.name


def pass_through(prompt: dict, kind: str, object_info: dict) -> None:
    """Put a node MODEL -> MODEL, with its default values, behind every NAVA loader."""
    from workflow import default, widgets

    if kind not in object_info:
        raise WorkflowError(f"--through {kind}: the server has no such node")
    required = object_info[kind]["input"]["required"]
    socket = next((n for n, spec in required.items() if spec[0] == "MODEL"), None)
    if socket is None or not object_info[kind]["output"] or object_info[kind]["output"][0] != "MODEL":
        raise WorkflowError(f"--through {kind}: it does not take and give a MODEL")
    for key in [k for k, n in prompt.items() if n["class_type"] == "NavaModelLoader"]:
        between = f"{key}-{kind}"
        for node in prompt.values():
            for name, value in node["inputs"].items():
                if value == [key, 0]:
                    node["inputs"][name] = [between, 0]
        values = {name: default(spec) for name, spec in widgets(object_info[kind]) if name is not None}
        prompt[between] = {"class_type": kind, "inputs": {**values, socket: [key, 0]}, "_meta": {"title": kind}}


def graph(template: dict, row: Row, seed: int, object_info: dict, inputs: Path) -> dict:
    """The graph that makes one clip: the template with the row's prompt, picture, voices, length and seed."""
    prompt = copy.deepcopy(template)
    texts, noises = nodes_of(prompt, "NavaTextEncode"), nodes_of(prompt, "RandomNoise")
    if len(texts) != 1 or len(noises) != 1:
        raise WorkflowError(
            f"an evaluated workflow has one NavaTextEncode and one RandomNoise; this one has {len(texts)} and {len(noises)}"
        )
    texts[0]["prompt"] = row.tagged if row.voices else row.prompt
    noises[0]["noise_seed"] = seed
    if row.image is not None:
        pictures = nodes_of(prompt, "LoadImage")
        if len(pictures) != 1:
            raise WorkflowError(
                f"row {row.name} has a picture; the workflow needs one LoadImage, it has {len(pictures)}"
            )
        pictures[0]["image"] = lend(row.image, inputs)
    if row.seconds is not None:
        for latent in nodes_of(prompt, "NavaEmptyLatent"):
            latent["seconds"] = round(row.seconds, 3)
    voices = [("", lend(v, inputs)) for v in row.voices if v is not None]
    speak(prompt, texts[0], voices, object_info)
    return prompt


def speak(prompt: dict, text: dict, voices: list[tuple[str, str]], object_info: dict) -> None:
    """Give a NavaTextEncode's inputs these voices, (name, file in the input folder), in place of those it has."""
    for name in [n for n in text if n.startswith("voices.")]:
        del text[name]
    if not voices:
        return
    loader = next((k for k, n in prompt.items() if n["class_type"] == "NavaVoiceEncoderLoader"), None)
    if loader is None:
        files = choices(object_info, "NavaVoiceEncoderLoader", "encoder_name")
        if not files:
            raise WorkflowError("voices need a ReDimNet file: put one into models/audio_encoders")
        loader = "voice-encoder"
        prompt[loader] = node("NavaVoiceEncoderLoader", encoder_name=files[0])
    for i, (name, recording) in enumerate(voices):
        prompt[f"recording-{i}"] = node("LoadAudio", audio=recording)
        prompt[f"voice-{i}"] = node("NavaVoice", encoder=[loader, 0], audio=[f"recording-{i}", 0], name=name)
        text[f"voices.voice_{i}"] = [f"voice-{i}", 0]


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def fingerprint(prompt: dict, folders: list[Path]) -> str:
    """Says whether two graphs make the same clip: every input, and the model files by size, beginning and end."""
    content = {k: [n["class_type"], n["inputs"]] for k, n in prompt.items()}
    found = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    names = {
        v
        for n in prompt.values()
        for v in n["inputs"].values()
        if isinstance(v, str) and v.lower().endswith(MODEL_ENDINGS)
    }
    for name in sorted(names):
        if file := model_file(name, folders):
            found.update(identity(file))
    return found.hexdigest()


def model_file(name: str, folders: list[Path]) -> Path | None:
    """The file behind a loader's choice, which may lie in folders of its own (and say so as Windows does)."""
    path = glob.escape(re.sub(r"\\+", "/", name))
    if path.startswith("/"):
        return None
    return next((f for folder in folders for f in sorted(folder.glob(f"*/{path}")) if f.is_file()), None)


def identity(file: Path) -> bytes:
    with open(file, "rb") as stream:
        begin = stream.read(EDGE)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - EDGE))
        return hashlib.sha256(begin + stream.read() + str(size).encode()).digest()


def keep(file: Path, target: Path) -> None:
    """Copy a finished file; it appears under its name only when complete."""
    part = target.with_name(target.name + ".part")
    shutil.copyfile(file, part)
    part.replace(target)


def opened(path: Path) -> tuple[torch.Tensor | None, float | None, torch.Tensor | None, int | None]:
    """(frames `[T, H, W, 3]` 0..1, fps, waveform `[C, N]`, sample rate) of a media file; None for what it has not."""
    return read_all(path)
