"""Finished latents in files: safetensors with both streams, their noise masks, and what belongs to them. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from .files import CheckpointError, refuse_foreign_content, unreadable, whole

NOTES = "nava_latent"  # in the header: version, and the notes as JSON
VERSION = 1
STREAMS = ("picture", "sound")
MASK = "mask_"
STOCK = "latent_tensor"  # where ComfyUI's own Save Latent keeps its one tensor
NEWER = "latent_format_version_0"
OLD_SCALE = 0.18215  # of files before that key


@dataclass
class StoredLatent:
    """picture `[B, C, T, h, w]`, sound `[B, 8, L, 16]`, either None; noise masks as the latent had them; notes: plain JSON values."""

    picture: Tensor | None
    sound: Tensor | None
    masks: list[Tensor] = field(default_factory=list)
    notes: dict = field(default_factory=dict)


def save_latent(stored: StoredLatent, path: Path, header: Mapping[str, str] = {}) -> None:
    """Write a latent; the file has its name only when it is whole. header: more texts. Raises WriteError."""
    entries = {name: tensor for name in STREAMS if (tensor := getattr(stored, name)) is not None}
    entries |= {f"{MASK}{i}": mask for i, mask in enumerate(stored.masks)}
    entries = {k: v.detach().cpu().contiguous() for k, v in entries.items()}
    with whole(path) as part:
        save_file(entries, part, {**header, NOTES: json.dumps({"version": VERSION, **stored.notes})})


def load_latent(path: Path) -> StoredLatent:
    """A file of `save_latent`, or of ComfyUI's own Save Latent (then the picture alone). Raises CheckpointError."""
    refuse_foreign_content(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header, entries = dict(file.metadata() or {}), {k: file.get_tensor(k) for k in file.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise unreadable(path, error) from error
    if STOCK in entries:
        scale = 1.0 if NEWER in entries else 1 / OLD_SCALE
        return checked(StoredLatent(entries[STOCK].float() * scale, None), path.name)
    try:
        notes = dict(json.loads(header.get(NOTES, "")))
    except (ValueError, TypeError, RecursionError):
        raise CheckpointError(f"{path.name} holds no latent: it was not written by NAVA Save Latent") from None
    if notes.pop("version", None) != VERSION:
        raise CheckpointError(f"{path.name} was written by a newer version of this pack: update ComfyUI-NAVA")
    masks = [entries[k] for k in sorted(entries) if k.startswith(MASK)]
    return checked(StoredLatent(entries.get("picture"), entries.get("sound"), masks, notes), path.name)


def checked(stored: StoredLatent, name: str) -> StoredLatent:
    """The same, or a CheckpointError: shapes that no node expects, and numbers that are none."""
    sides = {"picture": (5,), "sound": (4,)}
    found = {n: t for n in STREAMS if (t := getattr(stored, n)) is not None}
    if not found:
        raise CheckpointError(f"{name} holds neither picture nor sound")
    for stream, tensor in (*found.items(), *(("noise mask", m) for m in stored.masks)):
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{name}: its {stream} is damaged. Make the clip again")
    for stream, tensor in found.items():
        if tensor.ndim not in sides[stream] or not tensor.numel():
            raise CheckpointError(
                f"{name}: its {stream} has the shape {list(tensor.shape)}, which is no latent of a clip"
            )
    return stored
