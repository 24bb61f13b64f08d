"""What tells picture and sound apart in latents."""

import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor

from .masks import KEEPS_FIRST_FRAME, per_latent_frame

AUDIO_CHANNELS = 8  # of the LTX audio VAE's latent


def is_audio(shape, config) -> bool:
    """Whether a latent of this shape is sound: `[B, 8, L, 16]`, or `[B, 8, 1, L, 16]` as stock samplers reshape it."""
    return shape[1] == AUDIO_CHANNELS != config.vid_in_dim


def streams_of(latent: dict) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(picture `[B, C, T, h, w]`, sound `[B, 8, L, 16]`) of a LATENT; None for what it does not hold."""
    samples = latent["samples"]
    parts = samples.unbind() if samples.is_nested else [samples]
    sound = next((p for p in parts if p.shape[1] == AUDIO_CHANNELS), None)
    if sound is not None and sound.ndim == 5:
        sound = sound.squeeze(2)
    return next((p for p in parts if p.shape[1] != AUDIO_CHANNELS), None), sound


def masks_of(latent: dict) -> list[torch.Tensor | None]:
    """What is made anew of picture and sound, `[B, 1, T, h, w]` and `[B, 1, L, 16]`: all of it without a noise mask."""
    mask, streams = latent.get("noise_mask"), streams_of(latent)
    given = [] if mask is None else mask.unbind() if mask.is_nested else [mask]
    out = []
    for stream in streams:
        if stream is None:
            out.append(None)
            continue
        part = given[0] if given else None
        given = given[1:]
        if part is None:
            out.append(torch.ones_like(stream[:, :1]))
            continue
        if stream.ndim == 5:
            part = per_latent_frame(part, stream.shape[2])
        out.append(comfy.utils.reshape_mask(part.to(stream)[:, :1], (*stream[:, :1].shape,)).clone())
    return out


def with_streams(latent: dict, picture, sound, picture_mask=None, sound_mask=None) -> dict:
    """A LATENT with other streams, and a noise mask where one is given for a stream; else as `latent`."""
    out = {k: v for k, v in latent.items() if k != "noise_mask"}
    parts = [p for p in (picture, sound) if p is not None]
    # a lone sound travels as a nested latent of one: as a plain tensor the host would take it for a picture
    out["samples"] = parts[0] if sound is None else NestedTensor(parts)
    if getattr(latent.get("samples"), KEEPS_FIRST_FRAME, False):
        setattr(out["samples"], KEEPS_FIRST_FRAME, True)
    masks = [
        torch.ones_like(p[:, :1]) if m is None else m
        for p, m in ((picture, picture_mask), (sound, sound_mask))
        if p is not None
    ]
    if any(bool((m != 1).any()) for m in masks):
        out["noise_mask"] = masks[0] if sound is None else NestedTensor(masks)
    return out
