"""Clips from a trained small NAVA without a host's server: prompts in, frames and sound out."""

from dataclasses import dataclass
from pathlib import Path

import torch
from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import nava_core

from .codecs import wan
from .text_encoder import TextEncoder
from .world import captions


def read(path: Path) -> dict[str, Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}


def load_text(path: Path) -> TextEncoder:
    """A text encoder from a umT5 file; its sizes are read off the weights."""
    weights = read(path)
    pieces = weights.pop("spiece_model").numpy().tobytes()
    first = "encoder.block.0.layer."
    width, hidden = weights["shared.weight"].shape[1], weights[f"{first}1.DenseReluDense.wi_0.weight"].shape[0]
    heads = weights[f"{first}0.SelfAttention.relative_attention_bias.weight"].shape[1]
    layers = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("encoder.block."))
    text = TextEncoder(pieces, width, layers, heads, hidden)
    text.load_state_dict(weights)
    return text.eval()


def load_audio_vae(path: Path) -> AudioVAE:
    with safe_open(path, "pt") as file:
        vae = AudioVAE(file.metadata())
    named = {
        (f"autoencoder.{k.removeprefix('audio_vae.')}" if k.startswith("audio_vae.") else k): v
        for k, v in read(path).items()
    }
    vae.load_state_dict(named, strict=False)
    return vae.eval()


def load_video_vae(path: Path):
    weights = read(path)
    vae = wan.build(weights["encoder.conv1.weight"].shape[0], weights["decoder.head.0.gamma"].shape[0])
    vae.load_state_dict(weights)
    return vae.eval()


@dataclass
class Generator:
    """All parts of a small NAVA."""

    transformer: nava_core.NavaTransformer
    text: TextEncoder
    video: torch.nn.Module
    audio: AudioVAE

    @torch.no_grad()
    def clips(
        self,
        prompts: list[str],
        seeds: list[int],
        voices: list[Tensor | None],
        size: tuple[int, int] = (160, 256),
        frames: int = 33,
        steps: int = 20,
        guidance: nava_core.Guidance | None = None,
        negative: str = captions.NEGATIVE,
        first_frame: Tensor | None = None,
        masked_only: bool = False,
    ) -> list[tuple[Tensor, Tensor]]:
        """(frames `[T, H, W, 3]` uint8, sound `[2, N]` at 48 kHz) of every prompt; all in one batch."""
        count, length = len(prompts), self.transformer.config.text_len
        ids, positions = self.text.tokenize([*prompts, negative], length)
        rows = self.text(ids)
        generators = [torch.Generator().manual_seed(s) for s in seeds]
        grid = (48, (frames + 3) // 4, size[0] // 16, size[1] // 16)
        tokens = -(-frames * 25 // 24)
        noise_video = torch.stack([torch.randn(grid, generator=g) for g in generators])
        noise_audio = torch.stack([torch.randn((tokens, 128), generator=g) for g in generators])
        spoken = any(v is not None for v in voices)
        model = MaskedOnly(self.transformer) if masked_only else self.transformer
        video, audio = nava_core.sample(
            model, noise_video, noise_audio, rows[:count], rows[count:].expand(count, -1, -1),
            sigmas=nava_core.flow_sigmas(steps), guidance=guidance or nava_core.Guidance(),
            voices=[torch.zeros(0, 192) if v is None else v for v in voices] if spoken else None,
            voice_positions=[p if v is not None else [] for p, v in zip(positions[:count], voices, strict=True)] if spoken else None,
            first_frame=first_frame,
        )  # fmt: skip
        return self.decode(video, audio, frames)

    @torch.no_grad()
    def decode(self, video: Tensor, audio: Tensor, frames: int) -> list[tuple[Tensor, Tensor]]:
        mean, std = wan.statistics()
        made = []
        for one, sound in zip(video, audio, strict=True):
            pixels = wan.decode(self.video, one[None] * std + mean)[0, :, :frames].clamp(-1, 1)
            wave = self.audio.decode(nava_core.latents.tokens_to_audio(sound[None]))[0]
            made.append(
                ((pixels.permute(1, 2, 3, 0) * 127.5 + 127.5).round().to(torch.uint8), wave[:, : frames * 2000])
            )
        return made


class MaskedOnly:
    """A transformer whose every pass is the one in which the modalities cannot see each other."""

    def __init__(self, transformer):
        self._transformer = transformer

    def __getattr__(self, name):
        return getattr(self._transformer, name)

    def velocity(self, *args, **options):
        return self._transformer.velocity(*args, **{**options, "joint": False})
