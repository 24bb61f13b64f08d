"""A clip -> a LATENT that begins with its end."""

import math

import torch
from comfy_api.latest import io

from ..nava_core.latents import crossfade
from ..nava_core.sizes import AUDIO_RATE, FPS, FRAMES_PER_LATENT, ClipLength, latent_frames_more
from ..nava_core.spans import clip_seconds
from .formats import streams_of, with_streams
from .graph import tell
from .masks import HARD, SOFT, WAYS, hold_value

OVERLAP = (
    "nava_overlap"  # in what NavaExtend gives as `before`: latent frames and audio steps that the next clip repeats
)
SEAMS = "nava_seams"  # there too: the seconds at which clips of it went on
# Softly, but for the first latent frame: the model was trained with that one alone clean (first picture to video).
CLEAN_START = "clean start"
# A second is a whole number of latent frames and of audio steps: a cut there keeps picture and sound together.
FRAMES_A_SECOND = FPS // FRAMES_PER_LATENT


class NavaExtend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaExtend",
            display_name="NAVA Extend",
            category="NAVA/latent",
            description="Continues a finished clip with its sound: gives a LATENT that begins with the clip's end and goes on "
            "with new seconds. Sample it, and connect the output before to NAVA Decode, which makes one clip of both.",
            search_aliases=["continue", "longer", "extend video", "next shot", "loop"],
            inputs=[
                io.Latent.Input("latent", tooltip="The finished clip, from a sampler; or NAVA Video to Latent with NAVA Sound to Latent."),
                io.Float.Input("seconds", default=5.0, min=0.1, max=30.0, step=0.1, tooltip="How much longer the clip gets."),
                io.Float.Input("overlap", default=1.0, min=0.1, max=10.0, step=0.1, tooltip="How many seconds of the clip's end the model sees and keeps, at least. More: it goes on more smoothly, but they are sampled too, which takes time."),
                io.Combo.Input("way", options=[CLEAN_START, *WAYS], default=CLEAN_START, tooltip="clean start (recommended): its first group of frames has no noise, as a first picture in training; the rest of it gets as much as all else at every step. soft: all of it does. hard (experimental): the model is told that none of it has noise. See NAVA Hold."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="For how much of sampling the clip's end is held. 1: to the end. Less: the last steps may change it, and the clips are crossfaded."),
                io.Latent.Input("before", optional=True, tooltip="From the NAVA Extend that made this clip, when a clip is extended again."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", tooltip="For the sampler."),
                io.Latent.Output("before", display_name="before", tooltip="All that came before, for NAVA Decode."),
                io.Float.Output("duration", display_name="seconds", tooltip="Length of the whole clip."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, latent, seconds, overlap, way, strength, before=None) -> io.NodeOutput:
        if not any(s is not None and torch.count_nonzero(s) for s in streams_of(latent)):
            raise ValueError("NavaExtend, latent: it is empty. Connect the finished clip, from a sampler.")
        whole = latent if before is None else joined(before, latent)
        next_, repeated = continued(latent, seconds, overlap, way, strength)
        past = {**with_streams({}, *heard(whole)), OVERLAP: repeated, SEAMS: seams_of(before)}
        lengths = [
            None if s is None else s.shape[2] - count + n.shape[2]
            for s, count, n in zip(heard(whole), repeated, streams_of(next_), strict=True)
        ]
        total = clip_seconds(lengths[0], lengths[1] or 0)
        told = f"{clip_seconds(repeated[0], repeated[1] or 0):.2f} s of the clip are held; it will last {total:.2f} s"
        return io.NodeOutput(next_, past, total, ui=tell(cls.hidden, told))


def seams_of(before: dict | None) -> list[float]:
    """Seconds at which a clip goes on that was continued after `before`, an output of NavaExtend."""
    if before is None:
        return []
    picture, sound = streams_of(before)
    end = clip_seconds(None if picture is None else picture.shape[2], 0 if sound is None else sound.shape[2])
    return [*before.get(SEAMS, []), end]


def continued(latent: dict, seconds: float, overlap: float, way: str, strength: float) -> tuple[dict, tuple]:
    """A LATENT that begins with a clip's end, held, and how many latent frames and audio steps of it repeat (None: no such stream)."""
    picture, sound = heard(latent)
    frames, steps = cut(picture, sound, overlap)
    first, rest = (HARD, SOFT) if way == CLEAN_START else (way, way)
    value = hold_value(rest, strength)
    repeated = tuple(None if s is None else s.shape[2] - c for s, c in ((picture, frames), (sound, steps)))
    picture_mask = sound_mask = length = None
    if picture is not None:
        length = ClipLength(repeated[0] + latent_frames_more(seconds))
        picture, picture_mask = begun(picture[:, :, frames:], length.latent_frames, value)
        picture_mask[:, :, :1] = hold_value(first, strength)
    if sound is not None:
        total = repeated[1] + max(1, round(seconds * AUDIO_RATE)) if length is None else length.audio_steps
        sound, sound_mask = begun(sound[:, :, steps:], total, value)
    return with_streams({}, picture, sound, picture_mask, sound_mask), repeated


def heard(latent: dict) -> tuple:
    """(picture, sound) of a clip that goes on, without the last audio step, which lasts beyond the picture: its end is no sound to keep."""
    picture, sound = streams_of(latent)
    if picture is not None and sound is not None:
        sound = sound[:, :, : math.floor(ClipLength(picture.shape[2]).seconds * AUDIO_RATE)]
    return picture, sound


def cut(picture, sound, overlap: float) -> tuple[int, int]:
    """Latent frame and audio step with which the next clip begins, so that at least `overlap` seconds are repeated."""
    if picture is None:
        return 0, max(0, sound.shape[2] - max(1, round(overlap * AUDIO_RATE)))
    wanted = math.ceil(round(overlap * FPS - 1, 6) / FRAMES_PER_LATENT) + 1
    second = max(0, (picture.shape[2] - wanted) // FRAMES_A_SECOND)
    return FRAMES_A_SECOND * second, AUDIO_RATE * second


def begun(end: torch.Tensor, length: int, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A stream of `length` that begins with `end`, and its noise mask."""
    stream = end.new_zeros(*end.shape[:2], length, *end.shape[3:])
    mask = torch.ones_like(stream[:, :1])
    stream[:, :, : end.shape[2]] = end
    mask[:, :, : end.shape[2]] = value
    return stream, mask


def joined(before: dict, latent: dict, node: str = "NavaExtend") -> dict:
    """One LATENT of what came before and a clip that begins with its end: exact where they agree, else crossfaded."""
    if OVERLAP not in before:
        raise ValueError(f"{node}, before: this is not the output before of NAVA Extend. Connect that one.")
    out = []
    for a, b, overlap in zip(streams_of(before), streams_of(latent), before[OVERLAP], strict=True):
        if (a is None) != (b is None) or (a is not None and (a.shape[:2], a.shape[3:]) != (b.shape[:2], b.shape[3:])):
            raise ValueError(
                f"{node}, before: it is of another size than the clip. Connect the before of the same NAVA Extend."
            )
        out.append(None if a is None else crossfade(a, b.to(a), overlap))
    return with_streams({}, *out)
