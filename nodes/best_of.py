"""Many seeds, one clip at a time, and the best of them kept."""

import logging
from dataclasses import dataclass

import comfy.model_management
import torch
from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

from ..nava_core.meters import Marks, VoiceScore, judge, line_voices, voice_score, weighted
from ..nava_core.sizes import FPS
from .decode import TILING, absent, decode
from .formats import streams_of
from .graph import tell
from .host import SPOKEN_LINES, VOICES
from .marks import MARKS, marks_of
from .vae import require_audio_vae, require_video_vae
from .voice import NavaVoiceEncoderType

LAST_SEED = 0xFFFFFFFFFFFFFFFF
MOST = 1000  # candidates


@dataclass
class Candidate:
    seed: int
    latent: dict
    images: torch.Tensor | None
    audio: dict | None
    marks: Marks
    score: float


def read_seeds(text: str, first: int, count: int) -> list[int]:
    """`7, 12, 40-47` -> those seeds, each once; an empty text gives `count` seeds from `first` on."""
    if not text.strip():
        return [(first + i) & LAST_SEED for i in range(count)]
    seeds: dict[int, None] = {}
    for part in filter(None, text.replace(",", " ").split()):
        low, dash, high = part.partition("-")
        if not (low.isdecimal() and (high.isdecimal() or not dash)) or int(high or low) > LAST_SEED:
            raise ValueError(f"NavaBestOf, seeds: {part!r} is no seed. Write numbers and ranges, as 7, 12, 40-47.")
        span = range(int(low), int(high or low) + 1)
        if not span or len(seeds) + len(span) > MOST:
            raise ValueError(f"NavaBestOf, seeds: {part!r} must go upwards, and {MOST} seeds are the most at once.")
        seeds.update(dict.fromkeys(span))
    return list(seeds)


def asked_voices(guider) -> list[torch.Tensor | None]:
    """The voice of each spoken line that this guider's positive conditioning asks for; None for none in particular."""
    for cond in guider.original_conds.get("positive", []):
        rows = cond.get(VOICES)
        if rows is not None:
            lines = cond.get(SPOKEN_LINES, range(len(rows)))
            return [rows[i] if i is not None and rows[i].any() else None for i in lines]
    return []


def measured_voices(audio: dict | None, encoder, wanted: list[torch.Tensor | None]) -> VoiceScore | None:
    """How well the lines are spoken in their voices; None where that is not asked."""
    if audio is None or encoder is None or not any(v is not None for v in wanted):
        return None
    references: list[torch.Tensor] = []
    owners: list[int | None] = []
    for voice in wanted:
        known = None if voice is None else next((i for i, r in enumerate(references) if torch.equal(r, voice)), None)
        if voice is not None and known is None:
            known = len(references)
            references.append(voice)
        owners.append(known)
    comfy.model_management.load_models_gpu([encoder])
    found = line_voices(audio["waveform"][0], int(audio["sample_rate"]), encoder.model, references, owners)
    return voice_score(found or [])


def table(candidates: list[Candidate], kept: set[int], asked: int, notes: list[str]) -> str:
    """Markdown, the best first; kept seeds are marked."""
    names = [
        n for n in ("sync", "sound", "picture", "voice") if any(getattr(c.marks, n) is not None for c in candidates)
    ]
    lines = [f"| seed | score | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for c in sorted(candidates, key=lambda c: -c.score):
        marks = " | ".join("–" if (m := getattr(c.marks, n)) is None else f"{m:.2f}" for n in names)
        lines.append(f"| {c.seed}{' ✓' if c.seed in kept else ''} | {c.score:.3f} | {marks} |")
    if len(candidates) < asked:
        notes = [*notes, f"stopped after {len(candidates)} of {asked}: good enough"]
    return "\n".join([*lines, *notes])


class NavaBestOf(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def weight(name, default, tooltip):
            return io.Float.Input(name, default=default, min=0.0, max=10.0, step=0.1, round=0.01, tooltip=tooltip)

        return io.Schema(
            node_id="NavaBestOf",
            display_name="NAVA Best Of",
            category="NAVA/sampling",
            description="Samples one seed after the other, decodes and measures each clip, and keeps the best. Takes the place of "
            "RandomNoise, SamplerCustomAdvanced and NAVA Decode. With those nodes, a seed of the table gives the same clip again.",
            search_aliases=["seed search", "batch", "pick best", "many seeds", "variations"],
            inputs=[
                io.Guider.Input("guider", tooltip="From NAVA Guider."),
                io.Sampler.Input("sampler", tooltip="From NAVA Sampler or KSamplerSelect."),
                io.Sigmas.Input("sigmas", tooltip="From NAVA Scheduler."),
                io.Latent.Input("latent_image", tooltip="From NAVA Size and Length or NAVA First Frame, of one clip."),
                io.Int.Input("noise_seed", default=0, min=0, max=LAST_SEED, control_after_generate=True, tooltip="The first seed; each further candidate takes the next number."),
                io.Int.Input("candidates", default=8, min=1, max=MOST, tooltip="How many seeds are tried."),
                io.Int.Input("keep", default=1, min=1, max=100, tooltip="How many of the best come out, the best first. The nodes behind run once for each. All kept clips stay in memory."),
                io.Float.Input("good_enough", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Stops early when as many clips as are kept have reached this score. 1: never before it must."),
                weight("sync_weight", 1.0, "How much it counts that sounds begin when something is seen to happen. Set 0 for speech alone, where it says little."),
                weight("sound_weight", 0.5, "How much it counts that the sound is neither silent nor clipped (too loud), and swings around zero."),
                weight("picture_weight", 0.5, "How much it counts that the picture moves, does not flicker, does not jump after its first frame."),
                weight("voice_weight", 1.0, "How much it counts that lines are spoken in the voices of NAVA Prompt. Acts only with voice_encoder connected."),
                io.Vae.Input("video_vae", optional=True, tooltip="The Wan 2.2 video VAE. Needed to judge the picture, and for images."),
                io.Vae.Input("audio_vae", optional=True, tooltip="The LTX-2.3 audio VAE. Needed to judge the sound, and for audio."),
                NavaVoiceEncoderType.Input("voice_encoder", optional=True, tooltip="From Load NAVA Voice Encoder, the one that made the voices: then voices are judged too."),
                io.String.Input("seeds", default="", optional=True, tooltip="These seeds instead of noise_seed and candidates, as 7, 12, 40-47."),
                io.Combo.Input("tiling", options=list(TILING), default="auto", optional=True, advanced=True, tooltip="As on NAVA Decode."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", is_output_list=True, tooltip="The best, and the next best if more are kept."),
                io.Image.Output("images", display_name="images", is_output_list=True, tooltip="Their frames."),
                io.Audio.Output("audio", display_name="audio", is_output_list=True, tooltip="Their sound."),
                io.Float.Output("fps", display_name="fps", tooltip="Frame rate, for CreateVideo."),
                io.Int.Output("seed", display_name="seed", is_output_list=True, tooltip="Their seeds."),
                io.String.Output("report", display_name="report", tooltip="A table of all candidates, the best first."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, guider, sampler, sigmas, latent_image, noise_seed, candidates, keep, good_enough, sync_weight, sound_weight,
        picture_weight, voice_weight, video_vae=None, audio_vae=None, voice_encoder=None, seeds="", tiling="auto",
    ) -> io.NodeOutput:  # fmt: skip
        numbers = read_seeds(seeds, noise_seed, candidates)
        if keep > len(numbers):
            raise ValueError(
                f"NavaBestOf, keep: {keep} of {len(numbers)} candidates cannot be kept. Lower keep, or raise candidates."
            )
        weights = Marks(sync_weight, sound_weight, picture_weight, voice_weight)
        wanted = asked_voices(guider)
        voiced = voice_encoder is not None and any(v is not None for v in wanted)
        check(latent_image, video_vae, audio_vae, weights, voiced)
        notes = []
        if voice_encoder is not None and not voiced:
            notes.append("voices: not judged, no spoken line of the prompt has one")
        done: list[Candidate] = []
        kept: list[Candidate] = []
        for seed in numbers:
            latent = SamplerCustomAdvanced.execute(Noise_RandomNoise(seed), guider, sampler, sigmas, latent_image).args[
                0
            ]
            comfy.model_management.throw_exception_if_processing_interrupted()
            images, audio = decode(latent, video_vae, audio_vae, tiling)
            comfy.model_management.throw_exception_if_processing_interrupted()
            waveform, rate = (None, 1) if audio is None else (audio["waveform"][0], int(audio["sample_rate"]))
            marks = judge(images, float(FPS), waveform, rate, measured_voices(audio, voice_encoder, wanted))
            one = Candidate(seed, latent, images, audio, marks, weighted(marks, weights))
            kept = sorted([*kept, one], key=lambda c: -c.score)[:keep]
            done.append(Candidate(seed, {}, None, None, marks, one.score))
            logging.info("NavaBestOf: %d of %d, seed %d: %.3f", len(done), len(numbers), seed, one.score)
            tell(
                cls.hidden,
                f"{len(done)} of {len(numbers)} · seed {seed}: {one.score:.3f} · best: seed {kept[0].seed}, {kept[0].score:.3f}",
            )
            del latent, images, audio, waveform, one  # what is not kept is gone before the next is made
            if len(kept) == keep and kept[-1].score >= good_enough:
                break
        text = table(done, {c.seed for c in kept}, len(numbers), notes)
        lists = [[c.latent for c in kept], [c.images for c in kept], [c.audio for c in kept]]
        for output in (1, 2):
            if lists[output][0] is None:
                lists[output] = [absent(cls.hidden, output)]
        shown = tell(cls.hidden, text) | {MARKS: [marks_of(c.latent) for c in kept]}
        return io.NodeOutput(*lists, float(FPS), [c.seed for c in kept], text, ui=shown)


def check(latent: dict, video_vae, audio_vae, weights: Marks, voiced: bool) -> None:
    """Refuse, before sampling, what could not be judged."""
    picture, sound = streams_of(latent)
    if any(p is not None and p.shape[0] != 1 for p in (picture, sound)):
        raise ValueError(
            "NavaBestOf, latent_image: it is a batch. Give one clip (batch_size 1); candidates says how many are made."
        )
    if video_vae is not None:
        require_video_vae(video_vae, "NavaBestOf, video_vae")
    if audio_vae is not None:
        require_audio_vae(audio_vae, "NavaBestOf, audio_vae")
    seen, heard = picture is not None and video_vae is not None, sound is not None and audio_vae is not None
    if not (seen or heard):
        raise ValueError(
            "NavaBestOf: nothing can be judged. Connect video_vae (for a picture), audio_vae (for sound), or both."
        )
    applies = [1.0 if applies else None for applies in (seen and heard, heard, seen, voiced and heard)]
    if weighted(Marks(*applies), weights) is None:
        raise ValueError(
            "NavaBestOf: every weight of what can be judged here is 0. Raise one, or connect the VAE or encoder it needs."
        )
