"""Voices: from a recording to the 192 numbers that stand for its speaker (paper section 3.3)."""

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .audio import cancels, one_channel, resample
from .files import SAFETENSORS, CheckpointError, refuse_foreign_content, unreadable
from .redimnet import SAMPLE_RATE, ReDimNet, ReDimNetConfig, UnsupportedConfig

EMBEDDING = 192  # numbers of a voice
MAX_SECONDS = 30.0
SHORT_SECONDS = 3.0
MIN_SAMPLES = 800  # 50 ms at 16 kHz: less than a few frames says nothing, and cannot be padded by reflection
SILENT_PEAK = 1e-3
QUIET_SHARE = 0.03  # of the loudest tenth of a second: quieter is a pause
ENOUGH = 0.7  # of the sound in the fullest 30 s: then the first 30 s are heard
CLIPPED = 0.999
CLIPPED_SHARE = 1e-3


class AudioError(ValueError):
    """A recording that no voice can be read from; the message says why."""


@dataclass(frozen=True)
class Voice:
    """A speaker: `embedding [192]` float32 on the CPU, and the name that prompts may use (may be empty).

    recording `[N]`: what was heard, mono 16 kHz, where it is still known.
    """

    name: str
    embedding: Tensor
    recording: Tensor | None = None


def prepare(waveform: Tensor, sample_rate: int) -> Tensor:
    """Mono 16 kHz `[B, N]` float32, at most 30 s, in which somebody speaks. Raises AudioError for what is not a recording."""
    if waveform.ndim == 2:
        waveform = waveform[None]
    if waveform.ndim != 3:
        raise AudioError(
            f"expected a waveform [channels, samples] or [batch, channels, samples], got {waveform.ndim} dims"
        )
    if sample_rate < 1:
        raise AudioError(f"the sample rate is {sample_rate}")
    if 0 in waveform.shape:
        raise AudioError("the recording is empty")
    waveform = waveform.float()
    if not torch.isfinite(waveform).all():
        raise AudioError("the recording contains samples that are not numbers (NaN or infinite)")
    start = speaking_from(waveform, sample_rate)
    waveform = one_channel(waveform[..., start : start + int(MAX_SECONDS * sample_rate)])
    if sample_rate != SAMPLE_RATE:
        waveform = resample(waveform, sample_rate, SAMPLE_RATE)
    if waveform.shape[-1] < MIN_SAMPLES:
        raise AudioError(
            f"the recording lasts {waveform.shape[-1] / SAMPLE_RATE:.3f} s, too short to hear a voice in it"
        )
    return waveform


def speaking_from(waveform: Tensor, sample_rate: int) -> int:
    """The sample from which on the 30 s of `[..., C, N]` are heard that say most: 0, unless a later part holds clearly more sound."""
    step = max(1, sample_rate // 10)
    length = round(MAX_SECONDS * sample_rate) // step
    if waveform.shape[-1] <= int(MAX_SECONDS * sample_rate):
        return 0
    count = waveform.shape[-1] // step
    blocks = waveform[..., : count * step].unflatten(-1, (count, step))
    level = (blocks - blocks.mean(-1, keepdim=True)).square().mean(-1).reshape(-1, count).mean(0).sqrt()
    heard = (level > max(SILENT_PEAK / 2, QUIET_SHARE * float(level.max()))).float()
    sums = F.pad(heard.cumsum(0), (1, 0))
    windows = sums[length:] - sums[:-length]
    best = int(windows.argmax())
    if windows[0] >= ENOUGH * windows[best]:
        return 0
    return best * step


def doubts(waveform: Tensor, sample_rate: int) -> list[str]:
    """What may make a recording a poor reference, in the user's words; [] when nothing does."""
    found = []
    seconds = waveform.shape[-1] / sample_rate
    if seconds < SHORT_SECONDS:
        found.append(f"the recording lasts {seconds:.1f} s; 5 to 15 s of clean speech work best")
    start = 0
    if seconds > MAX_SECONDS:
        start = speaking_from(waveform, sample_rate)
        which = (
            f"the first {MAX_SECONDS:.0f} s"
            if start == 0
            else f"{MAX_SECONDS:.0f} s from {start / sample_rate:.0f} s on"
        )
        found.append(f"the recording lasts {seconds:.0f} s; only {which} are used")
    level = waveform.abs()
    part = waveform[..., start : start + int(MAX_SECONDS * sample_rate)].float()
    heard = one_channel(part)
    heard = heard - heard.mean(-1, keepdim=True)
    if heard.abs().max() < SILENT_PEAK:
        found.append("the recording is silent")
    elif cancels(part).any():
        found.append(
            "left and right cancel each other out, so that their mix is nearly silent; the louder one is heard"
        )
    if (level >= CLIPPED).float().mean() > CLIPPED_SHARE:
        found.append("the recording is clipped: record it more quietly")
    return found


class VoiceEncoder(nn.Module):
    """encoder(waveform `[C, N]` or `[B, C, N]`, sample_rate) -> `[B, 192]`. Any rate and channel count."""

    def __init__(self, config: ReDimNetConfig):
        super().__init__()
        self.network = ReDimNet(config)

    @torch.no_grad()
    def forward(self, waveform: Tensor, sample_rate: int) -> Tensor:
        weight = self.network.linear.weight
        return self.network(prepare(waveform, sample_rate).to(weight.device)).to(torch.float32)


def read_voice_checkpoint(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """(model_config, state dict) of a released `.pt` or a `.safetensors` with `model_config` metadata."""
    path = Path(path)
    refuse_foreign_content(path)
    try:
        if path.suffix.lower() in SAFETENSORS:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata, weights = file.metadata() or {}, {k: file.get_tensor(k) for k in file.keys()}
            if "model_config" not in metadata:
                raise CheckpointError(f"{path.name} has no model_config metadata: it is not a ReDimNet voice encoder")
            try:
                return json.loads(metadata["model_config"]), weights
            except (ValueError, RecursionError):
                raise CheckpointError(f"{path.name}: its model_config metadata is not JSON") from None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a broken or hostile pickle ends the safe unpickler in any way
        raise unreadable(path, error) from error
    if not isinstance(content, dict) or not {"model_config", "state_dict"} <= content.keys():
        raise CheckpointError(f"{path.name} is not a ReDimNet voice encoder: it needs model_config and state_dict")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise CheckpointError(f"{path.name} is not a ReDimNet voice encoder: its state_dict holds no weights by name")
    return content["model_config"], weights


def load_voice_encoder(path: str | Path) -> VoiceEncoder:
    """Load a ReDimNet speaker encoder, in eval mode, float32, on the CPU."""
    path = Path(path)
    config, weights = read_voice_checkpoint(path)
    try:
        sizes = ReDimNetConfig.from_dict(config)
        with torch.device("meta"):  # what it would be, before memory is taken for it
            outline = {k: v.shape for k, v in ReDimNet(sizes).state_dict().items()}
        if any(outline.get(k) != w.shape for k, w in weights.items()) or outline.keys() - weights.keys():
            raise UnsupportedConfig("its weights do not fit its own model_config")
        encoder = VoiceEncoder(sizes)
        encoder.network.load_state_dict(weights)
    except (UnsupportedConfig, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    return encoder.eval().requires_grad_(False)
