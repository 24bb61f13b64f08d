"""Shots as text -> one long clip, made shot after shot: latents on disk, frames streamed to the encoder."""

import hashlib
import json
import logging
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import comfy.model_management
import comfy.sample
import comfy.utils
import folder_paths
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import InputImpl, io
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ..nava_core import prompt as prompts
from ..nava_core.cast import Cast, speakers
from ..nava_core.files import WriteError, file_name, whole, writing
from ..nava_core.media import fit_length, join_sound
from ..nava_core.sizes import FPS, FRAMES_PER_LATENT, ClipLength
from ..nava_core.spans import clip_seconds
from ..nava_core.storyboard import StoryboardError, parse
from .cast import NavaCastType
from .extend import CLEAN_START, begun, continued
from .formats import masks_of, streams_of, with_streams
from .guide import NavaGuidance, check_text
from .marks import MARKS
from .picture import decode_picture
from .sound import decode_sound
from .text import NavaTextEncode, tokenize
from .vae import require_audio_vae, require_video_vae
from .voice import NavaVoiceType

CUT_FADE = 0.01  # seconds of fade at a cut: no click


class NavaStoryboard(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaStoryboard",
            display_name="NAVA Storyboard",
            category="NAVA/video",
            description="Makes a long clip from shots written as text, one after the other in the memory of one shot. Finished "
            "shots lie in the output folder: run it again after an interruption or a change, and only what is missing is made.",
            search_aliases=["long video", "scenes", "shots", "multi shot", "story"],
            inputs=[
                io.Guider.Input("guider", tooltip="From NAVA Guider: model, scales and negative prompt. Each shot's own prompt takes the place of its prompt."),
                io.Sampler.Input("sampler", tooltip="From NAVA Sampler."),
                io.Sigmas.Input("sigmas", tooltip="From NAVA Scheduler."),
                io.Latent.Input("latent", tooltip="From NAVA Size and Length: size, and length of shots that do not say theirs. From NAVA First Frame: also the first shot's first picture."),
                io.Clip.Input("clip", tooltip="umT5-xxl, as for NAVA Prompt."),
                io.Vae.Input("video_vae", tooltip="The Wan 2.2 video VAE."),
                io.Vae.Input("audio_vae", tooltip="The LTX-2.3 audio VAE."),
                io.String.Input("shots", multiline=True, tooltip="One prompt a shot, between lines of ---. Such a line may say how long the shot after it lasts and whether it goes on from the one before: --- 4 s, continue. Spoken lines as in NAVA Prompt."),
                io.Float.Input("overlap", default=1.0, min=0.1, max=10.0, step=0.1, tooltip="Seconds of a shot's end that the next one sees and keeps, where it goes on."),
                io.Int.Input("seed", default=1, min=0, max=0xFFFFFFFFFFFFFFFF, tooltip="Seed of the first shot; each further shot takes the next number."),
                io.String.Input("name", default="storyboard", tooltip="Folder of the finished shots, in output/nava_shots."),
                io.Autogrow.Input(
                    "voices",
                    optional=True,
                    template=io.Autogrow.TemplatePrefix(
                        NavaVoiceType.Input("voice", optional=True, tooltip="A voice from NAVA Voice."), prefix="voice_", min=0, max=100
                    ),
                    tooltip="Voices that speak the lines of all shots, in order or by name.",
                ),
                NavaCastType.Input("cast", optional=True, tooltip="From NAVA Cast: in every shot, everybody's look is written where they are first mentioned, and <S:Name> speaks with their voice."),
            ],
            outputs=[
                io.Video.Output("video", display_name="video", tooltip="For SaveVideo."),
                io.Float.Output("duration", display_name="seconds", tooltip="Length of the whole."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, guider, sampler, sigmas, latent, clip, video_vae, audio_vae, shots, overlap, seed, name,
        voices: io.Autogrow.Type = None, cast=None,
    ) -> io.NodeOutput:  # fmt: skip
        require_video_vae(video_vae, "NavaStoryboard, video_vae")
        require_audio_vae(audio_vae, "NavaStoryboard, audio_vae")
        if not isinstance(guider, NavaGuidance):
            raise ValueError("NavaStoryboard, guider: connect a NAVA Guider.")
        picture, sound = streams_of(latent)
        if picture is None or sound is None or picture.shape[0] != 1:
            raise ValueError(
                "NavaStoryboard, latent: give one clip with picture and sound: NAVA Size and Length, mode audio + video, batch_size 1."
            )
        voices = {k: v for k, v in (voices or {}).items() if v is not None}
        try:
            board = parse(shots, clip_seconds(picture.shape[2], 0))
        except StoryboardError as error:
            raise StoryboardError(f"NavaStoryboard, shots: {error}.") from None
        if cast is not None:
            board = [replace(shot, prompt=cast.with_looks(prompts.clean(shot.prompt))) for shot in board]
        for number, shot in enumerate(board, 1):
            check_prompt(shot.prompt, number, clip, voices, cast)
        folder = folder_of(name)
        settings = fingerprint(guider, sampler, sigmas, latent, voices)
        progress = comfy.utils.ProgressBar(len(board) * (len(sigmas) - 1))
        files, previous = [], None
        for number, shot in enumerate(board):
            chain = previous.name if shot.goes_on else ""
            # the first picture is part of the settings; the key of a shot that goes on holds those before it
            made_of = (settings, shot, (overlap, CLEAN_START) if shot.goes_on else 0, seed + number, chain, number == 0)
            key = hashlib.sha256(repr(made_of + called(shot.prompt, cast, voices)).encode())
            file = folder / f"shot_{number + 1:03}_{key.hexdigest()[:16]}.safetensors"
            if not file.exists():
                logging.info("NavaStoryboard: shot %d of %d", number + 1, len(board))
                positive = NavaTextEncode.execute(clip, shot.prompt, "", voices, cast)[0]
                check_text(positive, guider.model_patcher.model.nava_config, "positive")
                start, repeated = begin(latent, shot, number, previous, overlap)
                sample_shot(
                    guider.with_prompt(positive),
                    sampler,
                    sigmas,
                    start,
                    seed + number,
                    file,
                    repeated,
                    progress,
                    number,
                )
            progress.update_absolute((number + 1) * (len(sigmas) - 1))
            files.append(file)
            previous = file
        target = (
            Path(folder_paths.get_temp_directory())
            / f"nava_{hashlib.sha256(repr([f.name for f in files]).encode()).hexdigest()[:16]}.mp4"
        )
        frames, marks = encode(files, [s.goes_on for s in board], target, video_vae, audio_vae)
        return io.NodeOutput(InputImpl.VideoFromFile(str(target)), frames / FPS, ui={MARKS: [marks]})


def check_prompt(text: str, number: int, clip, voices: dict, cast: Cast | None) -> None:
    """Everything that can be wrong with a shot's prompt, said before the first one is made."""
    prompt = prompts.parse(text)
    if prompt.problems:
        raise prompts.PromptError(f"NavaStoryboard, shots: shot {number}: {'; '.join(prompt.problems)}.")
    people = [c.name for c in speakers(cast, list(voices.values()))]
    tokens = tokenize(clip, prompt, "NavaStoryboard, clip")
    try:
        prompts.bind_voices(prompt, tokens, [v.name for v in voices.values()], people)
    except prompts.PromptError as error:
        raise prompts.PromptError(f"NavaStoryboard, shots: shot {number}: {error}.") from None


def called(text: str, cast: Cast | None, voices: dict) -> tuple:
    """The cast's voices that a shot calls, so that a changed one makes no other shot anew; nothing without a cast."""
    names = {name.casefold() for name in prompts.parse(text).names if name}
    people = [c for c in speakers(cast, list(voices.values())) if c.voice and c.name.casefold() in names]
    return tuple((c.name, digest(c.voice.embedding)) for c in people)


def folder_of(name: str) -> Path:
    """The folder of that name, made and found writable before hours go into what it is for."""
    try:
        parts = [file_name(part) for part in name.replace("\\", "/").split("/")]
    except ValueError as error:
        raise ValueError(f"NavaStoryboard, name: {error}.") from None
    folder = Path(folder_paths.get_output_directory()).joinpath("nava_shots", *parts)
    with told(), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"?")
    return folder


@contextmanager
def told():
    """What cannot be written, in the node's name."""
    try:
        yield
    except WriteError as error:
        raise RuntimeError(f"NavaStoryboard: {error}. Shots that are finished are kept: queue it again then.") from None


def as_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().float().cpu().contiguous().numpy().tobytes()


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(as_bytes(tensor)).hexdigest()


def fingerprint(guider: NavaGuidance, sampler, sigmas, latent: dict, voices: dict) -> str:
    """What all shots are made with: shots made otherwise are made again."""
    found = hashlib.sha256()

    def add(value):
        found.update(as_bytes(value) if isinstance(value, torch.Tensor) else repr(value).encode())

    model = guider.model_patcher
    weights = model.model.diffusion_model.head.modulation  # small, and another one in every checkpoint
    for value in (weights, str(model.model.nava_config), sigmas, guider.guidance, guider.contrast_range):
        add(value)
    add(sorted((k, [p[0] for p in patches]) for k, patches in model.patches.items()))  # LoRAs and their strengths
    add(getattr(getattr(sampler, "sampler_function", None), "__name__", type(sampler).__name__))
    add(sorted(map(str, getattr(sampler, "extra_options", {}).items())))
    for cond in guider.original_conds["negative"]:
        add(cond.get("cross_attn"))
    for part in (*streams_of(latent), *masks_of(latent)):
        add(part)
    for name, voice in voices.items():
        add((name, voice.name))
        add(voice.embedding)
    return found.hexdigest()


def begin(latent: dict, shot, number: int, previous: Path | None, overlap: float) -> tuple[dict, tuple[int, int]]:
    """What a shot is sampled from, and how many latent frames and audio steps of it repeat the shot before."""
    if shot.goes_on:
        return continued(read(previous), shot.seconds, overlap, CLEAN_START, 1.0)
    length = ClipLength.nearest(shot.seconds * FPS)
    picture, sound = streams_of(latent)
    first = picture[:, :, :1] if number == 0 else picture[:, :, :0]
    video, mask = begun(first, length.latent_frames, 1.0)
    if number == 0:
        mask[:, :, :1] = masks_of(latent)[0][:, :, :1]
    audio = sound.new_zeros(*sound.shape[:2], length.audio_steps, sound.shape[3])
    return with_streams({}, video, audio, mask), (0, 0)


def sample_shot(guider, sampler, sigmas, start: dict, seed: int, file: Path, repeated, progress, number: int) -> None:
    """Sample one shot and write it; the file has its name only when it is whole."""
    samples = start["samples"]
    steps = len(sigmas) - 1
    out = guider.sample(
        comfy.sample.prepare_noise(samples, seed), samples, sampler, sigmas, denoise_mask=start.get("noise_mask"),
        callback=lambda step, *_: progress.update_absolute(number * steps + step + 1), disable_pbar=False, seed=seed,
    )  # fmt: skip
    picture, sound = (t.float().cpu().contiguous() for t in out.unbind())
    with told(), whole(file) as part:
        save_file({"picture": picture, "sound": sound}, part, {"repeated": json.dumps(repeated)})


def read(file: Path) -> dict:
    try:
        parts = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"NavaStoryboard: the shot {file} cannot be read ({error}). Remove it, and it is made anew."
        ) from error
    return {"samples": NestedTensor([parts["picture"], parts["sound"]])}


def repeated_by(file: Path) -> tuple[int, int]:
    with safe_open(file, "pt") as opened:
        return tuple(json.loads(opened.metadata()["repeated"]))


def encode(files: list[Path], goes_on: list[bool], target: Path, video_vae, audio_vae) -> tuple[int, dict]:
    """Decode shot after shot into an mp4 of that name: its frames, and its marks. Where a shot goes on, both are crossfaded.

    A shot that goes on is decoded from its repeated part on, which its first frames need to settle.
    """
    kept_frames = kept_sound = None  # of the shot before, as long as the next one may be crossfaded with it
    total, marks = 0, {"held": [], "seams": []}
    with told(), whole(target) as part, ExitStack() as opened:
        writer = None
        for i, file in enumerate(files):
            picture, sound = streams_of(read(file))
            frames = decode_picture(picture, video_vae).cpu()
            waveform, rate = decode_sound(sound, audio_vae)
            waveform = fit_length(waveform[0].cpu(), round(len(frames) * rate / FPS))
            if writer is None:
                writer = opened.enter_context(Writer(part, frames.shape[2], frames.shape[1], rate))
            if i > 0:
                at = (total + (len(kept_frames) if goes_on[i] else 0)) / FPS
                marks["seams"].append({"at": round(at, 3), "cut": not goes_on[i]})
            if goes_on[i]:
                overlap = min(FRAMES_PER_LATENT * (repeated_by(file)[0] - 1) + 1, len(kept_frames))
                weight = ((torch.arange(overlap) + 0.5) / overlap)[:, None, None, None]
                frames[:overlap] = torch.lerp(kept_frames[-overlap:], frames[:overlap], weight)
                frames = torch.cat([kept_frames[:-overlap], frames])
                fade = min(round(overlap * rate / FPS), kept_sound.shape[-1])
                held = {"from": round(at - overlap / FPS, 3), "to": round(at, 3)}
                marks["held"] += [{"of": of, **held} for of in ("picture", "sound")]
                waveform = join_sound(kept_sound[None], waveform[None], fade, equal_power=False)[0]
            elif i > 0:
                waveform = faded(waveform, rate, begins=True)
            next_needs = 0
            if i + 1 < len(files) and goes_on[i + 1]:
                next_needs = FRAMES_PER_LATENT * (repeated_by(files[i + 1])[0] - 1) + 1
            elif i + 1 < len(files):
                waveform = faded(waveform, rate, begins=False)
            done = len(frames) - next_needs
            heard = round((total + done) * rate / FPS) - round(total * rate / FPS)
            writer.write(frames[:done], waveform[:, :heard])
            kept_frames, kept_sound = frames[done:], waveform[:, heard:]
            total += done
            comfy.model_management.throw_exception_if_processing_interrupted()
    return total, marks


def faded(waveform: torch.Tensor, rate: int, begins: bool) -> torch.Tensor:
    """With its begin or its end faded over some milliseconds."""
    count = min(round(CUT_FADE * rate), waveform.shape[-1])
    ramp = torch.linspace(0, 1, count)
    waveform = waveform.clone()
    if begins:
        waveform[..., :count] *= ramp
    else:
        waveform[..., -count:] *= ramp.flip(0)
    return waveform


class Writer:
    """An mp4 that grows shot by shot: h264 of constant quality, aac."""

    def __init__(self, path: Path, width: int, height: int, rate: int):
        self.media = av.open(str(path), "w", format="mp4")
        self.video = self.media.add_stream("h264", rate=FPS)
        self.video.width, self.video.height, self.video.pix_fmt = width, height, "yuv420p"
        self.video.options = {"crf": "16"}
        self.audio = self.media.add_stream("aac", rate=rate, layout="stereo")
        self.rate, self.samples = rate, 0

    def write(self, frames: torch.Tensor, waveform: torch.Tensor) -> None:
        """frames `[T, H, W, 3]` 0..1; waveform `[2, N]`."""
        for frame in frames:
            pixels = (frame * 255).round().clamp(0, 255).byte().numpy()
            self.media.mux(self.video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if waveform.shape[-1]:
            sound = av.AudioFrame.from_ndarray(waveform.contiguous().numpy(), format="fltp", layout="stereo")
            sound.sample_rate, sound.pts, sound.time_base = self.rate, self.samples, Fraction(1, self.rate)
            self.samples += waveform.shape[-1]
            self.media.mux(self.audio.encode(sound))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            # what comes after a header that could not be written ends the process
            for stream in (self.video, self.audio) if kind is None else ():
                self.media.mux(stream.encode())
        finally:
            self.media.close()
