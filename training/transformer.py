"""Trains a NAVA transformer, alone or with a small text encoder, on samples of latents, as `docs/training.md` tells.

All that is drawn at a step comes from (seed, step), so a run that was killed and resumed, or that runs on more processes,
takes the very same steps.
"""

import csv
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
import torch.utils.checkpoint
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nava_core.config import NavaConfig
from nava_core.transformer import NavaTransformer

from . import curves, lora
from .base import load_base
from .codecs.muon import Muon
from .codecs.run import learning_rate
from .lora import add_lora
from .objective import STEPS, moving_places, noised, sigma_table, stream_loss, weight_table
from .precision import autocast
from .preview import Preview
from .samples import Sample, Samples
from .text_encoder import TextEncoder

# With Muon, what AdamW moves all the same: tables, heads, and the sound's wide convolutions, costly to orthogonalise.
ADAM = ("shared", "modulation", "head", "relative_attention_bias", "patch_embedding_audio")


@dataclass(frozen=True)
class Settings:
    """A training's config file. Defaults are the released code's; what has none must be given."""

    samples: str
    model: dict = field(default_factory=dict)  # fields of NavaConfig
    text: dict = field(
        default_factory=dict
    )  # pieces, width, layers, heads, hidden: an encoder trained along; else rows from disk
    init: str = ""  # a transformer to start from
    lora: dict = field(
        default_factory=dict
    )  # rank, stream (picture, sound, both), alpha, targets, base (float32, bf16, fp8): train only adapters of `init`
    checkpointing: bool = False  # keep one block's activations at a time; released: on
    text_init: str = ""
    steps: int = 1_000_000
    batch: int = 1  # over all processes
    rate: float = 1e-4
    optimiser: str = "adamw"  # or muon
    warmup: int = 0
    decay: bool = False  # learning rate by a half cosine to 2 %; released: constant
    average: float = 0.0  # moving average of the weights; 0: none, as released
    clip: float = 1.0
    shift: float = 5.0
    video_weight: float = 1.0
    audio_weight: float = 0.2
    text_dropout: float = 0.1
    keep_one_text: bool = True  # as released: never drop every text of a batch, so none at batch 1
    masked: float = 0.2
    first_frame: float = 0.5
    voice_dropout: float = 0.1
    least_weight: float = 0.0  # of a noise level; released: none at pure noise
    moving_weight: float = 0.0  # extra weight of what moves in the picture, falling to none over the training
    spread_levels: bool = False  # noise levels of a batch evenly apart instead of independent: less noise in gradients
    bf16: bool = True  # where the device is quick at it
    seed: int = 42
    threads: int = 0  # 0: torch's choice
    save_every: float = 120.0  # seconds
    preview: dict = field(default_factory=dict)  # see preview.py; needs [text]
    refresh_every: int = 0  # steps after which new shards are looked for

    @staticmethod
    def read(config: dict) -> "Settings":
        """Raises ValueError naming an entry that is not known or missing."""
        known = {f.name for f in fields(Settings)}
        config = {k: v for k, v in config.items() if k != "kind"}
        unknown = sorted(set(config) - known)
        if unknown:
            raise ValueError(
                f"the config has the entry {unknown[0]}, which means nothing; known: {', '.join(sorted(known))}"
            )
        if "samples" not in config:
            raise ValueError("the config has no entry samples: the folder of encoded samples")
        return Settings(**config)


def checkpoint_blocks(model: NavaTransformer) -> None:
    """Let every block forget what is inside it and compute it again for the gradients."""
    for block in (*model.double_blocks, *model.single_blocks):
        plain = block.forward
        block.forward = lambda *args, _plain=plain: torch.utils.checkpoint.checkpoint(
            _plain, *args, use_reentrant=False
        )


def initialise(model: NavaTransformer) -> None:
    """As the released code starts what no file provides."""
    for name, parameter in model.named_parameters():
        if name.endswith("null_token"):
            nn.init.zeros_(parameter)
        elif name.endswith("modulation") or ".modulation" in name:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        elif parameter.ndim == 1:
            nn.init.ones_(parameter) if name.endswith("weight") else nn.init.zeros_(parameter)
        elif name.startswith(("text_embedding", "time_embedding")):
            nn.init.normal_(parameter, std=0.02)
        elif name.startswith("head."):
            nn.init.zeros_(parameter)
        elif parameter.ndim > 2 and "audio" in name:
            nn.init.kaiming_uniform_(parameter, a=5**0.5)
        else:
            nn.init.xavier_uniform_(parameter.flatten(1) if parameter.ndim > 2 else parameter)


class Pair(nn.Module):
    """Text encoder (or none) and transformer as one module, so that gradients of both are shared between processes."""

    def __init__(self, transformer: NavaTransformer, text: TextEncoder | None):
        super().__init__()
        self.transformer, self.text = transformer, text

    def forward(self, video, audio, timestep, ids, rows, keep, voices, positions, joint, clean):
        """keep `[B]`: 0 where a text is dropped; voices, positions: lists per sample."""
        context = self.text(ids) if self.text is not None else rows
        context = context * keep.view(-1, 1, 1)
        voiced = any(map(len, positions))
        return self.transformer(
            video, audio, timestep, context, voices if voiced else None, positions if voiced else None, joint, clean
        )


@dataclass(frozen=True)
class Draw:
    """What one step trains on, before it is cut into the processes' parts."""

    samples: list[Sample]
    wordings: list[int]
    index: Tensor  # rows of the noise table
    keep: Tensor  # 0 where the text is dropped
    masked: bool
    first_frame: bool
    voice_kept: list[Tensor]
    noise_seed: int


def draw(settings: Settings, samples: Samples, step: int) -> Draw:
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    chosen = samples.draw(generator, settings.batch)
    count = len(chosen)
    where = (uniform(1) + torch.arange(count) / count) % 1 if settings.spread_levels else uniform(count)
    keep = (uniform(count) >= settings.text_dropout).float()
    if settings.keep_one_text and not keep.any():
        keep[0] = 1
    both = chosen[0].video is not None and chosen[0].audio is not None
    return Draw(
        chosen,
        [int(uniform(1).item() * len(s.prompts)) for s in chosen],
        (where * STEPS).long().clamp(max=STEPS - 1),
        keep,
        both and uniform(1).item() < settings.masked,
        chosen[0].video is not None and uniform(1).item() < settings.first_frame,
        [
            (uniform(0 if s.voices is None else len(s.voices)) >= settings.voice_dropout).float()[:, None]
            for s in chosen
        ],
        int(torch.randint(2**31, (1,), generator=generator)),
    )


def losses(
    pair, settings: Settings, text_len: int, drawn: Draw, part: slice, moving: float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one process's part of a step; means over the whole batch come from averaging the parts.

    moving: extra weight of moving places at this step.
    """
    sigma = sigma_table(settings.shift)[drawn.index].float()
    weight = weight_table(settings.shift, settings.least_weight)[drawn.index].float()[part]
    generator = torch.Generator().manual_seed(drawn.noise_seed)
    kept = drawn.samples[part]
    text = getattr(pair, "module", pair).text
    prompts = [s.prompts[w] for s, w in zip(drawn.samples, drawn.wordings, strict=True)][part]
    if text is not None:
        ids, positions = text.tokenize(prompts, text_len)
    else:
        ids = None
        positions = [
            list(s.positions[w]) if s.positions else [] for s, w in zip(kept, drawn.wordings[part], strict=True)
        ]
    rows = (
        None
        if text is not None
        else nn.utils.rnn.pad_sequence(
            [s.rows[w].float() for s, w in zip(kept, drawn.wordings[part], strict=True)], True
        )
    )
    voices, keep = [], drawn.keep[part]
    for i, (sample, alive) in enumerate(zip(kept, drawn.voice_kept[part], strict=True)):
        voices.append(torch.zeros(0, 192) if sample.voices is None else sample.voices * alive)
        if not keep[i]:
            positions[i] = []

    def stream(name: str) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if getattr(kept[0], name) is None:
            return None, None, None
        # noise for the whole batch, so that it does not depend on how many processes share it
        latent = torch.stack([getattr(s, name) for s in drawn.samples]).float()
        noise = torch.randn(latent.shape, generator=generator)
        return latent[part], noise[part], noised(latent, noise, sigma)[part]

    video, video_noise, video_in = stream("video")
    audio, audio_noise, audio_in = stream("audio")
    if drawn.first_frame:
        video_in = torch.cat([video[:, :, :1], video_in[:, :, 1:]], dim=2)
    device = next(pair.parameters()).device
    video, video_noise, video_in, audio, audio_noise, audio_in, weight, keep, rows, t = (
        x if x is None else x.to(device)
        for x in (video, video_noise, video_in, audio, audio_noise, audio_in, weight, keep, rows, 1000 * sigma[part])
    )
    frozen_bf16 = settings.lora.get("base", "float32") != "float32"  # computes in no other format
    with torch.autocast(device.type, torch.bfloat16) if frozen_bf16 else autocast(device.type, settings.bf16):
        video_out, audio_out = pair(
            video_in,
            audio_in,
            t,
            ids,
            rows,
            keep,
            voices,
            positions,
            not drawn.masked,
            drawn.first_frame,
        )
    shown, total = {}, torch.zeros((), device=device)
    if video is not None:
        places = moving_places(video, moving) if moving else None
        loss = stream_loss(video_out, video, video_noise, weight, places)
        shown["video"] = loss.item()
        total = total + settings.video_weight * loss
    if audio is not None:
        loss = stream_loss(audio_out, audio, audio_noise, weight)
        shown["audio"] = loss.item()
        total = total + settings.audio_weight * loss
    return total, shown


def train(config: dict, folder: Path) -> None:
    """Run or resume a training in `folder`; ends by writing transformer.safetensors (and umt5.safetensors)."""
    settings = Settings.read(config)
    # a step need not reach every weight: sound alone, no voices, a masked pass
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
    )
    ranks, rank = accelerator.num_processes, accelerator.process_index
    if settings.batch % ranks:
        raise ValueError(f"batch {settings.batch} does not divide by {ranks} processes")
    size = settings.batch // ranks
    part = slice(rank * size, (rank + 1) * size)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    samples = Samples(Path(settings.samples))
    text = None
    if settings.text:
        entry = dict(settings.text)
        text = TextEncoder(Path(entry.pop("pieces")).read_bytes(), **entry)
        if settings.text_init:
            text.load_state_dict(
                {k: v.float() for k, v in load_file(settings.text_init).items() if k != "spiece_model"}
            )
    if settings.init:
        entries = dict(settings.lora)
        base = entries.pop("base", "float32")
        if base != "float32" and not settings.bf16:
            raise ValueError(f"lora.base is {base!r}, which needs bf16 = true")
        if base != "float32" and settings.preview:
            raise ValueError(f"lora.base is {base!r}: previews are made of a float32 base only; leave [preview] out")
        model = load_base(settings.init, base).requires_grad_(not settings.lora).train()
    else:
        model = NavaTransformer(NavaConfig(**settings.model))
        initialise(model)
    if settings.lora:
        if not settings.init:
            raise ValueError("the config trains a LoRA but names no model to train it on: set init")
        add_lora(model, **entries)
        if text is not None:
            text.requires_grad_(False)
    if settings.checkpointing:
        checkpoint_blocks(model)
    pair = Pair(model, text)
    if settings.optimiser == "muon":
        optimiser = Muon(pair, settings.rate, plain=ADAM)
    else:
        optimiser = torch.optim.AdamW(
            [p for p in pair.parameters() if p.requires_grad], settings.rate, weight_decay=0.0
        )
    state = {"step": 0}

    def learned() -> dict[str, Tensor]:
        """What training changes: of a LoRA, its adapters alone."""
        if not settings.lora:
            return pair.state_dict()
        return {k: p.detach() for k, p in pair.named_parameters() if p.requires_grad}

    average = {k: v.detach().clone() for k, v in learned().items()} if settings.average else None
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        pair.load_state_dict(saved["weights"], strict=not settings.lora)
        optimiser.load_state_dict(saved["optimiser"])
        average, state["step"] = saved["average"], saved["step"]
        accelerator.print(f"resumed at step {state['step']}", flush=True)
    wrapped, optimiser = accelerator.prepare(pair, optimiser)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator.print(
        f"{sum(p.numel() for p in pair.parameters()) / 1e6:.1f} M parameters, {samples.count} samples, {ranks} process(es)",
        flush=True,
    )

    def save() -> None:
        if accelerator.is_main_process:
            part_file = checkpoint.with_suffix(f".{os.getpid()}.part")
            torch.save(
                {
                    "weights": learned(),
                    "optimiser": optimiser.optimizer.state_dict(),
                    "average": average,
                    **state,
                },
                part_file,
            )
            part_file.replace(checkpoint)

    preview = Preview(settings.preview) if settings.preview else None
    told_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.append(True))
    began = saved_at = shown_at = time.monotonic()
    first, sums, count = state["step"], {}, 0
    while state["step"] < settings.steps:
        step = state["step"]
        if (
            settings.refresh_every and step % settings.refresh_every == 0 and ranks == 1
        ):  # ranks could see different shards
            samples.refresh()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(
                step, settings.steps if settings.decay else 10**12, settings.rate, max(1, settings.warmup)
            )
        moving = settings.moving_weight * (1 - step / settings.steps)
        loss, shown = losses(wrapped, settings, model.config.text_len, draw(settings, samples, step), part, moving)
        optimiser.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip)
        optimiser.step()
        state["step"] = step + 1
        if average is not None:
            keep = min(settings.average, (1 + step) / (10 + step))
            with torch.no_grad():
                for k, v in learned().items():
                    average[k].lerp_(v, 1 - keep)
        count += 1
        for k, v in shown.items():
            sums[k] = (
                sums.get(k, 0.0) + accelerator.reduce(torch.tensor(v), "mean").item()
                if ranks > 1
                else sums.get(k, 0.0) + v
            )
        now = time.monotonic()
        due = [
            now - shown_at > 20 or state["step"] == settings.steps,
            now - saved_at > settings.save_every,
            bool(told_to_end),
        ]
        if ranks > 1:
            broadcast_object_list(due)
        if due[0]:
            pace = (now - began) / (state["step"] - first)
            report(folder, state["step"], settings, pace, {k: v / count for k, v in sums.items()}, accelerator)
            sums, count, shown_at = {}, 0, now
        if preview and accelerator.is_main_process and state["step"] % preview.every == 0:
            preview.make(model.eval(), text, folder, state["step"])
            model.train()
        if due[1]:
            save()
            saved_at = now
        if due[2]:
            save()
            accelerator.print(f"told to end: saved at step {state['step']}; the same command goes on", flush=True)
            leave(accelerator)
            return
    save()
    if accelerator.is_main_process:
        if average is not None:
            pair.load_state_dict(average, strict=not settings.lora)
        if settings.lora:
            lora.write(model, folder / "lora.safetensors", {"base": Path(settings.init).name})
        else:
            write(pair.state_dict(), model.config, text, folder)
    leave(accelerator)


def leave(accelerator: Accelerator) -> None:
    """End together and at once, all being written: taking the connections down can abort, or wait for itself for ever."""
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def report(
    folder: Path, step: int, settings: Settings, pace: float, means: dict[str, float], accelerator: Accelerator
) -> None:
    """A line on the console and in log.csv."""
    left = (settings.steps - step) * pace / 60
    losses_text = "  ".join(f"{k} {v:.4f}" for k, v in means.items())
    accelerator.print(
        f"step {step}/{settings.steps}  {losses_text}  {settings.batch / pace:.1f} samples/s, {left:.0f} min left",
        flush=True,
    )
    if accelerator.is_main_process:
        log = folder / "log.csv"
        new = not log.exists()
        with open(log, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds_a_step", "video", "audio"])
            writer.writerow([step, f"{pace:.3f}", *(f"{means.get(k, math.nan):.5f}" for k in ("video", "audio"))])
        curves.draw(log, folder / "curves.png")


def write(weights: dict[str, Tensor], config: NavaConfig, text: TextEncoder | None, folder: Path) -> None:
    """transformer.safetensors and umt5.safetensors in the released layouts, in float16."""
    backbone = {
        f"backbone.{k.removeprefix('transformer.')}": v.half().contiguous()
        for k, v in weights.items()
        if k.startswith("transformer.")
    }
    files = {"transformer": (backbone, {"nava_config": config.to_metadata()})}
    if text is not None:
        own = {k.removeprefix("text."): v.half().contiguous() for k, v in weights.items() if k.startswith("text.")}
        files["umt5"] = ({**own, "spiece_model": text.weights()["spiece_model"]}, None)
    for name, (tensors, metadata) in files.items():
        part = folder / f"{name}.part"
        save_file(tensors, part, metadata)
        part.replace(folder / f"{name}.safetensors")
