"""What the editor asks the server while someone types: tokens and speech of a prompt, sizes of a clip."""

import json
import weakref

import torch
from aiohttp import web

from ..nava_core import prompt as prompts
from ..nava_core.cast import Cast
from ..nava_core.config import NavaConfig
from ..nava_core.dialogue import compose
from ..nava_core.estimate import estimated_tokens
from ..nava_core.phrases import PHRASES
from ..nava_core.sizes import FPS, MAX_SECONDS, STEP, TRAINED_SECONDS, ClipLength, check_side, far_from_trained
from ..nava_core.storyboard import StoryboardError
from ..nava_core.storyboard import parse as parse_board
from ..nava_core.voice import Voice
from .aside import Aside
from .cast import NO_FILE, cast_files, read_cast

MAX_BODY = 64 * 1024
MAX_NAMES = 100
MOST_SHOTS = 100  # of a storyboard that are drawn
MOST_WAITING = 8  # questions about prompts at a time; more are refused
PATIENCE = 2.0  # seconds that an answer may take
_aside = Aside("nava-prompt", MOST_WAITING, PATIENCE, "too many prompts at once", "this prompt takes too long to read")

# The tokenizer of the text encoder that was last used; it lives as long as that encoder does.
_tokenizer = lambda: None  # noqa: E731


def remember_tokenizer(tokenizer) -> None:
    """Let the editor count with this tokenizer (the host's SPieceTokenizer)."""
    global _tokenizer
    _tokenizer = weakref.ref(tokenizer)


def describe_prompt(text: str, voices: list[str], cast: Cast | None = None) -> dict:
    """Spoken spans, their voices, problems and length of a prompt, with the looks of its cast in it."""
    prompt = prompts.parse(text if cast is None else cast.with_looks(prompts.clean(text)))
    characters = [c for c in (cast.characters if cast else ()) if c.name.casefold() not in map(str.casefold, voices)]
    tokenizer = _tokenizer()
    if tokenizer is not None:
        tokens = prompts.tokenize_with(tokenizer.tokenizer, prompt)
    else:
        tokens = prompts.tokenize(prompt, lambda t: [0] * estimated_tokens(t), 0)
    problems, warnings, speakers = list(prompt.problems), [], {}
    try:
        binding = prompts.bind_voices(prompt, tokens, voices, [c.name for c in characters])
        warnings = list(binding.warnings)
        speakers = dict(zip(binding.rows, binding.indices, strict=True))
    except prompts.PromptError as error:
        problems.append(str(error))
    if tokens.full_length > prompts.TOKEN_LIMIT:
        warnings.append(f"{tokens.full_length} tokens, the model reads the first {prompts.TOKEN_LIMIT}")
    lines = [
        {"name": name, "voice": speakers.get(row), "lost": row is None, "words": words}
        for name, row, words in zip(prompt.names, tokens.positions, prompt.spoken, strict=True)
    ]
    hints = [
        f"“{prompts.short(words)}” stands in quotation marks: if somebody says it, wrap it in <S>…<E>"
        for words in prompts.unmarked_speech(prompt)
    ]
    return {
        "prompt": text,
        "tokens": tokens.full_length,
        "exact": tokenizer is not None,
        "limit": prompts.TOKEN_LIMIT,
        "lines": lines,
        "characters": [{"name": c.name, "look": c.look, "colour": c.colour} for c in characters],
        "problems": problems,
        "warnings": warnings,
        "hints": prompts.few(hints),
    }


def describe_board(text: str, seconds: float, voices: list[str], cast: Cast | None = None) -> dict:
    """The shots of a storyboard: how long each lasts, whether it goes on, and its prompt as `describe_prompt` has it.

    seconds: of shots that do not say their own. Lines are numbered through all shots, as they stand in the text.
    """
    try:
        board = parse_board(text, ClipLength.nearest(seconds * FPS).seconds)
    except StoryboardError as error:
        return {"shots": [], "seconds": 0, "lines": [], "characters": [], "problems": [str(error)]}
    shots, lines, characters, problems = [], [], [], []
    for number, shot in enumerate(board[:MOST_SHOTS], 1):
        report = describe_prompt(shot.prompt, voices, cast)
        # a voice that is silent in one shot may speak in another
        told = [*report["problems"], *(w for w in report["warnings"] if not w.startswith("no spoken line uses"))]
        problems += [f"shot {number}: {problem}" for problem in told]
        shots.append(
            {
                "seconds": round(shot.lasts, 3),
                "goes_on": shot.goes_on,
                "rows": list(shot.rows),
                "lines": report["lines"],
            }
        )
        lines += report["lines"]
        characters = report["characters"]
    total = round(sum(shot.lasts for shot in board), 2)
    return {
        "shots": shots,
        "seconds": total,
        "lines": lines,
        "characters": characters,
        "problems": prompts.few(problems),
    }


def describe_size(mode: str, width: int, height: int, seconds: float, batch_size: int = 1) -> dict:
    """Length in all units, and the memory of one pass of the released model in bf16."""
    length = ClipLength.nearest(seconds * FPS)
    tokens, problems, hints = length.audio_steps if "audio" in mode else 0, [], []
    if mode != "audio":
        for pixels, name in ((width, "width"), (height, "height")):
            try:
                check_side(pixels, name)
            except ValueError as error:
                problems.append(str(error))
        tokens += length.latent_frames * (width // STEP) * (height // STEP)
        if far_from_trained(width, height):
            hints.append("far from the sizes that the model was trained on: expect a worse picture")
    if length.seconds > TRAINED_SECONDS:
        problems.append(f"longer than the {TRAINED_SECONDS:g} s that the model was trained on")
    gigabytes = NavaConfig().activation_values(tokens, batch_size) * 2 / 1e9
    return {
        "frames": length.frames,
        "seconds": round(length.seconds, 2),
        "audio_steps": length.audio_steps,
        "gigabytes": round(gigabytes, 3),
        "memory": f"{gigabytes:.1f} GB" if gigabytes >= 0.95 else f"{max(1, round(gigabytes * 1000))} MB",
        "problems": problems,
        "hints": hints,
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
    except (ValueError, RecursionError):
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


def answer_prompt(body: dict) -> dict:
    text, voices, problem = body.get("prompt"), body.get("voices", []), None
    if "dialogue" in body:
        text, problem = composed(body["dialogue"])
    if not isinstance(text, str):
        raise web.HTTPBadRequest(text="prompt must be a text")
    check_names(voices)
    cast, unusable = cast_of(body.get("cast"))
    report = describe_prompt(text, voices, cast)
    if unusable is not None:
        report["problems"] = [unusable]
    if problem is not None:
        # There is no prompt to count as long as the script cannot be read.
        report |= {"problems": [problem], "warnings": [], "tokens": None}
    return report


def answer_board(body: dict) -> dict:
    shots, voices = body.get("shots"), body.get("voices", [])
    if not isinstance(shots, str):
        raise web.HTTPBadRequest(text="shots must be a text")
    check_names(voices)
    cast, unusable = cast_of(body.get("cast"))
    report = describe_board(shots, number(body, "seconds", 0.01, MAX_SECONDS), voices, cast)
    if unusable is not None:
        report["problems"] = [unusable]
    return report


def check_names(voices) -> None:
    if not isinstance(voices, list) or len(voices) > MAX_NAMES or not all(isinstance(v, str) for v in voices):
        raise web.HTTPBadRequest(text=f"voices must be a list of at most {MAX_NAMES} names")


def cast_of(body) -> tuple[Cast | None, str | None]:
    """The cast that NavaCast would make, and why it cannot."""
    if body is None:
        return None, None
    rows, file, names = (
        (body.get(k) for k in ("characters", "file", "voices")) if isinstance(body, dict) else [None] * 3
    )
    named = isinstance(names, list) and len(names) <= MAX_NAMES and all(isinstance(n, str) for n in names)
    if not isinstance(rows, str) or not isinstance(file, str) or not named:
        raise web.HTTPBadRequest(text="cast must have the texts characters and file, and voices, a list of names")
    if file != NO_FILE and file not in cast_files():
        return None, f"there is no saved cast {prompts.short(file)}: choose another file in NAVA Cast"
    try:
        return read_cast(rows, file, [Voice(name, torch.zeros(0)) for name in names]), None
    except ValueError as error:
        return None, str(error)


async def prompt_route(request: web.Request) -> web.Response:
    return web.json_response(await _aside(answer_prompt, await read_body(request)))


async def board_route(request: web.Request) -> web.Response:
    return web.json_response(await _aside(answer_board, await read_body(request)))


async def phrases_route(request: web.Request) -> web.Response:
    return web.json_response(PHRASES)


async def size_route(request: web.Request) -> web.Response:
    body = await read_body(request)
    if body.get("mode") not in ("audio + video", "video", "audio"):
        raise web.HTTPBadRequest(text="mode must be audio + video, video or audio")
    width, height = (int(number(body, name, 1, 16384)) for name in ("width", "height"))
    batch = int(number(body, "batch_size", 1, 4096)) if "batch_size" in body else 1
    return web.json_response(describe_size(body["mode"], width, height, number(body, "seconds", 0, MAX_SECONDS), batch))


def register(routes: web.RouteTableDef) -> None:
    routes.post("/nava/prompt")(prompt_route)
    routes.post("/nava/size")(size_route)
    routes.post("/nava/storyboard")(board_route)
    routes.get("/nava/phrases")(phrases_route)
