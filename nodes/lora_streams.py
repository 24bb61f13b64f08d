"""A LoRA with a strength of its own for picture, for sound, and for what both share."""

from pathlib import Path

import comfy.lora
import comfy.lora_convert
import folder_paths
from comfy_api.latest import io

from ..nava_core.lora_file import left_out, metadata_beside, spelled
from ..nava_core.streams import STREAMS, stream_of
from .host import require_nava
from .load import is_there, naming, read_weights

PREFIX = "diffusion_model."


def add_lora(model, weights: dict, strengths: dict[str, float], name: str, metadata: dict | None = None):
    """(a clone of the ModelPatcher with the LoRA's layers added, each at the strength of its stream; what was left out, or None).

    metadata: of the file, where trainers may keep alpha. Raises ValueError when no layer of the file belongs to the model.
    """
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    weights = comfy.lora_convert.convert_lora(spelled(weights, metadata or {}, f"NavaLoraLoader, lora_name: {name}"))
    patches = comfy.lora.load_lora(weights, names)
    if not patches:
        raise ValueError(
            f"NavaLoraLoader, lora_name: no layer of {name} belongs to NAVA. It was trained for another model, or is no LoRA."
        )
    patched = model.clone()
    for stream in STREAMS:
        own = {k: p for k, p in patches.items() if stream_of(path_of(k)) == stream}
        if own and strengths[stream]:
            patched.add_patches(own, strengths[stream])
    return patched, left_out(weights, names, name)


def path_of(key) -> str:
    """The weight's unprefixed name; the host's keys are names, or (name, part of it)."""
    return (key if isinstance(key, str) else key[0]).removeprefix(PREFIX)


class NavaLoraLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def strength(name: str, tooltip: str) -> io.Float.Input:
            return io.Float.Input(name, default=1.0, min=-10.0, max=10.0, step=0.05, tooltip=tooltip)

        return io.Schema(
            node_id="NavaLoraLoader",
            display_name="Load NAVA LoRA (Picture, Sound)",
            category="NAVA/loaders",
            description="Adds a LoRA with one strength for the picture and another for the sound. Picture and "
            "sound still influence each other. With all three strengths equal it does what Load LoRA does.",
            search_aliases=["lora", "lora strength", "sound lora", "picture lora"],
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model."),
                io.Combo.Input(
                    "lora_name",
                    options=folder_paths.get_filename_list("loras"),
                    tooltip="A LoRA for NAVA in models/loras.",
                ),
                strength("strength_picture", "For the layers that only the picture passes through."),
                strength("strength_sound", "For the layers that only the sound passes through."),
                strength(
                    "strength_shared",
                    "For the layers that both pass through: a large part of the model. 0 leaves out "
                    "much of what the LoRA learned.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="For NAVA Guider or any sampler; LoRAs can be chained.")],
        )

    @classmethod
    def validate_inputs(cls, lora_name):
        return is_there("NavaLoraLoader, lora_name", "loras", lora_name)

    @classmethod
    def execute(cls, model, lora_name, strength_picture, strength_sound, strength_shared) -> io.NodeOutput:
        require_nava(model, "NavaLoraLoader, model")
        strengths = dict(zip(STREAMS, (strength_picture, strength_sound, strength_shared), strict=True))
        if not any(strengths.values()):
            return io.NodeOutput(model)
        path = folder_paths.get_full_path_or_raise("loras", lora_name)
        with naming("NavaLoraLoader, lora_name"):
            weights, metadata = read_weights(path)
        patched, said = add_lora(model, weights, strengths, lora_name, metadata_beside(Path(path), metadata))
        return io.NodeOutput(patched, ui={"text": [said]} if said else None)
