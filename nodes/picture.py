"""Picture latents -> frames, in bounded memory."""

import logging
import math

import comfy.model_management
import comfy.utils
import torch
from comfy.ldm.wan.vae2_2 import WanVAE, count_conv3d, unpatchify

TILES = (64, 48, 32, 24, 16)  # side of a tile in latent values (16 pixels each), tried from the largest
OVERLAP = 0.25  # of a tile
SPARE = 0.9  # part of the free memory that a decode may take


def memory_needed(vae, shape, tile: int | None) -> float:
    """Bytes that decoding one clip takes, in tiles of `tile` latent values or (None) at once."""
    sides = shape[-2:] if tile is None else (min(tile, side) for side in shape[-2:])
    return vae.memory_used_decode((1, *shape[1:-2], *sides), vae.vae_dtype)


def tiles_for(vae, shape, tiling: str) -> list[int | None]:
    """Sides of tiles to try, the largest that should fit first; None is the whole picture at once."""
    tiles = [t for t in TILES if t < max(shape[-2:])]
    if tiling == "off" or not tiles:
        return [None]
    if tiling == "on":
        return [t for t in tiles if t <= 32] or tiles[-1:]
    # other models make room first, as they would for the host's own decoding
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory_needed(vae, shape, None))
    free = vae.patcher.get_free_memory(vae.device) * SPARE  # counts what the host would free by itself
    choices = [None, *tiles]
    fitting = [t for t in choices if memory_needed(vae, shape, t) < free]
    return fitting or tiles[-1:]


def decode_picture(latent: torch.Tensor, vae, tiling: str = "auto") -> torch.Tensor:
    """`[B, 48, T, h, w]` -> frames `[B * (4(T-1)+1), 16h, 16w, 3]` in 0..1 on the host's output device.

    Frames leave the graphics card as they come; progress is reported per tile and latent frame. tiling: "auto" (when
    the memory does not suffice otherwise), "on", "off".
    """
    if latent.shape[1] != vae.latent_channels:
        raise ValueError(
            f"NavaDecode, latent: the picture has {latent.shape[1]} channels, the video VAE takes {vae.latent_channels}. Use the VAE that belongs to the model."
        )
    if not isinstance(vae.first_stage_model, WanVAE):  # a small approximate VAE: the host's way is cheap enough
        return vae.decode(latent).flatten(0, 1)
    choices = tiles_for(vae, latent.shape, tiling)
    for i, tile in enumerate(choices):
        try:
            return decode_in_tiles(latent, vae, tile)
        except Exception as error:
            comfy.model_management.raise_non_oom(error)
            if i + 1 == len(choices):
                raise
            logging.warning("NavaDecode: out of memory, trying again with smaller tiles")
        comfy.model_management.soft_empty_cache()


def decode_in_tiles(latent: torch.Tensor, vae, tile: int | None) -> torch.Tensor:
    """Frames of a latent, decoded in tiles of `tile` latent values, or (None) at once."""
    rows, columns = latent.shape[-2:]
    needed = memory_needed(vae, latent.shape, tile)
    if tile is None:
        tiles, tile, overlap = 1, max(rows, columns), 0
    else:
        overlap = round(tile * OVERLAP)
        tiles = math.prod(len(range(0, n - overlap, tile - overlap)) if n > tile else 1 for n in (rows, columns))
        logging.info("NavaDecode: %d tiles of %d pixels", tiles, tile * 16)
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=needed)
    progress = comfy.utils.ProgressBar(latent.shape[0] * tiles * latent.shape[2])
    with comfy.model_management.cuda_device_context(vae.device):
        pixels = comfy.utils.tiled_scale_multidim(
            latent,
            lambda part: decode_frames(vae, part, progress),
            tile=(latent.shape[2], tile, tile),
            overlap=(0, overlap, overlap),
            upscale_amount=vae.upscale_ratio,
            index_formulas=vae.upscale_index_formula,
            out_channels=3,
            output_device=vae.output_device,
        )
        return vae.process_output(pixels).movedim(1, -1).flatten(0, 1)


def decode_frames(vae, latent: torch.Tensor, progress) -> torch.Tensor:
    """One tile, a latent frame at a time: what WanVAE.decode does, but frames move to the output device at once."""
    model = vae.first_stage_model
    x = model.conv2(latent.to(vae.vae_dtype).to(vae.device))
    cache = [None] * count_conv3d(model.decoder)
    frames = []
    for i in range(x.shape[2]):
        out = model.decoder(x[:, :, i : i + 1], feat_cache=cache, feat_idx=[0], first_chunk=i == 0)
        frames.append(unpatchify(out, patch_size=2).to(vae.output_device, vae.vae_output_dtype()))
        progress.update(1)
        comfy.model_management.throw_exception_if_processing_interrupted()
    return torch.cat(frames, dim=2)
