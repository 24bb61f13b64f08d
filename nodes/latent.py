"""Sizes and pictures -> LATENT."""

import math

import comfy.model_management
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io

from ..nava_core.sizes import FPS, MAX_SECONDS, STEP, TRAINED_SECONDS, ClipLength, check_side
from .formats import AUDIO_CHANNELS

VIDEO_CHANNELS = 48
AUDIO_BINS = 16
MODES = ("audio + video", "video", "audio")


class NavaEmptyLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaEmptyLatent",
            display_name="NAVA Size and Length",
            category="NAVA/latent",
            description="An empty LATENT of the wanted size and length: picture and sound together, or one of them.",
            inputs=[
                io.Combo.Input("mode", options=list(MODES), default=MODES[0], tooltip="What is made: both, silent video, or sound only."),
                io.Int.Input("width", default=1280, min=STEP, max=2560, step=STEP, tooltip=f"Pixels, a multiple of {STEP} (anything else is refused). Trained: 1280×704, 704×1280, 960×960 and shapes between. Not used for sound only."),
                io.Int.Input("height", default=704, min=STEP, max=2560, step=STEP, tooltip=f"Pixels, a multiple of {STEP} (anything else is refused). Not used for sound only."),
                io.Float.Input("seconds", default=6.0, min=0.05, max=MAX_SECONDS, step=0.1, tooltip=f"Length, rounded to the nearest possible one (4 frames apart, {FPS} frames a second). The model was trained up to {TRAINED_SECONDS:g} s."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many clips are made at once."),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent"),
                io.Int.Output("frames", display_name="frames", tooltip="Number of video frames."),
                io.Float.Output("duration", display_name="seconds", tooltip="The exact length in seconds."),
                io.Int.Output("audio_steps", display_name="audio steps", tooltip="Audio latent steps, 25 a second."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, mode, width, height, seconds, batch_size) -> io.NodeOutput:
        if not math.isfinite(seconds):
            raise ValueError(f"NavaEmptyLatent, seconds: {seconds} is no length. Give a number of seconds, such as 6.")
        length = ClipLength.nearest(seconds * FPS)
        device = comfy.model_management.intermediate_device()
        latents = []
        if mode != "audio":
            try:
                rows, columns = check_side(height, "height"), check_side(width, "width")
            except ValueError as error:
                raise ValueError(f"NavaEmptyLatent, {error}.") from None
            shape = (batch_size, VIDEO_CHANNELS, length.latent_frames, rows, columns)
            latents.append(torch.zeros(shape, device=device))
        if mode != "video":
            latents.append(torch.zeros(batch_size, AUDIO_CHANNELS, length.audio_steps, AUDIO_BINS, device=device))
        # A lone audio latent travels as a nested latent of one: as a plain tensor the host would take it for a picture.
        samples = latents[0] if mode == "video" else NestedTensor(latents)
        return io.NodeOutput({"samples": samples}, length.frames, length.seconds, length.audio_steps)
