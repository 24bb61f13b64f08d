"""A finished latent, picture and sound together, kept in a file."""

import json
import logging
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io

from ..nava_core.files import WriteError
from ..nava_core.latent_file import StoredLatent, save_latent
from ..nava_core.sizes import AUDIO_RATE, ClipLength
from .formats import streams_of
from .masks import KEEPS_FIRST_FRAME

ENDING = ".latent"  # as ComfyUI's own files have it
SEEDS = ("noise_seed", "seed")


def stored(latent: dict, seeds: list[int]) -> tuple[StoredLatent, list[str]]:
    """(what a file keeps of a LATENT, names of what it does not keep)."""
    picture, sound = streams_of(latent)
    mask = latent.get("noise_mask")
    masks = [] if mask is None else list(mask.unbind()) if mask.is_nested else [mask]
    notes = {"seeds": seeds, "keeps_first_frame": bool(getattr(latent["samples"], KEEPS_FIRST_FRAME, False))}
    kept, left_out = {}, []
    for name, value in latent.items():
        if name in ("samples", "noise_mask"):
            continue
        try:
            kept[name] = json.loads(json.dumps(value))
        except (TypeError, ValueError):
            left_out.append(str(name))
    return StoredLatent(picture, sound, masks, {**notes, "more": kept}), left_out


def described(file: StoredLatent) -> str:
    """What is in it, for the node."""
    found = []
    if file.picture is not None:
        batch, _, frames, rows, columns = file.picture.shape
        found.append(
            f"picture {columns * 16}×{rows * 16}, {ClipLength(frames).frames} frames"
            + (f", batch of {batch}" if batch > 1 else "")
        )
    if file.sound is not None:
        found.append(f"sound {file.sound.shape[2] / AUDIO_RATE:.2f} s")
    if file.masks:
        found.append("with its noise mask")
    if file.notes.get("seeds"):
        found.append("seed " + ", ".join(map(str, file.notes["seeds"])))
    return "; ".join(found)


def seeds_of(prompt: dict | None) -> list[int]:
    """Every seed of the graph, once."""
    found = [node.get("inputs", {}).get(name) for node in (prompt or {}).values() for name in SEEDS]
    return list(dict.fromkeys(seed for seed in found if type(seed) is int))


class NavaSaveLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaSaveLatent",
            display_name="NAVA Save Latent",
            category="NAVA/latent",
            description="Keeps a clip as latent, picture and sound together, with what was held and the seed: decode it, extend it or make "
            "a part of it anew later, without sampling again. ComfyUI's own Save Latent takes the picture alone.",
            search_aliases=["save latent", "export latent", "keep latent"],
            is_output_node=True,
            inputs=[
                io.Latent.Input("latent", tooltip="Picture and sound, or one of them: from a sampler, or before it."),
                io.String.Input("filename_prefix", default="latents/NAVA", tooltip="Where in the output folder, and how the file's name begins. A number is added: nothing is overwritten."),
            ],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="The same latent.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )  # fmt: skip

    @classmethod
    def execute(cls, latent, filename_prefix) -> io.NodeOutput:
        file, left_out = stored(latent, seeds_of(cls.hidden.prompt))
        header = {}
        if not args.disable_metadata and cls.hidden.prompt is not None:
            header = {"prompt": json.dumps(cls.hidden.prompt)}
            header |= {k: json.dumps(v) for k, v in (cls.hidden.extra_pnginfo or {}).items()}
        output = folder_paths.get_output_directory()
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, output)
        while (path := Path(folder) / f"{name}_{counter:05}_{ENDING}").exists():
            counter += 1
        try:
            save_latent(file, path, header)
        except WriteError as error:
            raise RuntimeError(f"NavaSaveLatent, filename_prefix: {error}.") from None
        said = [f"{Path(subfolder) / path.name}: {described(file)}"]
        if left_out:
            said.append(f"not kept: {', '.join(left_out)}, which another node has put into the latent")
            logging.warning("NavaSaveLatent: %s", said[-1])
        saved = {"filename": path.name, "subfolder": subfolder, "type": "output"}
        return io.NodeOutput(latent, ui={"text": said, "latents": [saved]})
