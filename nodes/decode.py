"""LATENT -> IMAGE and AUDIO."""

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..nava_core.media import fit_length
from ..nava_core.sizes import FPS, ClipLength
from .extend import joined
from .formats import streams_of
from .graph import consumers, source
from .latent import MODES
from .marks import MARKS, marks_of
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
                io.Latent.Input("before", optional=True, lazy=True, tooltip="From NAVA Extend: all that came before this clip, decoded with it as one."),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="The frames; clips of a batch follow each other."),
                io.Audio.Output("audio", display_name="audio"),
                io.Float.Output("fps", display_name="fps", tooltip="Frame rate, for CreateVideo."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def check_lazy_status(cls, latent=None, video_vae=None, audio_vae=None, tiling="auto", before=None):
        # The latent is lazy so that the VAEs are there, and are checked, before sampling starts.
        if video_vae is None and audio_vae is None:
            raise ValueError("NavaDecode: connect video_vae (for a picture), audio_vae (for sound), or both")
        if video_vae is not None:
            require_video_vae(video_vae, "NavaDecode, video_vae")
        if audio_vae is not None:
            require_audio_vae(audio_vae, "NavaDecode, audio_vae")
        if cls.hidden is not None and cls.hidden.prompt:
            check_streams(cls.hidden.prompt, cls.hidden.unique_id, video_vae is not None, audio_vae is not None)
            connected = cls.hidden.prompt.get(str(cls.hidden.unique_id), {}).get("inputs", {})
            return [name for name in ("before", "latent") if name in connected]
        return ["latent"]

    @classmethod
    def execute(cls, latent, tiling, video_vae=None, audio_vae=None, before=None) -> io.NodeOutput:
        whole = latent if before is None else joined(before, latent, "NavaDecode")
        images, audio = decode(whole, video_vae, audio_vae, tiling)
        images = absent(cls.hidden, 0) if images is None else images
        audio = absent(cls.hidden, 1) if audio is None else audio
        return io.NodeOutput(images, audio, float(FPS), ui={MARKS: [marks_of(latent, before)]})


def decode(latent: dict, video_vae, audio_vae, tiling: str) -> tuple:
    """(IMAGE, AUDIO) of a LATENT, of one length; None for a stream that is not there or has no VAE."""
    picture, sound = streams_of(latent)
    images = audio = None
    if picture is not None and video_vae is not None:
        images = decode_picture(picture, video_vae, tiling)
    if sound is not None and audio_vae is not None:
        waveform, rate = decode_sound(sound, audio_vae)
        if picture is not None:
            frames = ClipLength(picture.shape[2]).frames
            waveform = fit_length(waveform, round(frames * rate / FPS))
            # the clips of a batch follow each other as frames, so they do as sound
            waveform = waveform.movedim(0, 1).flatten(1)[None]
        audio = {"waveform": waveform, "sample_rate": rate}
    return images, audio


def absent(hidden, output: int):
    """What stands for a stream that is not there: nothing, or, where a node needs one, a block that skips that node."""
    takers = consumers(hidden.prompt, hidden.unique_id, output) if hidden is not None and hidden.prompt else []
    return ExecutionBlocker(None) if any(needed for _, _, needed in takers) else None


def check_streams(prompt: dict, node_id: str, has_video_vae: bool, has_audio_vae: bool) -> None:
    """Refuse, before sampling, a graph in which what is made is not decoded, or goes only where the other stream is needed."""
    size = source(prompt, node_id, "latent", "NavaEmptyLatent")
    mode = size["inputs"].get("mode") if size else None
    if mode not in MODES:
        return
    made = {"picture": (0, "video" in mode, has_video_vae), "sound": (1, "audio" in mode, has_audio_vae)}
    takers = {what: consumers(prompt, node_id, output) for what, (output, _, _) in made.items()}
    for what, (_, is_made, has_vae) in made.items():
        vae = "video_vae" if what == "picture" else "audio_vae"
        if is_made and takers[what] and not has_vae:
            raise ValueError(f"NavaDecode, {vae}: the {what} is used but there is no VAE for it. Connect {vae}.")
    absent = {
        taker for what, (_, is_made, _) in made.items() if not is_made for taker, _, needed in takers[what] if needed
    }
    used = {taker for what, (_, is_made, _) in made.items() if is_made for taker, _, _ in takers[what]}
    if used and used <= absent:
        missing = next(what for what, (_, is_made, _) in made.items() if not is_made)
        raise ValueError(
            f"NavaDecode: NAVA Size and Length, mode is {mode}, and every node that takes the result needs the {missing} too. "
            + (
                "Connect Save Audio or Preview Audio to audio."
                if missing == "picture"
                else "Connect one that takes images alone."
            )
        )
