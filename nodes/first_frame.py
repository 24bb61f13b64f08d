"""A picture -> the first frame of a LATENT."""

import logging

import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io

from ..nava_core.sizes import PIXELS, nearest_trained_shape
from .checks import pictures_of
from .masks import KEEPS_FIRST_FRAME
from .vae import require_video_vae

SIZES = ("as the latent", "nearest trained shape")


class NavaFirstFrame(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaFirstFrame",
            display_name="NAVA First Frame",
            category="NAVA/latent",
            description="Begins the clip with a picture, which stays as it is; the rest moves on from it. "
            "The picture is scaled to cover the size and centre-cropped.",
            search_aliases=["image to video", "i2v"],
            inputs=[
                io.Image.Input("image", tooltip="Any size; alpha is ignored. Of several pictures, such as a video, the first is used, unless the latent is a batch of as many clips, or each_picture is on."),
                io.Vae.Input("video_vae", tooltip="The Wan 2.2 video VAE."),
                io.Latent.Input("latent", tooltip="From NAVA Size and Length: gives length, sound and (if wanted) size."),
                io.Combo.Input("size", options=list(SIZES), default=SIZES[0], tooltip="The size of the latent, or the trained shape whose aspect is nearest to the picture's."),
                io.Boolean.Input("each_picture", default=False, optional=True, advanced=True, tooltip="Make a clip from each of several pictures, instead of one from the first."),
            ],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="For the sampler; the first frame is masked.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, video_vae, latent, size, each_picture=False) -> io.NodeOutput:
        require_video_vae(video_vae, "NavaFirstFrame, video_vae")
        samples = latent["samples"]
        video, *audio = samples.unbind() if samples.is_nested else [samples]
        if video.ndim != 5:
            raise ValueError(
                "NavaFirstFrame, latent: it has no picture. Set NAVA Size and Length to a mode with video."
            )
        image = pictures_of(image, "NavaFirstFrame, image")
        notes = []
        if image.shape[0] > 1 and not each_picture and video.shape[0] != image.shape[0]:
            notes.append(
                f"{image.shape[0]} pictures came in; only the first is used. Turn each_picture on to make a clip from each."
            )
            image = image[:1]
        rows, columns = video.shape[-2:]
        if size == SIZES[1]:
            width, height = nearest_trained_shape(image.shape[2], image.shape[1])
            rows, columns = height // PIXELS, width // PIXELS
        count = max(image.shape[0], video.shape[0])
        if image.shape[0] not in (1, count) or video.shape[0] not in (1, count):
            raise ValueError(
                f"NavaFirstFrame, image: {image.shape[0]} pictures for a batch of {video.shape[0]} clips. Give one, or as many."
            )
        pixels = comfy.utils.common_upscale(
            image.movedim(-1, 1), columns * PIXELS, rows * PIXELS, "lanczos", "center"
        ).movedim(1, -1)
        first = torch.cat([video_vae.encode(p[None]) for p in pixels]).to(video)
        first = comfy.utils.repeat_to_batch_size(first, count)
        if first.shape[1] != video.shape[1]:
            raise ValueError(
                f"NavaFirstFrame, video_vae: it makes {first.shape[1]} channels, the latent has {video.shape[1]}. Use the VAE that belongs to the model."
            )
        new = video.new_zeros(count, video.shape[1], video.shape[2], rows, columns)
        if (rows, columns) == tuple(video.shape[-2:]):
            new += video
        new[:, :, :1] = first
        mask = video.new_ones(count, 1, video.shape[2], rows, columns)
        mask[:, :, :1] = 0
        out = latent.copy()
        if audio:
            sound = comfy.utils.repeat_to_batch_size(audio[0], count)
            out["samples"] = NestedTensor([new, sound])
            out["noise_mask"] = NestedTensor([mask, torch.ones_like(sound[:, :1])])
        else:
            out["samples"], out["noise_mask"] = new, mask
        setattr(out["samples"], KEEPS_FIRST_FRAME, True)
        for note in notes:
            logging.warning("NavaFirstFrame: %s", note)
        return io.NodeOutput(out, ui={"text": notes} if notes else None)
