"""What of a LATENT sampling shall keep."""

import torch
from comfy_api.latest import io

from ..nava_core.spans import clip_seconds, frames_within, parse_spans, steps_within
from .formats import masks_of, streams_of, with_streams
from .graph import tell
from .masks import WAYS, hold_value

KEEP = SOUND, PICTURE, BOTH = ("sound", "picture", "both")


class NavaHold(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaHold",
            display_name="NAVA Hold",
            category="NAVA/latent",
            description="Keeps the sound or the picture of a LATENT, or spans of them, while the rest is made to fit. What is "
            "held to the end comes back exactly. Several can follow each other.",
            search_aliases=["keep", "inpaint", "noise mask", "sound to video", "foley", "dub"],
            inputs=[
                io.Latent.Input("latent", tooltip="The clip with what shall be kept in it: from NAVA Sound to Latent, NAVA Video to Latent or a sampler."),
                io.Combo.Input("keep", options=list(KEEP), default=SOUND, tooltip="What is kept: the sound, the picture, or both."),
                io.String.Input("spans", default="", tooltip="Seconds to keep, such as 0-2, 5.5-7, or 4- for all from there on. Empty keeps the whole. The picture is kept in groups of four frames that lie in a span entirely."),
                io.Combo.Input("way", options=list(WAYS), default=WAYS[0], tooltip="soft (recommended): at every step the kept part gets as much noise as the rest, as in training. hard (experimental): the model is told that the kept part has no noise."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="For how much of sampling it is held. 1: to the end, so that it comes back exactly. Less: the last steps may change it. 0: not at all."),
            ],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="For the sampler; what is held is in the noise mask.")],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, latent, keep, spans, way, strength) -> io.NodeOutput:
        chosen = [name for name in (PICTURE, SOUND) if keep in (name, BOTH)]
        held, told = hold(latent, dict.fromkeys(chosen, spans), way, strength, "NavaHold")
        return io.NodeOutput(held, ui=tell(cls.hidden, told))


def hold(latent: dict, spans: dict[str, str], way: str, strength: float, node: str) -> tuple[dict, str]:
    """The LATENT with a hold on its "picture" or "sound" in spans (see `parse_spans`), and a sentence that says what is held."""
    streams = dict(zip((PICTURE, SOUND), streams_of(latent), strict=True))
    picture, sound = streams.values()
    seconds = clip_seconds(None if picture is None else picture.shape[2], 0 if sound is None else sound.shape[2])
    masks = dict(zip((PICTURE, SOUND), masks_of(latent), strict=True))
    told = []
    for name, text in spans.items():
        stream = streams[name]
        if stream is None:
            raise ValueError(f"{node}, keep: the latent has no {name}. Set keep to what it has.")
        try:
            ranges = parse_spans(text, seconds)
        except ValueError as error:
            raise ValueError(f"{node}, spans: {error}.") from None
        if name == PICTURE:
            index = frames_within(ranges, stream.shape[2])
        else:
            index = steps_within(ranges, stream.shape[2], seconds)
        if not index:
            raise ValueError(f"{node}, spans: {text} is shorter than a group of four frames. Make it longer.")
        if strength > 0:
            hold_part(masks[name], stream, index, hold_value(way, strength), name, node)
        told.append(f"{name} {', '.join(f'{a:.2f}-{b:.2f} s' for a, b in ranges)} ({len(index)} of {stream.shape[2]})")
    if strength <= 0:
        return latent, "nothing is held: strength is 0"
    out = with_streams(latent, picture, sound, masks[PICTURE], masks[SOUND])
    out["samples"] = latent["samples"]  # the very same: only the mask is new
    return out, "held: " + "; ".join(told)


def hold_part(mask: torch.Tensor, stream: torch.Tensor, index: list[int], value: float, name: str, node: str) -> None:
    """Write a hold value into a stream's mask, in place. Refuses to hold what is empty, or held in another way."""
    if not torch.count_nonzero(stream[:, :, index]):
        wanted = "NAVA Sound to Latent" if name == SOUND else "NAVA Video to Latent"
        raise ValueError(f"{node}, latent: the {name} that shall be kept is empty. Put one in with {wanted}.")
    before = mask[:, :, index]
    same = (before - value).abs() < 1e-6
    free = before == 1
    if name == PICTURE and index[0] == 0:
        free[:, :, 0] |= before[:, :, 0] == 0  # a first frame that is clean already, as the model was trained
    if not bool((free | same).all()):
        raise ValueError(
            f"{node}, spans: a part of the {name} is held or masked already, in another way. Holds must not overlap: "
            "give this one other spans."
        )
    kept = before == 0
    mask[:, :, index] = torch.where(kept, before, torch.full_like(before, value))
