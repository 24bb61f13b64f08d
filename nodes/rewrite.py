"""An idea -> a prompt in the form that NAVA was trained on, by a language model of the host's."""

import logging

import comfy.utils
from comfy_api.latest import io

from ..nava_core import silence
from ..nava_core.additions import additions
from ..nava_core.estimate import estimated_tokens
from ..nava_core.instruction import LENGTHS, instruction
from ..nava_core.prompt import TOKEN_LIMIT, PromptError, parse, tokenize, tokenize_with
from ..nava_core.rewrite import TRIES, RewriteError, check_source, rewrite
from .checks import pictures_of
from .text import spiece_of

LANGUAGES = ("Chinese", "English", "as written")
SEEDS = 2**64
SAMPLING = {
    "top_k": 20,
    "top_p": 0.75,
    "min_p": 0.0,
    "repetition_penalty": 1.05,
    "presence_penalty": 0.0,
}  # as released
LONGEST_SIDE = 768  # pixels of a picture that the language model sees: a few hundred tokens
THINKING = 4  # times as many tokens with thinking
ESTIMATED_LIMIT = round(0.85 * TOKEN_LIMIT)  # where tokens are only estimated
LAZY = ("clip", "image", "text_encoder")


def shrunk(image):
    """The first picture `[1, H, W, 3]`, its longer side at most LONGEST_SIDE."""
    image = pictures_of(image, "NavaRewrite, image")[:1]
    height, width = image.shape[1:3]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale == 1.0:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return comfy.utils.common_upscale(image.movedim(-1, 1), *size, "area", "disabled").movedim(1, -1)


def writer_of(clip, image, most_tokens: int, temperature: float, thinking: bool):
    """answer(text, seed) -> what the language model writes, as the host's Generate Text node asks it."""

    def answer(text: str, seed: int) -> str:
        # "embedding:" is a command to the host's tokenizers
        text = text.replace("embedding:", "embedding ")
        try:
            tokens = clip.tokenize(text, image=image, skip_template=False, min_length=1, thinking=thinking)
            rows = [row for rows in tokens.values() for row in rows]
            if image is not None and not any(isinstance(token[0], dict) for row in rows for token in row):
                raise ValueError(
                    "NavaRewrite, image: this language model cannot see. Load one that can (Qwen3-VL, Gemma 3 or 4), or "
                    "disconnect the picture."
                )
            ids = clip.generate(
                tokens,
                do_sample=temperature > 0,
                max_length=most_tokens,
                temperature=temperature,
                seed=seed,
                **SAMPLING,
            )
        except (AttributeError, TypeError) as error:
            raise ValueError(
                "NavaRewrite, clip: this text encoder cannot write. Load a language model with Load CLIP, for example "
                f"Qwen3-4B with type flux2 ({error})."
            ) from error
        return clip.decode(ids)

    return answer


class NavaRewrite(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaRewrite",
            display_name="NAVA Rewrite",
            category="NAVA/conditioning",
            description="Writes an idea out in the form that NAVA was trained on, with a language model from Load CLIP. "
            "Spoken lines stay letter for letter. Without a language model the prompt passes through unchanged.",
            search_aliases=["prompt enhance", "prompt rewriter", "LLM", "caption", "captioner", "qwen", "expand"],
            inputs=[
                io.String.Input("prompt", multiline=True, default="", tooltip="The idea, in any language; spoken lines as <S>…<E>. May stay empty when a picture is connected: then the picture is described."),
                io.Combo.Input("length", options=list(LENGTHS), default="short", tooltip="short: what the action needs, 180 to 420 characters. long: filled in with details."),
                io.Combo.Input("language", options=list(LANGUAGES), default="Chinese", tooltip="Of the result. NAVA knows Chinese best. Spoken lines keep their own."),
                io.Int.Input("seed", default=0, min=0, max=SEEDS - 1, control_after_generate=io.ControlAfterGenerate.fixed, tooltip="The same seed gives the same text. Another one tries again."),
                io.Float.Input("temperature", default=0.3, min=0.0, max=2.0, step=0.05, advanced=True, tooltip="How freely it writes; 0 always takes the likeliest word."),
                io.Int.Input("max_tokens", default=1024, min=16, max=8192, advanced=True, tooltip="How much the language model may write."),
                io.Boolean.Input("thinking", default=False, advanced=True, tooltip="Let a model that can think do so first: slower, four times max_tokens. The thinking is cut off."),
                io.String.Input("kept", multiline=True, default="", tooltip="What stands here goes out as it is, and nothing is rewritten. Keep a good result here, so that queueing again does not change it."),
                io.Clip.Input("clip", optional=True, lazy=True, tooltip="A language model from Load CLIP, for example Qwen3-4B (type flux2), or Qwen3-VL-4B to see pictures. Not NAVA's text encoder."),
                io.Image.Input("image", optional=True, lazy=True, tooltip="The first picture of the clip; the language model must be able to see."),
                io.Clip.Input("text_encoder", optional=True, lazy=True, tooltip="NAVA's umT5: with it the limit of 512 tokens is counted exactly, else estimated."),
            ],
            outputs=[io.String.Output("prompt", display_name="prompt", tooltip="For the prompt of NAVA Prompt.")],
        )  # fmt: skip

    @classmethod
    def check_lazy_status(cls, prompt, kept="", **inputs):
        if kept.strip():
            return []
        cls.check(prompt)  # before a language model is loaded for it
        return [name for name in LAZY if name in inputs and inputs[name] is None]

    @classmethod
    def check(cls, prompt: str) -> None:
        try:
            check_source(prompt)
        except RewriteError as error:
            raise PromptError(f"NavaRewrite, prompt: {error}.") from None

    @classmethod
    def execute(
        cls, prompt, length, language, seed, temperature, max_tokens, thinking, kept, clip=None, image=None,
        text_encoder=None,
    ) -> io.NodeOutput:  # fmt: skip
        if kept.strip():
            return cls.result(prompt, kept, True, [])
        cls.check(prompt)
        if clip is None:
            return cls.result(prompt, prompt, False, ["no language model is connected: the prompt was left as it is"])
        if not prompt.strip() and image is None:
            raise PromptError("NavaRewrite, prompt: it is empty. Write an idea, or connect a picture to be described.")
        in_chinese = language == "Chinese" or (language == "as written" and silence.chinese(prompt))
        picture = None if image is None else shrunk(image)
        told = instruction(in_chinese, length, picture is not None, bool(prompt.strip()))
        heading = "用户的想法：" if in_chinese else "The user's idea:"
        question = f"{told}\n\n{heading}\n{prompt}" if prompt.strip() else told
        write = writer_of(clip, picture, max_tokens * (THINKING if thinking else 1), temperature, thinking)
        tries = TRIES if temperature > 0 else 1  # it would write the same again
        count, limit = counter(text_encoder)
        found = rewrite(prompt, lambda n: write(question, (seed + n) % SEEDS), in_chinese, count, limit, tries)
        if not found.text.strip():
            raise PromptError(
                "NavaRewrite, image: the language model wrote nothing usable about the picture. Take another seed, or write an idea."
            )
        for note in found.notes:
            logging.warning("NavaRewrite: %s", note)
        return cls.result(prompt, found.text, found.rewritten, list(found.notes), warn=True)

    @classmethod
    def result(cls, source: str, text: str, rewritten: bool, notes: list[str], warn: bool = False) -> io.NodeOutput:
        pieces = additions(source, text)
        shown = {"prompt": text, "source": source, "rewritten": rewritten, "notes": notes, "pieces": pieces}
        return io.NodeOutput(text, ui={"nava_rewrite": [shown]} | ({"text": notes} if warn and notes else {}))


def counter(text_encoder):
    """(tokens of a prompt with the end token, limit): exact with NAVA's text encoder, else estimated with a margin."""
    if text_encoder is None:
        return lambda text: tokenize(parse(text), lambda t: [0] * estimated_tokens(t), 0).full_length, ESTIMATED_LIMIT
    spiece = spiece_of(text_encoder, "NavaRewrite, text_encoder")
    return lambda text: tokenize_with(spiece, parse(text)).full_length, TOKEN_LIMIT
