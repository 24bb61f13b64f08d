"""What NAVA cannot take, said in one sentence before anything expensive happens."""

import torch

from ..nava_core.sizes import ClipLength
from .formats import AUDIO_CHANNELS, is_audio


def check_latents(shapes, config, where: str) -> None:
    """Refuse latents that this model cannot take. where: what the message calls the input."""
    if len(shapes) > 2:
        raise ValueError(
            f"{where}: it holds {len(shapes)} parts, NAVA takes two, picture and sound. Make it with NAVA Size and Length."
        )
    video, audio = shapes if len(shapes) == 2 else (shapes[0], None)
    if audio is None and is_audio(video, config):
        video, audio = None, video
    if video is not None and (len(video) != 5 or video[1] != config.vid_in_dim):
        raise ValueError(
            f"{where}: the picture has shape {list(video)}, NAVA needs [batch, {config.vid_in_dim}, time, "
            "height, width]. Make it with NAVA Size and Length, or encode with the Wan 2.2 VAE."
        )
    if audio is not None and (audio[1] != AUDIO_CHANNELS or audio[1] * audio[-1] != config.audio_in_dim):
        raise ValueError(
            f"{where}: the sound has shape {list(audio)}, NAVA needs [batch, {AUDIO_CHANNELS}, steps, "
            f"{config.audio_in_dim // AUDIO_CHANNELS}]. Make it with NAVA Size and Length, or encode with the LTX audio VAE."
        )
    if video is not None and audio is not None and config.vid_in_dim == 48:
        wanted, found = ClipLength(video[2]).audio_steps, audio[2]
        if wanted != found:
            raise ValueError(
                f"{where}: {ClipLength(video[2]).frames} frames need {wanted} audio steps, the sound has "
                f"{found}. Cut or pad the audio latent, or take both from one NAVA Size and Length."
            )


def sound_of(audio, where: str) -> tuple[torch.Tensor, int]:
    """(waveform `[B, C, N]` float32, rate) of an AUDIO. where: what the message calls the input. Raises ValueError where there is none.

    Nothing at all is a legal value: it is what a video without sound gives.
    """
    waveform = None if audio is None else audio.get("waveform")
    if waveform is None:
        raise ValueError(f"{where}: there is no sound; a video without sound gives none. Connect a recording.")
    if waveform.ndim == 2:
        waveform = waveform[None]
    if waveform.ndim != 3:
        raise ValueError(
            f"{where}: the sound has shape {list(waveform.shape)}, it must be [batch, channels, samples]. Connect an AUDIO."
        )
    if 0 in waveform.shape:
        raise ValueError(f"{where}: the sound is empty, it has no samples. Connect a recording.")
    rate = int(audio.get("sample_rate") or 0)
    if rate < 1:
        raise ValueError(f"{where}: the sample rate is {rate}. Connect the sound of a file.")
    return waveform.float(), rate


def has_sound(audio) -> bool:
    """Whether an optional AUDIO is connected and holds anything."""
    return audio is not None and audio.get("waveform") is not None and 0 not in audio["waveform"].shape


def pictures_of(images, where: str) -> torch.Tensor:
    """`[B, H, W, 3]` of an IMAGE: grey becomes colour, alpha is left out. Raises ValueError where there is no picture."""
    if images is None:
        raise ValueError(f"{where}: there is no picture. Connect a picture, or the frames of a video.")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4:
        raise ValueError(
            f"{where}: the pictures have shape {list(images.shape)}, it must be [frames, height, width, channels]. Connect an IMAGE."
        )
    if 0 in images.shape:
        raise ValueError(f"{where}: there is no picture in it. Connect a picture, or the frames of a clip.")
    channels = images.shape[-1]
    if channels > 4:
        raise ValueError(
            f"{where}: the pictures have {channels} channels; 1 (grey), 3 (colour) or 4 (with alpha) can be used. "
            "Connect an IMAGE."
        )
    return images[..., :3] if channels >= 3 else images[..., :1].expand(*images.shape[:-1], 3)


def check_schedule(sigmas) -> None:
    if not torch.isfinite(sigmas).all():
        raise ValueError(
            "NAVA, sigmas: the schedule has values that are not numbers (kl_optimal needs at least 2 steps). Use NAVA Scheduler, or more steps."
        )
    if float(sigmas.max()) > 1:
        raise ValueError(
            f"NAVA, sigmas: the schedule begins at {float(sigmas.max()):.4g}; NAVA's noise goes from 1 to 0. Use "
            "NAVA Scheduler or BasicScheduler, not a schedule made for SD models."
        )


def check_conditioning(conds: dict, packed: bool) -> None:
    """conds: name -> conditions as a guider keeps them. packed: picture and sound travel as one row of numbers."""
    entries = [c for several in conds.values() for c in several]
    for key, what in (("control", "a ControlNet"), ("gligen", "GLIGEN boxes")):
        if any(c.get(key) is not None for c in entries):
            raise ValueError(f"NAVA, conditioning: it carries {what}, which NAVA has no place for. Remove that node.")
    for key, what in (("area", "an area"), ("mask", "a mask")):
        if packed and any(key in c for c in entries):
            raise ValueError(
                f"NAVA, conditioning: it has {what}; picture and sound made together cannot be prompted by region. "
                "Remove that node, or sample the picture alone (NAVA Size and Length, mode video)."
            )


def check_model_options(options: dict) -> None:
    check_places(options.get("transformer_options", {}))
    dim = getattr(options.get("context_handler"), "dim", 2)
    if dim != 2:
        raise ValueError(f"NAVA, context windows: dim is {dim}; time is dim 2. Set it to 2 in the context window node.")


def check_places(transformer_options: dict) -> None:
    """Some nodes patch the model before a run, others only in the passes they add: this is asked of both."""
    patches = {**transformer_options.get("patches", {}), **transformer_options.get("patches_replace", {})}
    if patches:
        raise ValueError(
            f"NAVA, model: a node has patched places that NAVA's network does not have ({', '.join(patches)}), as FreeU, "
            "PAG, SAG, SLG and NAG do for other models. Take that node off the model."
        )
