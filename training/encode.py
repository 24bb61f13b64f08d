"""A folder of clips -> training samples, by the host's own VAEs and text encoder and the pack's loaders.

`name.mp4` (or other media; sound alone, silent picture too) with its prompt in `name.txt`, and in `name.json` the seconds in
which each `<S>...<E>` is spoken: `{"speech": [[start, end], ...]}`. Every clip becomes a file of its own, so encoding can be
stopped and started again.
"""

import importlib.util
import json
import math
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from nava_core import audio_to_tokens, load_voice_encoder
from nava_core import prompt as prompts
from nava_core.media import fit_length
from nava_core.media_file import MediaError, MediaFile
from nava_core.sizes import AUDIO_RATE, FPS, FRAMES_PER_LATENT, check_side, nearest_trained_shape
from nava_core.text_file import read_text
from nava_core.voice import AudioError

from .samples import Sample, write_shard

ROOT = Path(__file__).resolve().parent.parent
MEDIA = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv",
    ".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".ac3", ".caf", ".mka",
)  # fmt: skip
BESIDE = (".txt", ".json")  # what a clip has beside it
SOUND_SECONDS = 10.0  # of a recording without picture


@dataclass(frozen=True)
class Settings:
    """An encoding's config file. Numbers default to the released training's."""

    clips: str
    video_vae: str = ""
    audio_vae: str = ""
    voice_encoder: str = ""  # needed where speech times are given
    text_encoder: str = ""  # none: prompts stay text, for a text encoder that is trained along
    frames: int = 121  # of every clip: longer ones are cut, shorter ones stand still at their end
    shortest: int = 33  # clips with fewer or more frames at 24 a second are refused
    longest: int = 400
    sizes: list = field(default_factory=list)  # [width, height], ...; none: the trained shapes

    @staticmethod
    def read(config: dict) -> "Settings":
        """Raises ValueError naming the entry that cannot be meant."""
        config = {k: v for k, v in config.items() if k not in ("kind", "threads")}
        known = [f.name for f in fields(Settings)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ValueError(f"the config has the entry {unknown[0]}, which means nothing; known: {', '.join(known)}")
        if "clips" not in config:
            raise ValueError("the config has no entry clips: the folder of name.mp4 and name.txt")
        settings = Settings(**config)
        if settings.frames < 1 or settings.frames % FRAMES_PER_LATENT != 1:
            raise ValueError(f"frames is {settings.frames}: it must be a multiple of {FRAMES_PER_LATENT} and one more")
        for size in settings.sizes:
            for side, name in zip(size, ("width", "height"), strict=True):
                check_side(side, f"a {name} in sizes")
        return settings


@dataclass(frozen=True)
class Source:
    """A clip as the folder holds it. speech: seconds of each spoken line, None where they are not given."""

    media: Path
    prompt: str
    speech: list[tuple[float, float]] | None
    size: tuple[int, int] | None  # of the picture in pixels, None without one
    has_sound: bool
    seconds: float


def find(settings: Settings) -> list[Source]:
    """All clips of the folder; names the files that are none. Raises ValueError with everything that is wrong with them, before any is encoded."""
    folder = Path(settings.clips)
    files = sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))
    media = [p for p in files if p.suffix.lower() in MEDIA]
    for path in files:
        if path not in media and (path.suffix.lower() not in BESIDE or not any(m.stem == path.stem for m in media)):
            print(f"left out: {path.name} is no clip, and belongs to none", flush=True)
    if not media:
        raise ValueError(f"clips: {folder} holds no media ({', '.join(MEDIA)})")
    sources, faults = [], []
    stems = [p.stem for p in media]
    for path in media:
        try:
            if stems.count(path.stem) > 1:
                raise ValueError("another file differs only in its ending: give each a name of its own")
            sources.append(examine(path, settings))
        except (ValueError, OSError) as error:
            faults.append(f"{path.name}: {error}")
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise ValueError("clips that cannot be used:\n  " + "\n  ".join(faults[:20]) + more)
    return sources


def examine(path: Path, settings: Settings) -> Source:
    """One clip's prompt, speech times and media header. Raises ValueError saying what is wrong."""
    text, times = path.with_suffix(".txt"), path.with_suffix(".json")
    if not text.exists():
        raise ValueError(f"its prompt {text.name} is missing")
    prompt = prompts.parse(read_text(text))
    if not prompt.text:
        raise ValueError(f"{text.name} is empty")
    if prompt.problems:
        raise ValueError(f"{text.name}: {'; '.join(prompt.problems)}")
    media = MediaFile(path)
    size, has_sound, seconds = media.size, media.sound is not None, media.seconds
    for part in media.left_out:
        print(f"{path.name}: left out is {part}", flush=True)
    count = int(seconds * FPS + 1e-3)
    if size and not settings.shortest <= count <= settings.longest:
        raise ValueError(
            f"it lasts {seconds:.2f} s, {count} frames: {settings.shortest} to {settings.longest} are wanted"
        )
    for needed, name in ((size, "video_vae"), (has_sound, "audio_vae")):
        if needed and not getattr(settings, name):
            raise ValueError(f"the config names no {name}")
    speech = read_times(times, len(prompt.names), seconds) if times.exists() else None
    if speech and not has_sound:
        raise ValueError(f"{times.name} gives speech times, but there is no sound")
    if speech and not settings.voice_encoder:
        raise ValueError(f"{times.name} gives speech times, but the config names no voice_encoder")
    return Source(path, prompt.text, speech, size, has_sound, seconds)


def read_times(path: Path, lines: int, seconds: float) -> list[tuple[float, float]]:
    try:
        speech = [(float(start), float(end)) for start, end in json.loads(read_text(path))["speech"]]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f'{path.name} is not of the form {{"speech": [[start, end], ...]}}') from None
    if len(speech) != lines:
        raise ValueError(f"{path.name} has {len(speech)} speech times, the prompt has {lines} lines <S>…<E>")
    for start, end in speech:
        if not 0 <= start < end <= seconds + 0.1:
            raise ValueError(f"{path.name}: {start} to {end} s does not lie within the clip's {seconds:.2f} s")
    return speech


def read_picture(path: Path, count: int, size: tuple[int, int]) -> Tensor:
    """`[count, H, W, 3]` in 0..1, scaled to cover `size` (width, height) and centre-cropped."""
    import comfy.utils

    parts = []
    for picture, times in MediaFile(path).frames(FPS, count=count):
        scaled = comfy.utils.common_upscale(picture.movedim(-1, 0)[None].float() / 255, *size, "lanczos", "center")
        parts += [scaled.movedim(1, -1)] * times
    return torch.cat(parts)


def read_sound(path: Path) -> tuple[Tensor, int]:
    """Stereo `[2, N]`, beginning with the picture, and its rate; one channel is doubled, more than two are folded down."""
    media = MediaFile(path)
    if media.sound is None:
        raise MediaError(f"{path.name} has no sound that can be decoded")
    return media.stereo(), media.rate


class Encoders:
    """The model files of an encoding, loaded as the host loads them."""

    def __init__(self, settings: Settings):
        import comfy_extras.nodes_lt_audio as lt
        import folder_paths

        name = "comfyui_nava"  # the pack as ComfyUI imports it, beside the host's own `nodes`
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        load = importlib.import_module(f"{name}.nodes.load")
        self.text_nodes = importlib.import_module(f"{name}.nodes.text")
        self.encode_sound = importlib.import_module(f"{name}.nodes.put").encode_sound

        def open_with(execute, kind: str, entry: str, *rest):
            path = Path(getattr(settings, entry))
            if not path.name:
                return None
            if not path.is_file():
                raise ValueError(f"{entry}: there is no file {path}")
            folder_paths.add_model_folder_path(kind, str(path.resolve().parent), is_default=True)
            return execute(path.name, *rest).result[0]

        self.video = open_with(load.NavaVideoVAELoader.execute, "vae", "video_vae")
        self.audio = open_with(lt.LTXVAudioVAELoader.execute, "checkpoints", "audio_vae")
        self.clip = open_with(load.NavaTextEncoderLoader.execute, "text_encoders", "text_encoder", "default")
        self.voice = load_voice_encoder(settings.voice_encoder) if settings.voice_encoder else None

    def picture(self, frames: Tensor) -> Tensor:
        """`[T, H, W, 3]` -> normalised latents `[48, T', h, w]`."""
        from comfy.latent_formats import Wan22

        return Wan22().process_in(self.video.encode(frames))[0]

    def sound(self, waveform: Tensor, rate: int, steps: int) -> Tensor:
        """Stereo `[2, N]` -> normalised latents as tokens `[steps, 128]`."""
        waveform = fit_length(waveform, math.ceil(steps * rate / AUDIO_RATE))
        return audio_to_tokens(self.encode_sound(waveform[None], rate, steps, self.audio))[0]

    def text(self, text: str) -> tuple[Tensor, list[int]]:
        """Rows `[S, text_dim]` and those of the spoken lines' sentinels."""
        tokens = self.text_nodes.tokenize(self.clip, prompts.parse(text), "text_encoder")
        rows = self.text_nodes.encode(self.clip, tokens, {})[0][0][0]
        return rows[: len(tokens.ids)], [p for p in tokens.positions if p is not None]


def encode(source: Source, settings: Settings, encoders: Encoders) -> Sample:
    video = audio = voices = None
    seconds = settings.frames / FPS if source.size else min(source.seconds, SOUND_SECONDS)
    if source.size:
        video = encoders.picture(read_picture(source.media, settings.frames, bucket(source.size, settings.sizes)))
    if source.has_sound:
        waveform, rate = read_sound(source.media)
        audio = encoders.sound(waveform, rate, max(1, math.ceil(seconds * AUDIO_RATE - 1e-6)))
        if source.speech:
            try:
                spans = [waveform[None, :, int(a * rate) : math.ceil(b * rate)] for a, b in source.speech]
                voices = torch.cat([encoders.voice(span, rate) for span in spans])
            except AudioError as error:
                raise ValueError(f"{source.media.name}: a line's voice: {error}") from None
    rows, positions = encoders.text(source.prompt) if encoders.clip is not None else (None, None)
    if rows is None:
        return Sample(video, audio, voices, (source.prompt,))
    return Sample(video, audio, voices, (source.prompt,), (rows,), (tuple(positions),))


def bucket(size: tuple[int, int], sizes: list) -> tuple[int, int]:
    """The (width, height) to encode at: of `sizes`, or of the trained shapes, the nearest in aspect."""
    if not sizes:
        return nearest_trained_shape(*size)
    return tuple(min(sizes, key=lambda s: abs(math.log(s[0] / s[1]) - math.log(size[0] / size[1]))))


@torch.inference_mode()
def train(config: dict, folder: Path) -> None:
    """config: see Settings. Writes one file a clip into `folder`; what is there already and not older is kept."""
    settings = Settings.read(config)
    sources = find(settings)
    folder.mkdir(parents=True, exist_ok=True)
    record, wanted = folder / "encoded_with.json", json.dumps(asdict(settings), indent=1)
    if record.exists() and record.read_text(encoding="utf-8") != wanted:
        raise ValueError(f"{folder} holds samples encoded with another config ({record.name}): choose another --out")
    encoders = Encoders(settings)
    record.write_text(wanted, encoding="utf-8")
    faults = []
    for i, source in enumerate(sources, 1):
        target = folder / f"{source.media.stem}.safetensors"
        beside = [source.media.with_suffix(s) for s in (source.media.suffix, ".txt", ".json")]
        newest = max(p.stat().st_mtime for p in beside if p.exists())
        if not target.exists() or target.stat().st_mtime < newest:
            try:
                write_shard(target, [encode(source, settings, encoders)])
            except (ValueError, OSError) as error:  # one clip that is broken inside does not end the folder
                faults.append(str(error) if source.media.name in str(error) else f"{source.media.name}: {error}")
                print(f"left out: {faults[-1]}", flush=True)
                continue
        print(f"{i}/{len(sources)} {source.media.name}", flush=True)
    if faults:
        raise ValueError("all else is encoded, but these clips cannot be used:\n  " + "\n  ".join(faults))
