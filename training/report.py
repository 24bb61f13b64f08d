"""How good NAVA-mini is: held-out prompts and fixed seeds, generated, measured, and written down beside controls.

Clips are kept in the run's folder, so a report that was stopped goes on where it was.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import nava_core
from nava_core.audio import resample
from nava_core.voice import load_voice_encoder

from . import generate
from .assemble import NAMES
from .codecs import ltx, wan
from .world import FPS, RATE, Clip, Request, read, scene, speech

FIRST = 9 * 10**6  # seeds of the report's scenes; no training uses them


def load(models: Path) -> generate.Generator:
    """All parts of an assembled set."""
    return generate.Generator(
        nava_core.load_transformer(models / NAMES["transformer"]), generate.load_text(models / NAMES["text"]),
        generate.load_video_vae(models / NAMES["video"]), generate.load_audio_vae(models / NAMES["audio"]),
    )  # fmt: skip


def write(figures: dict[str, str], folder: Path) -> None:
    """As figures.json, and as rows of a table on the console."""
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    for name, value in figures.items():
        print(f"| {name} | {value} |")


def scenes(kind: str, count: int) -> list[Clip]:
    return [scene(FIRST + i, Request(kind, frames=49 if kind == "two_faces" else 33, test=True)) for i in range(count)]


def references(encoder, clip: Clip) -> Tensor | None:
    """Embeddings `[lines, 192]` of other recordings of the clip's speakers."""
    if not clip.speech:
        return None
    return torch.stack([embedding(encoder, speech.reference(s.speaker, 1)) for s in clip.speech])


def embedding(encoder, sound: np.ndarray) -> Tensor:
    low = resample(torch.from_numpy(np.ascontiguousarray(sound)), RATE, 16000)
    return encoder(low[None], 16000)[0]


class Maker:
    """Generates clips for scenes' prompts, or reads them if they were generated before."""

    def __init__(self, parts: generate.Generator, encoder, folder: Path, steps: int):
        self.parts, self.encoder, self.folder, self.steps = parts, encoder, folder, steps

    def clips(
        self, name: str, asked: list[Clip], guidance, together: int = 4, first_frames: list[Tensor] | None = None
    ):
        made = []
        for start in range(0, len(asked), together):
            group = asked[start : start + together]
            file = self.folder / f"{name}_{start:03}.pt"
            if not file.exists():
                first = None if first_frames is None else torch.cat(first_frames[start : start + together])
                clips = self.parts.clips(
                    [(c.captions["zh" if i % 2 else "en"] or c.captions["en"])[0] for i, c in enumerate(group)], [1000 + start + i for i in range(len(group))],
                    [references(self.encoder, c) for c in group], size=group[0].frames.shape[1:3], frames=len(group[0].frames),
                    steps=self.steps, guidance=guidance, masked_only=guidance is None, first_frame=first,
                )  # fmt: skip
                part = file.with_suffix(".part")
                torch.save(clips, part)
                part.replace(file)
                print(f"{file.stem}", flush=True)
            made += [(f.numpy(), s.numpy()) for f, s in torch.load(file, weights_only=True)]
        return made


def interval(values: list[float], seed: int = 0) -> str:
    """Mean and its 95 % bootstrap interval."""
    values = np.asarray([v for v in values if np.isfinite(v)], float)
    if not values.size:
        return "none"
    means = np.random.default_rng(seed).choice(values, (2000, values.size)).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f}–{high:.2f})"


def seen(clip: Clip, frames: np.ndarray) -> list[float]:
    if clip.kind == "bounce":
        return read.contacts(read.body(frames, clip.attributes["colour"]))
    return read.turns(frames, clip.attributes["ticker"])


def two_way(pairs, shift: float = 0.0, seed: int = 0) -> str:
    """F1 of seen and heard events over all clips, with a bootstrap interval over clips. pairs: (seen, heard)."""
    counts = np.array([[read.matched(a, [t + shift for t in b]), len(a) + len(b)] for a, b in pairs], float)

    def f1(rows: np.ndarray) -> float:
        return 2 * rows[:, 0].sum() / max(1, rows[:, 1].sum())

    rng = np.random.default_rng(seed)
    low, high = np.quantile(
        [f1(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(1000)], [0.025, 0.975]
    )
    return f"{f1(counts):.2f} ({low:.2f}–{high:.2f})"


def sound_classes(count: int = 10, extra: dict[str, list[Clip]] | None = None):
    """A classifier of sounds by nearest centre, from true training scenes (and extra ones by name): sound -> name."""
    rows: dict[str, list[np.ndarray]] = {}
    wanted = [("bounce", 4), ("tick", 3), ("weather", 3), ("talk", 1)]
    for kind, classes in wanted:
        for i in range(count * classes):
            clip = scene(FIRST + 5000 + i, Request(kind, 32, 32))
            rows.setdefault(clip.attributes["sound"], []).append(read.hearing(clip.sound))
    for name, clips in (extra or {}).items():
        rows[name] = [read.hearing(clip.sound) for clip in clips]
    spread = np.sqrt(np.mean([np.var(r, axis=0) for r in rows.values()], axis=0)) + 0.3
    centres = {k: np.mean(r, axis=0) for k, r in rows.items()}

    def name(sound: np.ndarray) -> str:
        heard = read.hearing(sound)
        return min(centres, key=lambda k: (np.abs(heard - centres[k]) / spread).mean())

    return name


def attributes(clips, made, classify) -> dict[str, list[float]]:
    """For each attribute, 1 where a clip has what its prompt says."""
    right: dict[str, list[float]] = {k: [] for k in ("colour", "shape", "floor", "sky", "sound")}
    for clip, (frames, sound) in zip(clips, made, strict=True):
        wanted = clip.attributes
        right["sky"].append(read.sky_of(frames) == wanted["sky"])
        right["sound"].append(classify(sound) == wanted["sound"])
        if clip.kind == "bounce":
            right["colour"].append(read.colour_of(frames, read.moving(frames, rows=True)) == wanted["colour"])
            right["shape"].append(read.shape_of(read.body(frames, wanted["colour"])) == wanted["shape"])
            right["floor"].append(read.floor_of(frames) == wanted["floor"])
    return right


def mouth_figures(clips, made, encoder) -> dict[str, list[float]]:
    """Mouth against loudness (r), the right mouth in the right span, and whose voice it is among four."""
    found: dict[str, list[float]] = {"r": [], "right mouth": [], "own voice": []}
    strangers = [embedding(encoder, speech.reference(speech.SPEAKERS + n, 1)) for n in range(24)]
    for index, (clip, (frames, sound)) in enumerate(zip(clips, made, strict=True)):
        openings = [read.opening(frames, m) for m in clip.mouths]
        level = read.loudness(sound, len(frames))
        total = np.max(openings, axis=0)
        found["r"].append(float(np.corrcoef(total, level)[0, 1]) if total.std() > 0 and level.std() > 0 else 0.0)
        halves = (
            [(0, len(frames) // 2), (len(frames) // 2, len(frames))] if len(clip.speech) == 2 else [(0, len(frames))]
        )
        for number, ((a, b), line) in enumerate(zip(halves, clip.speech, strict=True)):
            if len(openings) == 2:
                move = [np.ptp(o[a:b]) for o in openings]
                found["right mouth"].append(float(move[number] > move[1 - number]))
            part = sound[:, a * RATE // FPS : b * RATE // FPS].mean(0)
            loud = np.flatnonzero(np.abs(part) > 0.1 * np.abs(part).max() + 1e-4)
            if loud.size < RATE // 8:
                found["own voice"].append(0.0)
                continue
            voice = embedding(encoder, part[loud[0] : loud[-1] + 1])
            others = [strangers[(line.speaker - speech.SPEAKERS + k + index) % 24] for k in (5, 11, 17)]
            own = references(encoder, clip)[number]
            likeness = [torch.cosine_similarity(voice, o, dim=0).item() for o in (own, *others)]
            found["own voice"].append(float(np.argmax(likeness) == 0))
    return found


@torch.no_grad()
def codecs(parts: generate.Generator, clips) -> tuple[list[float], list[float]]:
    """(PSNR of the video VAE in dB, mean log-mel error of the audio VAE) on unseen scenes."""
    psnr, mel = [], []
    for clip in clips:
        frames = torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        again = wan.decode(parts.video, wan.encode(parts.video, frames)).clamp(-1, 1)
        psnr.append((10 * torch.log10(4 / (again - frames).square().mean())).item())
        sound = torch.from_numpy(clip.sound)[None]
        low = resample(parts.audio.decode(parts.audio.encode(sound, RATE)), RATE, ltx.RATE)
        a, b = (ltx.to_mel(parts.audio, s, ltx.RATE) for s in (low, resample(sound, RATE, ltx.RATE)))
        steps = min(a.shape[2], b.shape[2])
        mel.append((a[:, :, :steps] - b[:, :, :steps]).abs().mean().item())
    return psnr, mel


def sheet(rows: list[np.ndarray], path: Path, columns: int = 8) -> None:
    """Every clip a row of frames."""
    lines = [np.concatenate([f[i] for i in np.linspace(0, len(f) - 1, columns).astype(int)], axis=1) for f in rows]
    width = max(line.shape[1] for line in lines)
    image = Image.fromarray(np.concatenate([np.pad(x, ((0, 4), (0, width - x.shape[1]), (0, 0))) for x in lines]))
    image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS).save(path, quality=88)


def spectrograms(parts, rows: list[np.ndarray], path: Path, columns: int = 4) -> None:
    mels = []
    for sound in rows:
        mel = ltx.to_mel(parts.audio, resample(torch.from_numpy(sound)[None], RATE, ltx.RATE), ltx.RATE)[0].mean(0)
        mels.append(np.pad(((mel[:137].T.flip(0).numpy() + 11.5) / 13).clip(0, 1), ((0, 3), (0, 3))))
    mels += [np.zeros_like(mels[0])] * (-len(mels) % columns)
    grid = np.concatenate([np.concatenate(mels[i : i + columns], axis=1) for i in range(0, len(mels), columns)])
    Image.fromarray((grid * 255).astype(np.uint8)).resize((grid.shape[1] * 2, grid.shape[0] * 2)).save(path)


def train(config: dict, folder: Path) -> None:
    """config: models (the folder of the five files), steps, bounce, tick, weather, talk, two_faces (clips of each), guidance (scales), pages (a
    folder for the page's pictures)."""
    folder.mkdir(parents=True, exist_ok=True)
    models, pages = Path(config["models"]), Path(config["pages"])
    parts = load(models)
    encoder = load_voice_encoder(models / NAMES["voice"])
    full = nava_core.Guidance(**config["guidance"])
    maker = Maker(parts, encoder, folder, config["steps"])
    asked = {kind: scenes(kind, config[kind]) for kind in ("bounce", "tick", "weather", "talk", "two_faces")}
    made = {kind: maker.clips(kind, clips, full) for kind, clips in asked.items()}
    figures: dict[str, str] = {}

    events = [*asked["bounce"], *asked["tick"]]
    true_pairs = [(seen(c, c.frames), read.onsets(c.sound)) for c in events]
    pairs = [(seen(c, f), read.onsets(s)) for c, (f, s) in zip(events, [*made["bounce"], *made["tick"]], strict=True)]
    figures["F1 of seen and heard events, true scenes (the meter's own limit)"] = two_way(true_pairs)
    figures["F1, generated"] = two_way(pairs)
    figures["F1, the same with the sound shifted by 0.2 s"] = two_way(pairs, 0.2)
    for name, guidance in (
        ("no alignment", replace(full, video_align=0.0, audio_align=0.0)),
        ("masked pass alone", None),
    ):
        some = {k: maker.clips(f"{k}_{name.replace(' ', '_')}", asked[k], guidance) for k in ("bounce", "tick")}
        figures[f"F1, {name}"] = two_way(
            [(seen(c, f), read.onsets(s)) for c, (f, s) in zip(events, [*some["bounce"], *some["tick"]], strict=True)]
        )

    classify = sound_classes()
    clips = [*asked["bounce"], *asked["tick"], *asked["weather"]]
    control = attributes(clips, [(c.frames, c.sound) for c in clips], classify)
    for name, right in attributes(clips, [*made["bounce"], *made["tick"], *made["weather"]], classify).items():
        figures[f"{name} as the prompt says (true scenes: {np.mean(control[name]):.2f})"] = interval(right)

    talks = [*asked["talk"], *asked["two_faces"]]
    spoken = [*made["talk"], *made["two_faces"]]
    true = mouth_figures(talks, [(c.frames, c.sound) for c in talks], encoder)
    for name, values in mouth_figures(talks, spoken, encoder).items():
        figures[f"{name} (true scenes: {np.mean(true[name]):.2f})"] = interval(values)
    plain = maker.clips("talk_no_timbre", asked["talk"], replace(full, audio_timbre=0.0))
    figures["own voice, one face, timbre guidance on"] = interval(
        mouth_figures(asked["talk"], made["talk"], encoder)["own voice"]
    )
    figures["own voice, one face, timbre guidance off"] = interval(
        mouth_figures(asked["talk"], plain, encoder)["own voice"]
    )

    psnr, mel = codecs(parts, [*asked["bounce"][:6], *asked["tick"][:4], *asked["talk"][:4], *asked["weather"][:4]])
    figures["video VAE, dB on unseen scenes"] = interval(psnr)
    figures["audio VAE and vocoder, log-mel error on unseen scenes"] = interval(mel)

    mean, std = wan.statistics()
    firsts, again = [], []
    for clip in asked["bounce"][:4]:
        frame = torch.from_numpy(clip.frames[:1]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        with torch.no_grad():
            latent = wan.encode(parts.video, frame)
            again.append(wan.decode(parts.video, latent)[0, :, 0].clamp(-1, 1))
        firsts.append((latent - mean) / std)
    held = maker.clips("bounce_first_frame", asked["bounce"][:4], full, first_frames=firsts)
    kept, jump = [], []
    for (frames, _), own in zip(held, again, strict=True):
        first = torch.from_numpy(frames[0]).permute(2, 0, 1).float() / 127.5 - 1
        kept.append((10 * torch.log10(4 / (first - own).square().mean())).item())
        change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
        jump.append(float(change[0] / np.median(change[1:])))
    figures["first picture kept, dB to its own reconstruction"] = interval(kept)
    figures["change after the first picture, times the median change"] = interval(jump)

    sheet([f for k in made for f, _ in made[k][:4]], pages / "mini_frames.jpg")
    spectrograms(parts, [s for k in made for _, s in made[k][:4]], pages / "mini_sounds.png")
    write(figures, folder)
