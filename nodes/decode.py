"""LATENT -> IMAGE and AUDIO."""

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..nava_core.media import fit_length
from ..nava_core.sizes import FPS, ClipLength
from .host import AUDIO_CHANNELS
from .picture import decode_picture
from .sound import decode_sound
from .vae import require_audio_vae, require_video_vae

TILING = ("auto", "on", "off")


class NavaDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaDecode",
            display_name="NAVA Decode",
            category="NAVA/latent",
            description="Decodes a LATENT to frames and to 48 kHz stereo sound of the same length.",
            inputs=[
                io.Latent.Input("latent", lazy=True, tooltip="From the sampler: picture and sound, or one of them."),
                io.Vae.Input("video_vae", optional=True, tooltip="The Wan 2.2 video VAE. Needed for a picture."),
                io.Vae.Input("audio_vae", optional=True, tooltip="The LTX-2.3 audio VAE. Needed for sound."),
                io.Combo.Input("tiling", options=list(TILING), default="auto", tooltip="Decode the picture in tiles: slower, needs much less memory. auto: when the memory does not suffice otherwise."),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="The frames; clips of a batch follow each other."),
                io.Audio.Output("audio", display_name="audio"),
                io.Float.Output("fps", display_name="fps", tooltip="Frame rate, for CreateVideo."),
            ],
        )  # fmt: skip

    @classmethod
    def check_lazy_status(cls, latent=None, video_vae=None, audio_vae=None, tiling="auto"):
        # The latent is lazy so that the VAEs are there, and are checked, before sampling starts.
        if video_vae is None and audio_vae is None:
            raise ValueError("NavaDecode: connect video_vae (for a picture), audio_vae (for sound), or both")
        if video_vae is not None:
            require_video_vae(video_vae, "NavaDecode, video_vae")
        if audio_vae is not None:
            require_audio_vae(audio_vae, "NavaDecode, audio_vae")
        return ["latent"]

    @classmethod
    def execute(cls, latent, tiling, video_vae=None, audio_vae=None) -> io.NodeOutput:
        samples = latent["samples"]
        parts = samples.unbind() if samples.is_nested else [samples]
        sound = next((p for p in parts if p.shape[1] == AUDIO_CHANNELS), None)
        picture = next((p for p in parts if p.shape[1] != AUDIO_CHANNELS), None)
        images = ExecutionBlocker("NavaDecode, images: this LATENT has no picture")
        audio = ExecutionBlocker("NavaDecode, audio: this LATENT has no sound")
        if picture is not None:
            if video_vae is None:
                images = ExecutionBlocker("NavaDecode, images: connect video_vae to decode the picture")
            else:
                images = decode_picture(picture, video_vae, tiling)
        if sound is not None:
            if audio_vae is None:
                audio = ExecutionBlocker("NavaDecode, audio: connect audio_vae to decode the sound")
            else:
                waveform, rate = decode_sound(sound, audio_vae)
                if picture is not None:
                    frames = ClipLength(picture.shape[2]).frames
                    waveform = fit_length(waveform, round(frames * rate / FPS))
                    # the clips of a batch follow each other as frames, so they do as sound
                    waveform = waveform.movedim(0, 1).flatten(1)[None]
                audio = {"waveform": waveform, "sample_rate": rate}
        return io.NodeOutput(images, audio, float(FPS))
