"""What holding, continuing and placing are worth: clips by the shipped workflows on a real server, measured.

For each prompt and seed: a free clip; the picture to its sound and the sound to its picture, held softly and hard; the clip
continued; one as long made in context windows; and a clip between its first and its last frame. Then, for each of four voices, a storyboard
that goes on five times. Clips lie in OUT/clips and are not made twice. docs/longer.md holds the table.
"""

import argparse
import sys
import uuid
from pathlib import Path

import clips
import numpy as np
import small_set
import torch
from comfy_server import Server, ServerError
from environment import ROOT
from evaluate import generate, model_folders, server_of, write_json
from intervals import interval
from measure import voice_encoder
from PIL import Image
from seams import psnr, seam
from shipped import BY_KEY
from workflow import load, nodes_of, set_inputs, to_api

sys.path.insert(0, str(ROOT))
from nava_core.meters.synchrony import synchrony

sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's

# Things that happen at a moment, in the words of NAVA-mini's world.
PROMPTS = (
    "A red ball falls onto a wooden floor under a blue sky and bounces. Each contact makes a dry wooden knock. Nobody speaks.",
    "A yellow ball falls onto a glass floor under a blue sky and bounces. Each contact makes a bright glass chime. Nobody speaks.",
    "A green ball bounces on a drum skin under an orange sunset sky. Each contact makes a deep drum beat. Nobody speaks.",
    "A blue pendulum swings steadily under an orange sunset sky. At each turn there is a sharp tick. Nobody speaks.",
)
WAYS = ("soft", "hard")
VOICES = sorted((ROOT / "docs" / "study").glob("voice_*.flac"))
WORDS = ("hello", "yes", "不要", "water", "音乐", "seven")  # one a shot: the first, and five that go on
WINDOWS = 9, 3  # latent frames of a context window and of two that overlap: a window is the clip that NAVA-mini knows
# score -> what the table calls it, and what was wanted of it
SCORES = {
    "free_f1": ("two-way onset F1, free", ""),
    **{f"{part}_{way}_f1": (f"the same, {part} given, {way}", "0.9 of free") for part in ("sound", "picture") for way in WAYS},
    **{
        f"{way}_{name}": (f"{title}: {what}", wanted)
        for way, title in (("seam", "continued"), ("windows", "in context windows"))
        for name, what, wanted in (
            ("picture", "frame difference across the seam, against the mean elsewhere", "under 1.3"),
            ("picture_elsewhere", "95th percentile of that elsewhere", ""),
            ("picture_groups", "mean of that between other groups of four frames", ""),
            ("loudness", "loudness step at the seam, dB", "under 2"),
            ("loudness_elsewhere", "mean of that elsewhere, dB", ""),
            ("flux", "spectral flux at the seam, against the 95th percentile elsewhere", "under 1"),
        )
    },
    "windows_f1": ("two-way onset F1 of a clip in windows", "0.9 of free"),
    **{f"guide_{way}": (f"PSNR of the last frames to the guide's own reconstruction, {way}, dB", "30, exact but for the codec") for way in WAYS},
    **{
        f"voice_{name}_{place}": (f"{what}, {when}", wanted)
        for place, when in (("first", "first shot"), ("last", "after five extensions"))
        for name, what, wanted in (
            ("own", "cosine to its own voice", ""),
            ("other", "mean cosine to the three others", "under its own"),
            ("nearest", "nearest to its own of four", "above 0.25"),
        )
    },
}  # fmt: skip


class Study:
    """Graphs of the shipped workflows, made into clips of one folder."""

    def __init__(self, server: Server, folder: Path, own_models: bool):
        self.server, self.folder, self.own_models = server, folder, own_models
        self.info = server.get("/object_info")
        folder.mkdir(parents=True, exist_ok=True)

    def graph(self, key: str, prompt: str, seed: int) -> dict:
        document = load(BY_KEY[key].path)
        if not self.own_models:
            small_set.chosen().apply(document, self.info)
        graph = to_api(document, self.info)
        set_inputs(graph, "NavaTextEncode", prompt=prompt)
        set_inputs(graph, "RandomNoise", noise_seed=seed)
        return graph

    def make(self, name: str, graph: dict) -> Path:
        known = sorted(self.folder.glob(f"{name}.mp4"))
        return known[0] if known else generate(self.server, graph, self.folder / name, {})

    def lend(self, file: Path) -> str:
        return clips.lend(file, self.server.base / "input")

    def clip(self, number: int, prompt: str, seed: int) -> dict[str, float | None]:
        """All clips of a prompt and seed, and their scores."""
        name, scores = f"{number}-{seed}", {}
        free = self.make(f"{name}-free", self.graph("nava_text_to_av", prompt, seed))
        frames, *_ = opened = clips.opened(free)
        scores["free_f1"] = onset_f1(opened)
        for way in WAYS:
            graph = self.graph("nava_sound_to_picture", prompt, seed + 1000)
            empty = next(i for i, n in graph.items() if n["class_type"] == "NavaEmptyLatent")
            set_inputs(graph, "NavaSoundToLatent", latent=[empty, 0], length="as the latent")
            set_inputs(graph, "LoadAudio", audio=self.lend(free))
            set_inputs(graph, "NavaHold", way=way)
            without(graph, "NavaFirstFrame", "LoadImage")
            scores[f"sound_{way}_f1"] = onset_f1(clips.opened(self.make(f"{name}-sound-{way}", graph)))
            graph = self.graph("nava_foley", prompt, seed + 2000)
            set_inputs(graph, "LoadVideo", file=self.lend(free))
            set_inputs(graph, "NavaPictureToLatent", size="as the picture")
            set_inputs(graph, "NavaHold", way=way)
            scores[f"picture_{way}_f1"] = onset_f1(clips.opened(self.make(f"{name}-picture-{way}", graph)))
        graph = self.graph("nava_extend", prompt, seed)
        noises = nodes_of(graph, "RandomNoise")
        noises[1]["noise_seed"] = seed + 3000
        set_inputs(graph, "NavaEmptyLatent", seconds=len(frames) / 24)
        scores |= named("seam", seam(*clips.opened(self.make(f"{name}-longer", graph)), [len(frames)]))
        scores |= self.windows(name, prompt, seed)
        scores |= self.guides(name, prompt, seed, frames)
        return scores

    def windows(self, name: str, prompt: str, seed: int) -> dict[str, float | None]:
        """A clip about twice as long as a window, in windows."""
        length, overlap = WINDOWS
        graph = self.graph("nava_text_to_av", prompt, seed + 5000)
        set_inputs(graph, "NavaEmptyLatent", seconds=(8 * (length - overlap) + 1) / 24)
        clips.pass_through(graph, "ContextWindowsManual", self.info)
        set_inputs(graph, "ContextWindowsManual", context_length=length, context_overlap=overlap, dim=2)
        opened = clips.opened(self.make(f"{name}-windows", graph))
        firsts = [4 * i + 1 for i in range(length - overlap, len(opened[0]) // 4 - overlap, length - overlap)]
        return {"windows_f1": onset_f1(opened), **named("windows", seam(*opened, firsts))}

    def voices(self, voice: int, seed: int, encode) -> dict[str, float]:
        """A face that speaks in one voice, and goes on five times: whose voice its first and its last shot are nearest to."""
        graph = self.graph("nava_storyboard", "The shots have their own.", seed)
        shots = [f"A red face under a blue sky says: <S>{word}<E> The voice is clear and near." for word in WORDS]
        board = "\n".join(f"---{'' if i == 0 else ' 1 s, continue'}\n{shot}" for i, shot in enumerate(shots))
        speaks = next(i for i, n in graph.items() if n["class_type"] == "NavaVoice")
        set_inputs(graph, "LoadAudio", audio=self.lend(VOICES[voice]))
        for inputs in nodes_of(graph, "NavaStoryboard"):
            del inputs["cast"]
            inputs |= {"voices.voice_0": [speaks, 0], "shots": board, "seed": seed, "name": f"voice_{voice}_{seed}"}
        without(graph, "NavaCast")
        for inputs in nodes_of(graph, "NavaTextEncode"):
            inputs.pop("cast", None)
        _, _, waveform, rate = clips.opened(self.make(f"voice-{voice}-{seed}", graph))
        references = torch.stack([encode(*clips.opened(file)[2:])[0] for file in VOICES])
        scores = {}
        for place, part in (("first", waveform[:, : round(1.375 * rate)]), ("last", waveform[:, -rate:])):
            cosines = torch.cosine_similarity(encode(part, rate), references).tolist()
            own = cosines.pop(voice)
            found = {"own": own, "other": sum(cosines) / len(cosines), "nearest": float(own > max(cosines))}
            scores |= {f"voice_{name}_{place}": value for name, value in found.items()}
        return scores

    def guides(self, name: str, prompt: str, seed: int, frames: torch.Tensor) -> dict[str, float]:
        pictures = []
        for place, frame in (("first", frames[0]), ("last", frames[-1])):
            file = self.folder / f"{name}-{place}.png"
            Image.fromarray((frame.numpy() * 255).round().astype(np.uint8)).save(file)
            pictures.append(self.lend(file))

        def placed(way: str) -> dict:
            graph = self.graph("nava_first_last_frame", prompt, seed + 4000)
            for inputs, picture in zip(nodes_of(graph, "LoadImage"), pictures, strict=True):
                inputs["image"] = picture
            set_inputs(graph, "NavaGuide", way=way)
            return graph

        graph = placed(WAYS[0])  # what the guide is by itself: encoded and decoded, nothing sampled
        guide = next(i for i, n in graph.items() if n["class_type"] == "NavaGuide")
        set_inputs(graph, "NavaDecode", latent=[guide, 0])
        set_inputs(graph, "NavaEmptyLatent", seconds=0.21)
        own = clips.opened(self.make(f"{name}-guide", graph))[0][-1]
        return {
            f"guide_{way}": psnr(clips.opened(self.make(f"{name}-between-{way}", placed(way)))[0][-1], own)
            for way in WAYS
        }


def storyboard_memory(counts: list[int], start, own_models: bool) -> dict[int, int | None]:
    """Peak bytes of a fresh server that makes a storyboard of so many shots, every second one going on. start() gives a server."""
    peaks = {}
    for count in counts:
        with start() as server:
            document = load(BY_KEY["nava_storyboard"].path)
            info = server.get("/object_info")
            if not own_models:
                small_set.chosen().apply(document, info)
            graph = to_api(document, info)
            shots = [f"---{' continue' if i % 2 else ''}\n{PROMPTS[0]}" for i in range(count)]
            set_inputs(graph, "NavaScheduler", steps=2)  # a step needs what any other needs
            # a name of its own: shots that lie there already would not be made
            set_inputs(graph, "NavaStoryboard", shots="\n".join(shots), name=f"memory_{uuid.uuid4().hex}")
            server.queue(graph, timeout=24 * 3600)
            peaks[count] = server.peak_memory()
            print(f"{count} shots: {'unknown' if peaks[count] is None else f'{peaks[count] / 1e6:.0f} MB'}", flush=True)
    return peaks


def without(graph: dict, *kinds: str) -> None:
    for node_id in [i for i, n in graph.items() if n["class_type"] in kinds]:
        del graph[node_id]


def onset_f1(opened) -> float | None:
    frames, fps, waveform, rate = opened
    return synchrony(frames, fps, waveform, rate).f1


def named(prefix: str, scores: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in scores.items()}


def table(found: list[dict]) -> str:
    """Markdown: means with intervals over prompts."""
    lines = ["| what | measured | wanted |", "|---|---|---|"]
    for name, (title, wanted) in SCORES.items():
        values = [(f["scores"][name], f["prompt"]) for f in found if f["scores"].get(name) is not None]
        if not values:
            lines.append(f"| {title} | not measured | {wanted} |")
            continue
        i = interval(*map(list, zip(*values, strict=True)))
        spread = f" ({i.low:.2f} … {i.high:.2f})" if i.prompts > 1 else ""
        lines.append(f"| {title} | {i.mean:.2f}{spread}, {i.count} clips | {wanted} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--shots", type=int, nargs="+", default=[])
    options = parser.parse_args()
    start = server_of("longer", options.models)
    options.out.mkdir(parents=True, exist_ok=True)
    found, failed = [], 0
    if options.shots:
        peaks = storyboard_memory(options.shots, start, options.models is not None)
        write_json(options.out / "storyboard_memory.json", peaks)
        return 0
    with start() as server, torch.inference_mode():
        study = Study(server, options.out / "clips", options.models is not None)
        encode = voice_encoder(model_folders(server.base, options.models))
        jobs = [
            (PROMPTS[n % len(PROMPTS)], 1 + n // len(PROMPTS), study.clip, n % len(PROMPTS))
            for n in range(options.clips)
        ]
        boards = options.clips // len(PROMPTS) if encode else 0
        jobs += [
            (VOICES[n % len(VOICES)].stem, 1 + n // len(VOICES), study.voices, n % len(VOICES)) for n in range(boards)
        ]
        for n, (what, seed, make, number) in enumerate(jobs, 1):
            try:
                scores = make(number, what, seed) if make == study.clip else make(number, seed, encode)
            except ServerError as error:
                failed += 1
                print(f"{n}/{len(jobs)}  failed: {error}", file=sys.stderr, flush=True)
                continue
            found.append({"prompt": what, "seed": seed, "scores": scores})
            write_json(options.out / "longer.json", found)
            print(f"{n}/{len(jobs)}", flush=True)
    if found:
        (options.out / "longer.md").write_text(table(found), encoding="utf-8")
        print(table(found))
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
