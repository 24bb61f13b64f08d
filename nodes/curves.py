"""What the editor's player asks of a saved clip: the curves of the synchrony meter, measured when the artist wants them."""

import math

import torch
from aiohttp import web

from ..nava_core.meters.synchrony import RESOLUTION, heard, seen, synchrony
from .aside import Aside
from .clip_file import PATIENCE, ClipFile, read_clip, saved_file
from .routes import read_body

FIGURES = ("f1", "precision", "recall", "lag", "sharpness")
_aside = Aside(
    "nava-curves",
    most=4,
    patience=2 * PATIENCE,
    flooded="too many clips at once",
    late="the clip takes too long to read",
)


@torch.inference_mode()
def describe(clip: ClipFile) -> dict:
    """Both curves, largest value 1, one value per 1 / `per_second`; the events in seconds, their pairs, and the figures.

    missing: "sound" or "picture", or None. Figures that cannot be measured are None, and `notes` says why.
    """
    figures, pairs, notes, missing = dict.fromkeys(FIGURES), [], [], None
    sounds, onsets, pictures, events = [], torch.zeros(0), [], torch.zeros(0)
    steps = math.ceil(clip.seconds * RESOLUTION)
    if clip.waveform is None:
        missing = "sound"
        pictures, events = seen(clip.frames, clip.fps, steps)
    elif clip.frames is None:
        missing = "picture"
        sounds, onsets = heard(clip.waveform, clip.rate, steps)
    else:
        found = synchrony(clip.frames, clip.fps, clip.waveform, clip.rate)
        figures = {name: getattr(found, name) for name in FIGURES}
        sounds, onsets, pictures, events = found.sounds, found.onset_curve, found.pictures, found.event_curve
        pairs, notes = found.pairs, found.notes
    return {
        "seconds": round(clip.seconds, 3),
        "cut": clip.cut,
        "missing": missing,
        "per_second": RESOLUTION,
        "sounds": sounds,
        "pictures": pictures,
        "pairs": pairs,
        **figures,
        "onset_curve": [round(v, 4) for v in onsets.tolist()],
        "event_curve": [round(v, 4) for v in events.tolist()],
        "notes": notes,
    }


async def curves_route(request: web.Request) -> web.Response:
    file = saved_file(await read_body(request))
    try:
        return web.json_response(await _aside(lambda: describe(read_clip(file))))
    except ValueError as error:
        raise web.HTTPUnprocessableEntity(text=str(error)) from None


def register(routes: web.RouteTableDef) -> None:
    routes.post("/nava/curves")(curves_route)
