"""Text -> CONDITIONING: the prompt with its spoken lines, and the negative prompt."""

import logging

import torch
from comfy_api.latest import io

from ..nava_core import prompt as prompts
from ..nava_core.cast import speakers
from .cast import NavaCastType
from .host import SPOKEN_LINES, VOICE_POSITIONS, VOICES
from .routes import remember_tokenizer
from .voice import NavaVoiceType


def spiece_of(clip, node_input: str):
    """The SentencePiece processor inside a umT5 CLIP."""
    tokenizer = getattr(getattr(clip, "tokenizer", None), "clip_umt5xxl", None)
    if tokenizer is None:
        raise ValueError(
            f"{node_input}: this CLIP is not a umT5 text encoder. Use Load NAVA Text Encoder, or Load CLIP with type wan."
        )
    remember_tokenizer(tokenizer.tokenizer)
    return tokenizer.tokenizer.tokenizer


def tokenize(clip, prompt: prompts.Prompt, node_input: str) -> prompts.Tokens:
    """Tokens of a prompt under this CLIP; the host's tokenizer would neither truncate nor leave parentheses alone."""
    return prompts.tokenize_with(spiece_of(clip, node_input), prompt)


def encode(clip, tokens: prompts.Tokens, extra: dict):
    return clip.encode_from_tokens_scheduled({"umt5xxl": [[(i, 1.0) for i in tokens.ids]]}, add_dict=extra)


class NavaTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaTextEncode",
            display_name="NAVA Prompt",
            category="NAVA/conditioning",
            description="Turns the prompt into CONDITIONING. Wrap every spoken line in <S>…<E>; say around it who "
            "speaks, where, and how. Voices bind by order (<S>) or by name (<S:Anna>); <S:-> takes none.",
            search_aliases=["nava prompt", "dialogue", "speech", "text to speech", "lipsync", "lip sync", "talking"],
            inputs=[
                io.Clip.Input("clip", tooltip="umT5-xxl, from Load NAVA Text Encoder or Load CLIP (type wan)."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="One paragraph: subject, scene, motion over time, camera, spoken lines as <S>…<E> (or that "
                    "nobody speaks), then the sounds. Parentheses are plain characters here, not weights. "
                    "Long Chinese captions work best; at most 512 tokens are read.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default=prompts.DEFAULT_NEGATIVE,
                    tooltip="Faults to avoid, of picture and sound. Chinese works best. For sound alone, list only "
                    "audible faults.",
                ),
                io.Autogrow.Input(
                    "voices",
                    optional=True,
                    template=io.Autogrow.TemplatePrefix(
                        NavaVoiceType.Input("voice", optional=True, tooltip="A voice from NAVA Voice."),
                        prefix="voice_",
                        min=0,
                        max=100,  # the host's own limit
                    ),
                    tooltip="Voices that speak the lines, in order or by name.",
                ),
                NavaCastType.Input(
                    "cast",
                    optional=True,
                    tooltip="From NAVA Cast: everybody's look is written where they are first mentioned, and <S:Name> speaks "
                    "with their voice.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive"),
                io.Conditioning.Output("negative", display_name="negative"),
            ],
        )

    @classmethod
    def execute(cls, clip, prompt, negative, voices: io.Autogrow.Type = None, cast=None) -> io.NodeOutput:
        voices = [v for v in (voices or {}).values() if v is not None]
        positive = prompts.parse(prompt if cast is None else cast.with_looks(prompts.clean(prompt)))
        characters = speakers(cast, voices)
        if not positive.text:
            raise prompts.PromptError("NavaTextEncode, prompt: it is empty. Describe the scene and its sounds.")
        if positive.problems:
            raise prompts.PromptError(f"NavaTextEncode, prompt: {'; '.join(positive.problems)}.")
        tokens = tokenize(clip, positive, "NavaTextEncode, clip")
        try:
            binding = prompts.bind_voices(positive, tokens, [v.name for v in voices], [c.name for c in characters])
        except prompts.PromptError as error:
            raise prompts.PromptError(f"NavaTextEncode, prompt: {error}.") from None
        warnings = list(binding.warnings)
        if tokens.full_length > len(tokens.ids):
            warnings.append(f"the prompt has {tokens.full_length} tokens, the model reads the first {len(tokens.ids)}")
        for warning in warnings:
            logging.warning("NavaTextEncode: %s", warning)
        extra = {}
        embeddings = [v and v.embedding for v in (*voices, *(c.voice for c in characters))]
        known = next((e for e in embeddings if e is not None), None)
        if binding.rows and known is not None:
            spoken = [None if i is None else embeddings[i] for i in binding.indices]
            rows = [torch.zeros_like(known) if e is None else e for e in spoken]
            row_of = {position: row for row, position in enumerate(binding.rows)}
            extra = {
                VOICES: torch.stack(rows),
                VOICE_POSITIONS: list(binding.rows),
                SPOKEN_LINES: [row_of.get(position) for position in tokens.positions],
            }
        unwanted = tokenize(clip, prompts.parse(negative), "NavaTextEncode, clip")
        return io.NodeOutput(
            encode(clip, tokens, extra),
            encode(clip, unwanted, {}),
            ui={"text": warnings} if warnings else None,
        )
