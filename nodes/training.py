"""A clip in the form that the host's LoRA trainer takes: one packed latent, and CONDITIONING that knows its shapes."""

import comfy.utils
import node_helpers
from comfy_api.latest import io

from .checks import check_latents
from .host import LATENT_SHAPES, require_nava


class NavaTrainingClip(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaTrainingClip",
            display_name="NAVA Training Clip",
            category="NAVA/training",
            description="Prepares an encoded clip, picture and sound or one of them, for ComfyUI's Train LoRA node. That "
            "node weighs all numbers alike, and sound is less than a hundredth of them: it learns looks and motion, "
            "hardly voices.",
            search_aliases=["train lora", "dataset"],
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model: the model that is trained."),
                io.Latent.Input("latent", tooltip="A clip: Concat AV Latent of what the two VAEs encode, or one of them alone."),
                io.Conditioning.Input("positive", tooltip="What the clip shows and sounds like, from NAVA Prompt, voices included."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", tooltip="For TrainLoraNode, latents. Several clips: a list."),
                io.Conditioning.Output("positive", display_name="positive", tooltip="For TrainLoraNode, positive: as many as clips."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, latent, positive) -> io.NodeOutput:
        nava = require_nava(model, "NavaTrainingClip, model")
        samples = latent["samples"]
        parts = samples.unbind() if samples.is_nested else [samples]
        check_latents([p.shape for p in parts], nava.nava_config, "NavaTrainingClip, latent")
        if any(p.shape[0] != 1 for p in parts):
            raise ValueError("NavaTrainingClip, latent: it is a batch. Give one clip at a time; several make a list.")
        # the trainer normalises what it recognises as a picture, which a packed latent is not
        packed, shapes = comfy.utils.pack_latents([nava.process_latent_in(p) for p in parts])
        if len(parts) == 1:
            return io.NodeOutput({"samples": parts[0]}, positive)
        return io.NodeOutput(
            {"samples": packed}, node_helpers.conditioning_set_values(positive, {LATENT_SHAPES: shapes})
        )
