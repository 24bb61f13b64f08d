"""Sound latents -> waveform, in bounded memory."""

import torch

from ..nava_core.media import join_sound

CHUNK = 500  # latent steps decoded at once: 20 s
MARGIN = 25  # steps decoded on either side of a chunk and thrown away: the vocoder looks around itself
FADE = 5  # steps over which chunks are crossfaded; they agree there


def decode_sound(latent: torch.Tensor, vae) -> tuple[torch.Tensor, int]:
    """`[B, 8, L, 16]` -> (`[B, 2, N]`, sample rate); memory does not grow with the length."""
    if latent.ndim == 5:  # as stock samplers reshape a lone audio latent
        latent = latent.squeeze(2)
    model = vae.first_stage_model
    rate = int(model.output_sample_rate)
    per_step = round(rate / model.latents_per_second)
    steps = latent.shape[2]
    if steps <= CHUNK + MARGIN:
        return vae.decode(latent).movedim(-1, 1), rate
    whole = None
    for start in range(0, steps, CHUNK):
        first, last = max(0, start - MARGIN), min(steps, start + CHUNK + MARGIN)
        # the decoder is causal: step i of a part sounds exactly i steps after the part's beginning
        part = vae.decode(latent[:, :, first:last]).movedim(-1, 1)
        begin = (max(0, start - FADE) - first) * per_step
        end = None if last == steps else (start + CHUNK - first) * per_step
        part = part[..., begin:end]
        whole = part if whole is None else join_sound(whole, part, FADE * per_step, equal_power=False)
        if last == steps:
            break
    return whole, rate
