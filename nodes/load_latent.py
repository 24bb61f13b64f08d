"""A kept latent, taken up again."""

from pathlib import Path

import folder_paths
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io

from ..nava_core.latent_file import StoredLatent, load_latent
from .load import naming
from .masks import KEEPS_FIRST_FRAME
from .save_latent import ENDING, described

IN_OUTPUT = " [output]"  # the host's mark of a file that lies in the output folder


def restored(file: StoredLatent) -> dict:
    """The LATENT that was kept."""
    parts = [p for p in (file.picture, file.sound) if p is not None]
    samples = parts[0] if file.sound is None else NestedTensor(parts)
    if file.notes.get("keeps_first_frame"):
        setattr(samples, KEEPS_FIRST_FRAME, True)
    more = file.notes.get("more")
    latent = {k: tuple(v) if isinstance(v, list) else v for k, v in more.items()} if isinstance(more, dict) else {}
    latent["samples"] = samples
    if file.masks:
        latent["noise_mask"] = file.masks[0] if file.sound is None or len(file.masks) == 1 else NestedTensor(file.masks)
    return latent


def latent_files() -> list[str]:
    """Files in the input folder, and those that were saved, by the host's names."""
    found = []
    for folder, mark in ((folder_paths.get_input_directory(), ""), (folder_paths.get_output_directory(), IN_OUTPUT)):
        names, _ = folder_paths.recursive_search(folder, excluded_dir_names=[".git"])
        found += [
            name.replace("\\", "/") + mark for name in sorted(folder_paths.filter_files_extensions(names, [ENDING]))
        ]
    return found


class NavaLoadLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaLoadLatent",
            display_name="NAVA Load Latent",
            category="NAVA/latent",
            description="Takes up a clip that NAVA Save Latent has kept: picture, sound, and what was held. Files of ComfyUI's own Save "
            "Latent are read too.",
            search_aliases=["load latent", "import latent", "open latent"],
            inputs=[io.Combo.Input("latent", options=latent_files(), tooltip="A .latent file in the input folder, or a saved one in the output folder. Press R for new ones.")],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="For NAVA Decode, NAVA Extend, NAVA Hold or a sampler.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, latent):
        if latent in latent_files():
            return True
        return f"NavaLoadLatent, latent: there is no file {latent!r}. Put it into the input folder, press R, and choose it again."

    @classmethod
    def fingerprint_inputs(cls, latent):
        there = folder_paths.exists_annotated_filepath(latent)
        return Path(folder_paths.get_annotated_filepath(latent)).stat().st_mtime_ns if there else 0

    @classmethod
    def execute(cls, latent) -> io.NodeOutput:
        with naming("NavaLoadLatent, latent"):
            file = load_latent(Path(folder_paths.get_annotated_filepath(latent)))
        return io.NodeOutput(restored(file), ui={"text": [described(file)]})
