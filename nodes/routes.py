"""What the editor asks the server while someone types: tokens and speech of a prompt, sizes of a clip."""

import json
import weakref

from aiohttp import web

from ..nava_core import prompt as prompts
from ..nava_core.config import NavaConfig
from ..nava_core.dialogue import compose
from ..nava_core.sizes import FPS, MAX_SECONDS, STEP, TRAINED_SECONDS, ClipLength, check_side

MAX_BODY = 64 * 1024
MAX_NAMES = 64
CHARACTERS_PER_TOKEN = 1.6  # of the mixed Chinese and English text in use; only for the estimate

# The tokenizer of the text encoder that was last used; it lives as long as that encoder does.
_tokenizer = lambda: None  # noqa: E731


def remember_tokenizer(tokenizer) -> None:
    """Let the editor count with this tokenizer (the host's SPieceTokenizer)."""
    global _tokenizer
    _tokenizer = weakref.ref(tokenizer)


def describe_prompt(text: str, voices: list[str]) -> dict:
    """Spoken spans, their voices, problems and length of a prompt."""
    prompt = prompts.parse(text)
    tokenizer = _tokenizer()
    if tokenizer is not None:
        tokens = prompts.tokenize_with(tokenizer.tokenizer, prompt)
    else:
        tokens = prompts.tokenize(prompt, lambda t: [0] * round(len(t) / CHARACTERS_PER_TOKEN), 0)
    problems, warnings, speakers = list(prompt.problems), [], {}
    try:
        binding = prompts.bind_voices(prompt, tokens, voices)
        warnings = list(binding.warnings)
        speakers = dict(zip(binding.rows, binding.indices, strict=True))
    except prompts.PromptError as error:
        problems.append(str(error))
    if tokens.full_length > prompts.TOKEN_LIMIT:
        warnings.append(f"{tokens.full_length} tokens, the model reads the first {prompts.TOKEN_LIMIT}")
    lines = [
        {"name": name, "voice": speakers.get(row), "lost": row is None}
        for name, row in zip(prompt.names, tokens.positions, strict=True)
    ]
    return {
        "prompt": text,
        "tokens": tokens.full_length,
        "exact": tokenizer is not None,
        "limit": prompts.TOKEN_LIMIT,
        "lines": lines,
        "problems": problems,
        "warnings": warnings,
    }


def describe_size(mode: str, width: int, height: int, seconds: float) -> dict:
    """Length in all units, and the memory of one pass of the released model in bf16."""
    length = ClipLength.nearest(seconds * FPS)
    tokens, problems = length.audio_steps if "audio" in mode else 0, []
    if mode != "audio":
        for pixels, name in ((width, "width"), (height, "height")):
            try:
                check_side(pixels, name)
            except ValueError as error:
                problems.append(str(error))
        tokens += length.latent_frames * (width // STEP) * (height // STEP)
    if length.seconds > TRAINED_SECONDS:
        problems.append(f"longer than the {TRAINED_SECONDS:g} s that the model was trained on")
    return {
        "frames": length.frames,
        "seconds": round(length.seconds, 2),
        "audio_steps": length.audio_steps,
        "gigabytes": round(NavaConfig().activation_values(tokens) * 2 / 1e9, 1),
        "problems": problems,
    }


async def read_body(request: web.Request) -> dict:
    """The JSON object of a request; refuses large and malformed bodies."""
    if (request.content_length or 0) > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=request.content_length)
    data = await request.content.read(MAX_BODY + 1)
    while len(data) <= MAX_BODY and (more := await request.content.read(MAX_BODY + 1 - len(data))):
        data += more
    if len(data) > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=len(data))
    try:
        body = json.loads(data)
    except ValueError:
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    return body


def number(body: dict, name: str, low: float, high: float) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise web.HTTPBadRequest(text=f"{name} must be a number from {low} to {high}")
    return value


def composed(dialogue) -> tuple[str, str | None]:
    """The prompt that NavaDialogue would write, and why it cannot."""
    parts = [dialogue.get(k) for k in ("scene", "script", "sounds")] if isinstance(dialogue, dict) else [None]
    if not all(isinstance(p, str) for p in parts):
        raise web.HTTPBadRequest(text="dialogue must have the texts scene, script and sounds")
    try:
        return compose(*parts, by_name=bool(dialogue.get("voices_by_name", True))), None
    except prompts.PromptError as error:
        return "", str(error)


async def prompt_route(request: web.Request) -> web.Response:
    body = await read_body(request)
    text, voices, problem = body.get("prompt"), body.get("voices", []), None
    if "dialogue" in body:
        text, problem = composed(body["dialogue"])
    if not isinstance(text, str):
        raise web.HTTPBadRequest(text="prompt must be a text")
    if not isinstance(voices, list) or len(voices) > MAX_NAMES or not all(isinstance(v, str) for v in voices):
        raise web.HTTPBadRequest(text=f"voices must be a list of at most {MAX_NAMES} names")
    report = describe_prompt(text, voices)
    if problem is not None:
        report["problems"].insert(0, problem)
    return web.json_response(report)


async def size_route(request: web.Request) -> web.Response:
    body = await read_body(request)
    if body.get("mode") not in ("audio + video", "video", "audio"):
        raise web.HTTPBadRequest(text="mode must be audio + video, video or audio")
    width, height = (int(number(body, name, 1, 16384)) for name in ("width", "height"))
    return web.json_response(describe_size(body["mode"], width, height, number(body, "seconds", 0, MAX_SECONDS)))


def register(routes: web.RouteTableDef) -> None:
    routes.post("/nava/prompt")(prompt_route)
    routes.post("/nava/size")(size_route)
