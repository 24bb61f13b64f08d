"""A picture or a short clip -> a place in a LATENT."""

import math

import torch
from comfy_api.latest import io

from ..nava_core.media import fit_length
from ..nava_core.sizes import AUDIO_RATE, FPS, FRAMES_PER_LATENT
from ..nava_core.spans import clip_seconds, frame_span, latent_frame_at
from .checks import pictures_of
from .formats import masks_of, streams_of, with_streams
from .graph import tell
from .masks import KEEPS_FIRST_FRAME, WAYS, hold_value
from .put import encode_picture, encode_sound, recording
from .vae import require_audio_vae, require_video_vae

PLACES = FIRST, LAST, AT = ("first", "last", "at second")


class NavaGuide(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaGuide",
            display_name="NAVA Guide",
            category="NAVA/latent",
            description="Places a picture or a short clip in the LATENT: first, last, or at any second between. Several can follow "
            "each other. A picture in between fills a group of four frames; the node says which.",
            search_aliases=["keyframe", "last frame", "end frame", "first and last frame", "flf2v", "loop"],
            inputs=[
                io.Latent.Input("latent", tooltip="From NAVA Size and Length, or another guide."),
                io.Image.Input("images", tooltip="A picture, or the frames of a short clip at 24 frames a second. Scaled to cover the size and centre-cropped."),
                io.Vae.Input("video_vae", tooltip="The Wan 2.2 video VAE."),
                io.Combo.Input("place", options=list(PLACES), default=LAST, tooltip="Where it goes. A single picture at first is kept free of noise, as in training; everything else is held as NAVA Hold does."),
                io.Float.Input("second", default=0.0, min=0.0, max=36000.0, step=0.1, tooltip="Where it begins; only for the place at second. The frames of a clip come in groups of four: the group that shows this second is used."),
                io.Combo.Input("way", options=list(WAYS), default=WAYS[0], tooltip="soft (recommended): it gets as much noise as the rest at every step. hard (experimental): the model is told that it has none. See NAVA Hold."),
                io.Float.Input("strength", default=1.0, min=0.01, max=1.0, step=0.01, tooltip="For how much of sampling it is held. 1: to the end, so that it comes back exactly. Less: the last steps may fit it in."),
                io.Audio.Input("audio", optional=True, tooltip="The sound of a short clip, placed and held with it."),
                io.Vae.Input("audio_vae", optional=True, tooltip="The LTX-2.3 audio VAE. Needed for audio."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", tooltip="For the sampler, or another guide."),
                io.Float.Output("begins", display_name="second", tooltip="The second at which it begins."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, latent, images, video_vae, place, second, way, strength, audio=None, audio_vae=None
    ) -> io.NodeOutput:
        require_video_vae(video_vae, "NavaGuide, video_vae")
        picture, sound = streams_of(latent)
        if picture is None:
            raise ValueError("NavaGuide, latent: it has no picture. Set NAVA Size and Length to a mode with video.")
        images = pictures_of(images, "NavaGuide, images")
        if audio is not None:
            if audio_vae is None:
                raise ValueError("NavaGuide, audio_vae: sound is given but there is no VAE for it. Connect audio_vae.")
            require_audio_vae(audio_vae, "NavaGuide, audio_vae")
            if sound is None:
                raise ValueError(
                    "NavaGuide, audio: the latent has no sound. Set NAVA Size and Length to a mode with sound."
                )
        start, count = placed(len(images), place, second, picture.shape[2])
        picture_mask, sound_mask = masks_of(latent)
        index = list(range(start, start + count))
        clean = start == 0 and count == 1
        value = 0.0 if clean else hold_value(way, strength)
        begins, ends = frame_span(start)[0], frame_span(index[-1])[1]
        refuse_taken(picture_mask, index, f"{begins:.2f}-{ends:.2f} s of the picture")
        picture = picture.clone()
        picture[:, :, index] = encode_group(images, start, count, video_vae, *picture.shape[-2:]).to(picture)
        picture_mask[:, :, index] = value
        if audio is not None:
            steps = list(range(round(begins * AUDIO_RATE), min(round(ends * AUDIO_RATE), sound.shape[2])))
            refuse_taken(sound_mask, steps, f"{begins:.2f}-{ends:.2f} s of the sound")
            waveform, rate = recording(audio, 0.0, "NavaGuide")
            waveform = fit_length(waveform, math.ceil((ends - begins) * rate))
            sound = sound.clone()
            sound[:, :, steps] = encode_sound(waveform, rate, len(steps), audio_vae).to(sound)
            sound_mask[:, :, steps] = value
        out = with_streams(latent, picture, sound, picture_mask, sound_mask)
        if clean:
            setattr(out["samples"], KEEPS_FIRST_FRAME, True)
        frames = (round(begins * FPS), round(ends * FPS) - 1)
        told = (
            f"frames {frames[0]} to {frames[1]}, {begins:.2f}-{ends:.2f} s of {clip_seconds(picture.shape[2], 0):.2f} s"
        )
        if len(images) > 1 and len(images) != frames[1] - frames[0] + 1:
            told += f"; of {len(images)} frames, {min(len(images), frames[1] - frames[0] + 1)} are used: whole groups of four"
        return io.NodeOutput(out, begins, ui=tell(cls.hidden, told))


def placed(frames: int, place: str, second: float, latent_frames: int) -> tuple[int, int]:
    """(first latent frame, how many) of a guide of so many frames. Raises ValueError where the clip has no such place."""
    seconds = clip_seconds(latent_frames, 0)
    groups = max(1, frames // FRAMES_PER_LATENT)
    if place == FIRST or (place == AT and latent_frame_at(second) == 0):
        start, count = 0, (frames - 1) // FRAMES_PER_LATENT + 1
    elif place == LAST:
        start, count = latent_frames - groups, groups
    else:
        if second > seconds:
            raise ValueError(
                f"NavaGuide, second: {second:g} s lies beyond the clip's end at {seconds:.2f} s. Choose an earlier one."
            )
        start, count = min(latent_frame_at(second), latent_frames - 1), groups
    if start < 0 or start + count > latent_frames:
        begin = max(0.0, frame_span(max(0, start))[0])
        raise ValueError(
            f"NavaGuide, images: {frames} frames from {begin:.2f} s on reach beyond the clip's {seconds:.2f} s. Give fewer "
            "frames, an earlier place or a longer clip."
        )
    return start, count


def refuse_taken(mask: torch.Tensor, index: list[int], what: str) -> None:
    if bool((mask[:, :, index] != 1).any()):
        raise ValueError(f"NavaGuide, second: {what} are held already, by another guide or hold. Choose another place.")


def encode_group(images, start: int, count: int, vae, rows: int, columns: int) -> torch.Tensor:
    """Latent frames `[1, 48, count, rows, columns]` of pictures that begin with latent frame `start` of a clip.

    The VAE is causal, its first latent frame a frame alone: groups of four are encoded after a still of their first frame.
    """
    wanted = FRAMES_PER_LATENT * (count - 1) + 1 if start == 0 else FRAMES_PER_LATENT * count
    frames = images[:wanted]
    frames = torch.cat([frames, frames[-1:].expand(wanted - len(frames), *frames.shape[1:])])
    if start == 0:
        return encode_picture(frames, vae, rows, columns)
    return encode_picture(torch.cat([frames[:1], frames]), vae, rows, columns)[:, :, 1:]
