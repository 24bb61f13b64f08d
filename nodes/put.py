"""A recording -> the sound of a LATENT; frames -> a LATENT with that picture."""

import logging
import math

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..nava_core.audio import fold, resample
from ..nava_core.media import fit_length
from ..nava_core.meters.sound import SoundQuality, sound_quality
from ..nava_core.sizes import (
    AUDIO_RATE,
    FPS,
    FRAMES_PER_LATENT,
    PIXELS,
    STEP,
    TRAINED_SECONDS,
    ClipLength,
    nearest_trained_shape,
)
from ..nava_core.spans import clip_seconds
from .checks import pictures_of, sound_of
from .formats import AUDIO_CHANNELS, masks_of, streams_of, with_streams
from .graph import tell
from .latent import AUDIO_BINS
from .vae import require_audio_vae, require_video_vae
from .video import audio_of, frames_of

LENGTHS = AS_LATENT, AS_SOUND = ("as the latent", "as the sound")
SIZES = TRAINED, OWN = ("nearest trained shape", "as the picture")
TOO_LOUD = 1e-4  # share of samples at full scale from which on a recording is called clipped


class NavaSoundToLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaSoundToLatent",
            display_name="NAVA Sound to Latent",
            category="NAVA/latent",
            description="Makes a recording the sound of the clip. Put NAVA Hold behind it, and the picture is made to fit. "
            "Says how loud the recording is, and whether it is clipped.",
            search_aliases=["audio encode", "sound to video", "lip sync", "audio driven"],
            inputs=[
                io.Audio.Input("audio", optional=True, tooltip="A recording of any rate and length; of several, the first is used. Or connect video."),
                io.Vae.Input("audio_vae", tooltip="The LTX-2.3 audio VAE."),
                io.Latent.Input("latent", tooltip="From NAVA Size and Length or NAVA First Frame: gives the picture's size."),
                io.Combo.Input("length", options=list(LENGTHS), default=AS_SOUND, tooltip="as the sound: the clip gets as long as the recording. as the latent: the recording is cut, or silence is put after it."),
                io.Float.Input("start", default=0.0, min=0.0, max=36000.0, step=0.1, tooltip="At which second of the recording the clip begins."),
                io.Video.Input("video", optional=True, tooltip="Instead of audio: the sound of a video, which begins when it is heard. Get Video Components moves late sound to the beginning."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent"),
                io.Float.Output("duration", display_name="seconds", tooltip="The clip's length."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, audio=None, audio_vae=None, latent=None, length=AS_SOUND, start=0.0, video=None) -> io.NodeOutput:
        if video is not None:
            if audio is not None:
                raise ValueError("NavaSoundToLatent, video: audio is connected too. Connect one of them.")
            audio = audio_of(video, "NavaSoundToLatent, video")
        require_audio_vae(audio_vae, "NavaSoundToLatent, audio_vae")
        picture, sound = streams_of(latent)
        if sound is None:
            raise ValueError(
                "NavaSoundToLatent, latent: it has no sound. Set NAVA Size and Length to a mode with sound."
            )
        waveform, rate = recording(audio, start)
        found = waveform.shape[-1] / rate
        picture_mask = masks_of(latent)[0]
        if length == AS_SOUND:
            clip = ClipLength.nearest(found * FPS)
            seconds, steps = clip.seconds, clip.audio_steps
            if picture is not None:
                picture, picture_mask = (
                    of_length(t, clip.latent_frames, v) for t, v in ((picture, 0), (picture_mask, 1))
                )
        else:
            steps = sound.shape[2]
            seconds = clip_seconds(None if picture is None else picture.shape[2], steps)
        sound = encode_sound(fit_length(waveform, math.ceil(seconds * rate)), rate, steps, audio_vae).to(sound)
        sound = comfy.utils.repeat_to_batch_size(sound, streams_of(latent)[1].shape[0])
        quality = sound_quality(waveform[0], rate)
        told = [heard(quality), f"{min(found, seconds):.2f} s of sound in a clip of {seconds:.2f} s"]
        warnings = [*(told[:1] if quality.clipped > TOO_LOUD else ()), *too_long(seconds)]
        for line in (*told, *warnings):
            logging.info("NavaSoundToLatent: %s", line)
        out = with_streams(latent, picture, sound, picture_mask, torch.ones_like(sound[:, :1]))
        return io.NodeOutput(out, seconds, ui=tell(cls.hidden, "\n".join(told)) | {"text": warnings})


def too_long(seconds: float) -> list[str]:
    if seconds <= TRAINED_SECONDS + 1:
        return []
    return [f"the model was trained up to {TRAINED_SECONDS:g} s: use a context window node for longer ones"]


def recording(audio, start: float, node: str = "NavaSoundToLatent") -> tuple[torch.Tensor, int]:
    """(stereo waveform `[1, 2, N]` from second `start` on, rate). Raises ValueError for what cannot be heard."""
    waveform, rate = sound_of(audio, f"{node}, audio")
    waveform = fold(waveform[:1])
    if waveform.shape[-1] <= round(start * rate):
        raise ValueError(
            f"{node}, start: {start:g} s lies beyond the recording's end at {waveform.shape[-1] / max(rate, 1):.2f} s. Choose an earlier one."
        )
    waveform = waveform[..., round(start * rate) :]
    if not torch.isfinite(waveform).all():
        raise ValueError(
            f"{node}, audio: it contains samples that are not numbers (NaN or infinite). Use another recording."
        )
    if (waveform - waveform.mean(-1, keepdim=True)).abs().max() < 1e-4:
        raise ValueError(f"{node}, audio: the recording is silent. Choose another one, or another start.")
    return waveform, rate


def heard(quality: SoundQuality) -> str:
    loudness = "too short or too quiet to measure" if quality.loudness is None else f"{quality.loudness:.1f} LUFS"
    clipped = f", clipped: {100 * quality.clipped:.2g} % of samples at full scale" if quality.clipped > TOO_LOUD else ""
    return f"loudness {loudness}{clipped}"


def encode_sound(waveform: torch.Tensor, rate: int, steps: int, vae) -> torch.Tensor:
    """`[1, 2, N]` -> latent `[1, 8, steps, 16]` whose step i sounds i / 25 s after the beginning."""
    waveform = resample(waveform, rate, vae.audio_sample_rate)
    # The host cuts what is no multiple of this from both ends, which would shift the sound: give it one, a step too long.
    grid = vae.spacial_compression_encode()
    samples = (steps + 1) * vae.audio_sample_rate / AUDIO_RATE
    waveform = fit_length(waveform, math.ceil(samples / grid) * grid)
    return vae.encode(waveform.movedim(1, -1))[:, :, :steps]


def of_length(stream: torch.Tensor, frames: int, fill: float) -> torch.Tensor:
    """`[B, C, T, h, w]` cut, or filled up, to `frames`."""
    stream = stream[:, :, :frames]
    missing = frames - stream.shape[2]
    return torch.cat([stream, stream.new_full((*stream.shape[:2], missing, *stream.shape[3:]), fill)], dim=2)


class NavaPictureToLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaPictureToLatent",
            display_name="NAVA Video to Latent",
            category="NAVA/latent",
            description="Puts the frames of a video in as the picture of a clip, at 24 frames a second, with empty sound. Hold "
            "it with NAVA Hold to have its sound made.",
            search_aliases=["foley", "video to audio", "video encode", "video to sound"],
            inputs=[
                io.Image.Input("images", optional=True, tooltip="Frames, from Get Video Components or NAVA Decode. Or connect video."),
                io.Vae.Input("video_vae", tooltip="The Wan 2.2 video VAE."),
                io.Float.Input("fps", default=24.0, min=0.1, max=1000.0, step=0.01, tooltip="Frame rate of the frames. Other rates than 24 are changed by repeating or leaving out frames."),
                io.Combo.Input("size", options=list(SIZES), default=TRAINED, tooltip=f"The trained shape whose aspect is nearest, or the frames' own size, to a multiple of {STEP}. Scaled to cover it and centre-cropped."),
                io.Video.Input("video", optional=True, tooltip="Instead of images: a video, whose frames are taken when they are shown; fps is then not used. Get Video Components spreads them evenly."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent"),
                io.Int.Output("frames", display_name="frames", tooltip="Number of video frames."),
                io.Float.Output("duration", display_name="seconds", tooltip="The clip's length."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, images=None, video_vae=None, fps=24.0, size=TRAINED, video=None) -> io.NodeOutput:
        require_video_vae(video_vae, "NavaPictureToLatent, video_vae")
        if video is not None:
            if images is not None:
                raise ValueError("NavaPictureToLatent, video: images are connected too. Connect one of them.")
            images, fps = frames_of(video, "NavaPictureToLatent, video")
        images = pictures_of(images, f"NavaPictureToLatent, {'images' if video is None else 'video'}")
        if size == TRAINED:
            width, height = nearest_trained_shape(images.shape[2], images.shape[1])
        else:
            width, height = (max(STEP, round(side / STEP) * STEP) for side in (images.shape[2], images.shape[1]))
        index = frames_at(len(images), fps)
        length = ClipLength(math.ceil((len(index) - 1) / FRAMES_PER_LATENT) + 1)
        index += [index[-1]] * (length.frames - len(index))
        picture = encode_picture(images[index], video_vae, height // PIXELS, width // PIXELS)
        device = comfy.model_management.intermediate_device()
        sound = torch.zeros(1, AUDIO_CHANNELS, length.audio_steps, AUDIO_BINS, device=device)
        told = f"{length.frames} frames, {length.seconds:.2f} s, {width}x{height}"
        out = with_streams({}, picture.to(device), sound)
        return io.NodeOutput(
            out, length.frames, length.seconds, ui=tell(cls.hidden, told) | {"text": too_long(length.seconds)}
        )


def frames_at(count: int, fps: float) -> list[int]:
    """Which of `count` frames are seen at 24 frames a second."""
    wanted = max(1, round(count * FPS / fps))
    return [min(count - 1, int((i + 0.5) * fps / FPS)) for i in range(wanted)]


def encode_picture(images: torch.Tensor, vae, rows: int, columns: int) -> torch.Tensor:
    """Frames `[4(T-1)+1, H, W, 3]` -> latent `[1, 48, T, rows, columns]`, scaled to cover and centre-cropped."""
    pixels = images.movedim(-1, 1)
    # frame by frame: scaling holds several copies of what it works on
    pixels = torch.cat(
        [comfy.utils.common_upscale(p[None], columns * PIXELS, rows * PIXELS, "lanczos", "center") for p in pixels]
    )
    return vae.encode(pixels.movedim(1, -1))
