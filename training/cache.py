"""Encodes scenes of the small world into training samples, shard by shard; can be stopped and started again.

Pictures become the linear teacher's code, sounds the audio VAE's latents, speakers the embedding of another recording.
"""

import random
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from nava_core.audio import resample
from nava_core.voice import load_voice_encoder

from . import generate
from .codecs import ltx
from .codecs.linear import Teacher
from .samples import Sample, write_shard
from .world import KINDS, RATE, Clip, Request, scene, speech

SHARES = {"bounce": 0.36, "talk": 0.2, "two_faces": 0.14, "tick": 0.18, "weather": 0.12}
FORMATS = (((256, 160), 0.8), ((160, 256), 0.12), ((192, 192), 0.08))  # width and height, share


def request_of(seed: int, shares: dict[str, float] = SHARES) -> Request:
    chooser = random.Random(seed)
    kind = chooser.choices(KINDS, [shares[k] for k in KINDS])[0]
    (width, height), _ = chooser.choices(FORMATS, [share for _, share in FORMATS])[0:1][0]
    if kind == "two_faces":
        width, height = 256, 160
    return Request(kind, width, height, 49 if kind == "two_faces" else 33)


def audio_steps(frames: int) -> int:
    return -(-frames * 25 // 24)


@torch.no_grad()
def encoded_sound(vae, clip: Clip) -> Tensor:
    """Normalised latents as tokens `[L, 128]`."""
    latents = vae.encode(torch.from_numpy(clip.sound)[None], RATE)[:, :, : audio_steps(len(clip.frames))]
    return latents.transpose(1, 2).flatten(2)[0]


def pixels(clip: Clip) -> Tensor:
    """`[1, 3, T, H, W]` in -1..1."""
    return torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def train(config: dict, folder: Path) -> None:
    """config: first_seed, shards, per_shard; files: teacher, voice_encoder and audio_vae, or autoencoder with its sizes; shares of the kinds."""
    voices = embeddings(load_voice_encoder(config["voice_encoder"]), speech.SPEAKERS)
    teacher = Teacher.load(config["teacher"])
    shares = SHARES | config.get("shares", {})
    if "audio_vae" in config:
        vae = generate.load_audio_vae(Path(config["audio_vae"]))
    else:
        vae = ltx.build(config)
        vae.autoencoder.load_state_dict(load_file(config["autoencoder"]))
    for shard in range(config.get("from_shard", 0), config["shards"]):
        path = folder / f"{shard:05}.safetensors"
        if path.exists():
            continue
        made = []
        for seed in range(
            config["first_seed"] + shard * config["per_shard"], config["first_seed"] + (shard + 1) * config["per_shard"]
        ):
            clip = scene(seed, request_of(seed, shares))
            prompts = (*clip.captions["en"], *clip.captions["zh"])
            chooser = random.Random(seed)
            spoken = [voices[line.speaker, chooser.randrange(voices.shape[1])] for line in clip.speech]
            made.append(
                Sample(
                    teacher.encode(pixels(clip))[0],
                    encoded_sound(vae, clip),
                    torch.stack(spoken) if spoken else None,
                    prompts,
                )
            )
        write_shard(path, made)
        print(f"shard {shard + 1}/{config['shards']}", flush=True)


@torch.no_grad()
def embeddings(encoder, count: int, recordings: int = 3) -> Tensor:
    """`[count, recordings, 192]`: every speaker by several recordings that no scene contains."""
    rows = []
    for number in range(count):
        for index in range(recordings):
            sound = resample(torch.from_numpy(speech.reference(number, index)), RATE, 16000)
            rows.append(encoder(sound[None], 16000)[0])
    return torch.stack(rows).unflatten(0, (count, recordings))
