"""A whole sampling run without a host: schedule, guidance and solver on a bare transformer."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .guidance import COND, MASKED, UNCOND, VOICELESS, Guidance
from .latents import pack, unpack
from .schedule import network_timestep
from .transformer import NavaTransformer, first_frame_clean
from .unipc import sample_unipc


@torch.no_grad()
def sample(
    model: NavaTransformer,
    noise_video: Tensor | None,
    noise_audio: Tensor | None,
    positive: Tensor,
    negative: Tensor,
    *,
    sigmas: Tensor,
    guidance: Guidance,
    voices: Sequence[Tensor] | None = None,
    voice_positions: Sequence[Sequence[int]] | None = None,
    first_frame: Tensor | None = None,
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Denoise picture and sound together; returns latents shaped as the noise, None for None.

    noise_video `[B, C, T, H, W]`, noise_audio `[B, L, C]`; positive, negative `[B, S, text_dim]`; voices and
    voice_positions as in `NavaTransformer.forward`; first_frame `[B, C, 1, H, W]` keeps the picture's first latent
    frame fixed. callback(step, x0, x, total_steps) gets packed `[B, N]` latents (see `latents.unpack`).
    """
    if noise_video is None and noise_audio is None:
        raise ValueError("nothing to sample: noise_video and noise_audio are both None")
    if first_frame is not None and noise_video is None:
        raise ValueError("first_frame is given but there is no video to start with it")
    shapes = [None if n is None else n.shape for n in (noise_video, noise_audio)]
    has_voices = bool(voices) and bool(voice_positions) and any(map(len, voices)) and any(map(len, voice_positions))
    weights = guidance.weights(noise_video is not None, noise_audio is not None, has_voices)
    # (context, its text memory): passes with the same context share what is remembered of it
    plain = (model.embed_context(positive), {})
    contexts = {
        COND: (model.embed_context(positive, voices, voice_positions), {}) if has_voices else plain,
        UNCOND: (model.embed_context(negative), {}),
        MASKED: plain,
        VOICELESS: plain,
    }
    levels = None if first_frame is None else first_frame_clean(noise_video.shape[2])

    def hold_first_frame(packed: Tensor) -> tuple[Tensor | None, Tensor | None]:
        video, audio = unpack(packed, *shapes)
        if first_frame is not None:
            video = torch.cat([first_frame.to(video), video[:, :, 1:]], dim=2)
        return video, audio

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        video, audio = hold_first_frame(x)
        t = network_timestep(sigma).to(x.device).expand(x.shape[0])
        outputs = {}
        for name in (COND, *weights):
            context, memory = contexts[name]
            outputs[name] = model.velocity(
                video, audio, t, context, joint=name != MASKED, video_levels=levels, text_memory=memory
            )
        x0 = pack(video, audio) - sigma.to(x.device) * pack(*guidance.combine(outputs, weights))
        return pack(*hold_first_frame(x0))

    return unpack(sample_unipc(denoise, pack(noise_video, noise_audio), sigmas, callback), *shapes)
