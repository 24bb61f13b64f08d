"""Noise masks: as people draw them, a number per pixel frame; and as NavaHold writes them, with a way of holding.

A noise mask says from 0 to 1 how much is made anew. NAVA knows two more things that a mask can say, as numbers below 0,
which reach it through every sampler and guider: -s holds softly, -(1 + s) hard, until the part s of sampling.
"""

import torch

from ..nava_core.sizes import FRAMES_PER_LATENT, ClipLength

KEEPS_FIRST_FRAME = "nava_keeps_first_frame"  # attribute of the samples that NavaFirstFrame makes
SOFT, HARD = WAYS = ("soft", "hard")


def hold_value(way: str, strength: float) -> float:
    """What a noise mask says where something is held until the part `strength` (0 to 1) of sampling."""
    if strength <= 0:
        return 1.0
    if way == SOFT:
        return -min(strength, 1.0)
    return 0.0 if strength >= 1 else -(1 + strength)


def way_and_strength(value: float) -> tuple[str, float]:
    """The inverse of `hold_value`, for values below 0."""
    return (SOFT, -value) if value >= -1 else (HARD, -value - 1)


def per_latent_frame(mask: torch.Tensor, latent_frames: int) -> torch.Tensor:
    """A mask `[frames, 1, H, W]` over pixel frames -> `[1, 1, T, H, W]`; other masks as they are.

    The first latent frame is the first pixel frame alone, each other one four of them: those are kept only where all
    four are, as a latent frame cannot be kept by a quarter.
    """
    if mask.ndim != 4 or mask.shape[0] != ClipLength(latent_frames).frames or latent_frames < 2:
        return mask
    frames = mask[:, 0]
    rest = frames[1:].unflatten(0, (-1, FRAMES_PER_LATENT)).amax(1)
    return torch.cat([frames[:1], rest])[None, None]


def holding_first_frame(mask: torch.Tensor | None, shape) -> torch.Tensor:
    """The mask of a picture `[B, C, T, h, w]` with its first frame kept, whatever another node has made of it."""
    batch, _, frames, rows, columns = shape
    if mask is None:
        mask = torch.ones(1, 1, 1, 1, 1)
    if mask.ndim == 4:  # [n, 1, H, W]: for all frames, or one each
        mask = mask.transpose(0, 1)[None]
    out = torch.nn.functional.interpolate(mask.float()[:, :1], size=(frames, rows, columns), mode="trilinear")
    out = out.expand(batch, -1, -1, -1, -1).clone()
    out[:, :, :1] = 0
    return out
