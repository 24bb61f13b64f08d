"""The voice meter as a node: whether each line is spoken in the voice that should speak it."""

import comfy.model_management
from comfy_api.latest import io

from ..nava_core import prompt as prompts
from ..nava_core.meters import SpanVoice, line_voices, voice_match, voice_score
from ..nava_core.meters.voices import Span
from .checks import sound_of
from .graph import tell
from .voice import NavaVoiceEncoderType, NavaVoiceType


def read_times(text: str) -> list[Span] | None:
    """`0.2-1.4, 1.8-3` -> spans in seconds; None for an empty text. Raises ValueError for what is none."""
    spans = []
    for part in filter(None, (p.strip() for p in text.replace(";", ",").split(","))):
        try:
            start, end = (float(x) for x in part.replace("–", "-").split("-"))
            if not 0 <= start < end:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"NavaVoiceMeter, spans: {part!r} is no span. Write seconds from-to, as 0.2-1.4, 1.8-3."
            ) from None
        spans.append((start, end))
    return spans or None


def owners_of(text: str, names: list[str]) -> list[int | None] | None:
    """Which voice speaks each line of a prompt, by the rule of NavaTextEncode; None without a prompt."""
    if not text.strip():
        return None
    prompt = prompts.parse(text)
    if prompt.problems:
        raise prompts.PromptError(f"NavaVoiceMeter, prompt: {'; '.join(prompt.problems)}.")
    count = len(prompt.names)
    if not count:
        raise prompts.PromptError(
            "NavaVoiceMeter, prompt: nobody speaks in it (<S>…<E>). Connect the prompt of this clip, or leave it empty."
        )
    try:
        binding = prompts.bind_voices(prompt, prompts.Tokens([], list(range(count)), 0), names)
    except prompts.PromptError as error:
        raise prompts.PromptError(f"NavaVoiceMeter, prompt: {error}.") from None
    voice_of = dict(zip(binding.rows, binding.indices, strict=True))
    return [voice_of.get(line) for line in range(count)]


def report(found: list[SpanVoice], names: list[str]) -> str:
    """A line for each spoken line: when, how near to each voice, and whether that is right."""
    lines = []
    for number, span in enumerate(found, 1):
        start = f"{number}. {span.start:.2f} to {span.end:.2f} s: "
        if span.cosines is None:
            lines.append(start + "too short or quiet to tell")
            continue
        figures = " · ".join(f"{name} {c:.2f}" for name, c in zip(names, span.cosines, strict=True))
        wanted = ""
        if span.own is not None:
            wanted = f" · should be {names[span.own]}"
            if span.right is not None:
                wanted += ", and is nearest to it" if span.right else f", but {nearest(span, names)} is nearer"
        lines.append(start + figures + wanted)
    return "\n".join(lines)


def nearest(span: SpanVoice, names: list[str]) -> str:
    return names[max(range(len(names)), key=span.cosines.__getitem__)]


class NavaVoiceMeter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaVoiceMeter",
            display_name="NAVA Voice Meter",
            category="NAVA/meters",
            description="Measures how near each spoken line is to the voices, so that swapped and lost voices show. "
            "With the prompt it knows who should speak when; without it, each line is compared with all.",
            search_aliases=["speaker similarity", "voice score", "timbre", "who speaks"],
            is_output_node=True,
            inputs=[
                io.Audio.Input("audio", tooltip="Sound of the clip. Of a batch, the first is measured."),
                NavaVoiceEncoderType.Input("encoder", tooltip="From Load NAVA Voice Encoder: the one that made the voices."),
                io.Autogrow.Input(
                    "voices",
                    template=io.Autogrow.TemplatePrefix(
                        NavaVoiceType.Input("voice", tooltip="A voice from NAVA Voice, in the order in which NAVA Prompt has them."),
                        prefix="voice_", min=1, max=100,
                    ),
                    tooltip="The voices that were asked for, in the same order as on NAVA Prompt.",
                ),
                io.String.Input("prompt", multiline=True, default="", optional=True, tooltip="The clip's prompt with its <S>…<E> lines: says which voice speaks which line. May stay empty."),
                io.String.Input("spans", default="", optional=True, tooltip="When the lines are spoken, in seconds, as 0.2-1.4, 1.8-3. Empty: they are found by the pauses between them."),
            ],
            outputs=[
                io.Float.Output("score", display_name="score", tooltip="Mean cosine of the lines to their own voice (to the nearest one where nothing says whose they are), -1 to 1. 0 also when nothing can be measured; the report says so."),
                io.Float.Output("right", display_name="right", tooltip="Share of the lines that are nearer to their own voice than to the others, 0 to 1. 1 when that cannot be asked: one voice, or no prompt."),
                io.String.Output("report", display_name="report", tooltip="Every line, its time, and its cosine to each voice."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, audio, encoder, voices: io.Autogrow.Type, prompt="", spans="") -> io.NodeOutput:
        voices = [v for v in voices.values() if v is not None]
        if not voices:
            raise ValueError("NavaVoiceMeter, voices: none is connected. Connect the NAVA Voice of each speaker.")
        names = [v.name or f"voice {i}" for i, v in enumerate(voices, 1)]
        owners = owners_of(prompt, [v.name for v in voices])
        times = read_times(spans)
        if times and owners and len(times) != len(owners):
            raise ValueError(
                f"NavaVoiceMeter, spans: there are {len(times)} spans and {len(owners)} spoken lines in the prompt. Give one for each."
            )
        waveform, rate = sound_of(audio, "NavaVoiceMeter, audio")
        comfy.model_management.load_models_gpu([encoder])
        given = (waveform[0], rate, encoder.model, [v.embedding for v in voices])
        try:
            found = voice_match(*given, times, owners) if times or owners is None else line_voices(*given, owners)
        except ValueError as error:
            raise ValueError(
                f"NavaVoiceMeter: {error}. Connect the sound of the clip, and the encoder that made the voices."
            ) from None
        if not found or all(s.cosines is None for s in found):
            heard = (
                "fewer lines are heard than the prompt has"
                if found is None
                else "nothing is heard that a voice can be told from"
            )
            text = f"Not measured: {heard}."
            return io.NodeOutput(0.0, 0.0, text, ui=tell(cls.hidden, text))
        score = voice_score(found)
        own = score.own
        if own is None:  # nobody is said to speak: how near the nearest is
            best = [max(s.cosines) for s in found if s.cosines is not None]
            own = sum(best) / len(best)
        right = 1.0 if score.nearest is None else score.nearest
        summary = f"score {own:.2f}" + (
            "" if score.nearest is None else f" · {right:.0%} of the lines in the right voice"
        )
        text = f"{summary}\n{report(found, names)}"
        return io.NodeOutput(own, right, text, ui=tell(cls.hidden, text))
