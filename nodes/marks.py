"""What of a finished clip was held, and where it goes on: for the editor's player."""

from ..nava_core.sizes import AUDIO_RATE
from ..nava_core.spans import frame_span, runs
from .extend import OVERLAP, seams_of
from .formats import masks_of, streams_of

MARKS = "nava_marks"  # among what a node tells the editor


def marks_of(latent: dict, before: dict | None = None) -> dict:
    """{"held": [{"of", "from", "to"}], "seams": [{"at", "cut"}]}, in seconds of the whole clip.

    held: where nothing of a stream is made anew by its noise mask, for whatever part of sampling. before: as NavaDecode has it.
    """
    held, offsets = [], (0, 0)
    if before is not None:
        offsets = [
            0 if past is None else past.shape[2] - repeated
            for past, repeated in zip(streams_of(before), before[OVERLAP], strict=True)
        ]
    for of, mask, offset in zip(("picture", "sound"), masks_of(latent), offsets, strict=True):
        kept = [] if mask is None else (mask.transpose(0, 2).flatten(1) <= 0).all(1).tolist()
        for first, last in runs(kept):
            if of == "picture":
                start, end = frame_span(offset + first)[0], frame_span(offset + last)[1]
            else:
                start, end = (offset + first) / AUDIO_RATE, (offset + last + 1) / AUDIO_RATE
            held.append({"of": of, "from": round(start, 3), "to": round(end, 3)})
    return {"held": held, "seams": [{"at": round(at, 3), "cut": False} for at in seams_of(before)]}
