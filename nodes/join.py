"""Clips -> one longer clip."""

import logging

import comfy.utils
import torch
from comfy_api.latest import io

from ..nava_core.audio import fold, resample
from ..nava_core.media import fit_length, join_sound
from .checks import has_sound, pictures_of, sound_of
from .marks import MARKS


class NavaJoin(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaJoin",
            display_name="NAVA Join Clips",
            category="NAVA/video",
            description="Appends a second clip that begins with the end of the first: drops the repeated frames and "
            "crossfades the sound over them.",
            search_aliases=["concat video", "append", "extend"],
            inputs=[
                io.Image.Input("images_1", tooltip="Frames of the first clip."),
                io.Audio.Input("audio_1", optional=True, tooltip="Sound of the first clip."),
                io.Image.Input("images_2", tooltip="Frames of the second clip."),
                io.Audio.Input("audio_2", optional=True, tooltip="Sound of the second clip."),
                io.Int.Input("overlap", default=1, min=0, max=240, tooltip="How many frames at the start of the second clip repeat the end of the first. 1 when the second clip was begun with the last frame of the first."),
                io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.01, tooltip="Frame rate of both clips."),
            ],
            outputs=[
                io.Image.Output("images", display_name="images"),
                io.Audio.Output("audio", display_name="audio"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, images_1, images_2, overlap, fps, audio_1=None, audio_2=None) -> io.NodeOutput:
        notes = [
            f"images_{i} has an alpha channel, which is left out"
            for i, images in enumerate((images_1, images_2), 1)
            if images is not None and images.ndim == 4 and images.shape[-1] == 4
        ]
        images_1, images_2 = (pictures_of(p, f"NavaJoin, images_{i}") for i, p in enumerate((images_1, images_2), 1))
        if overlap >= min(len(images_1), len(images_2)):
            raise ValueError(
                f"NavaJoin, overlap: {overlap} frames are not fewer than both clips have ({len(images_1)} and {len(images_2)}). Lower it."
            )
        if images_1.shape[1:3] != images_2.shape[1:3]:
            height, width = images_1.shape[1:3]
            images_2 = comfy.utils.common_upscale(images_2.movedim(-1, 1), width, height, "lanczos", "center").movedim(
                1, -1
            )
        images = torch.cat([images_1, images_2[overlap:].to(images_1)])
        seam = {"at": round(len(images_1) / fps, 3), "cut": False}
        marks = {"held": [], "seams": [seam], "second": round((len(images_1) - overlap) / fps, 3)}
        audio = joined_audio(audio_1, audio_2, len(images_1), len(images_2), overlap, fps)
        for note in notes:
            logging.info("NavaJoin: %s", note)
        return io.NodeOutput(images, audio, ui={MARKS: [marks]} | ({"text": notes} if notes else {}))


def joined_audio(audio_1, audio_2, frames_1, frames_2, overlap, fps):
    """The sound of both clips, each fitted to its picture; a missing one is silence. None when both are missing."""
    sounds = [
        sound_of(a, f"NavaJoin, audio_{i}") if has_sound(a) else None for i, a in enumerate((audio_1, audio_2), 1)
    ]
    known = [s for s in sounds if s is not None]
    if not known:
        return None
    first, rate = known[0]
    waveforms = []
    for sound, frames in zip(sounds, (frames_1, frames_2), strict=True):
        samples = round(frames * rate / fps)
        if sound is None:
            waveforms.append(first.new_zeros(1, first.shape[1], samples))
            continue
        waveforms.append(fit_length(resample(sound[0][:1], sound[1], rate), samples).to(first.device))
    if len({w.shape[1] for w in waveforms}) > 1:
        waveforms = [fold(w) for w in waveforms]
    return {"waveform": join_sound(*waveforms, round(overlap * rate / fps)), "sample_rate": rate}
