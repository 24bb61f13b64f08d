"""Layouts of latents: audio tokens, and one flat tensor for both modalities."""

from torch import Tensor, arange, cat


def audio_to_tokens(latent: Tensor) -> Tensor:
    """Audio VAE latent `[B, channels, L, bins]` -> transformer tokens `[B, L, channels * bins]`, channel-major."""
    return latent.transpose(1, 2).flatten(2)


def tokens_to_audio(tokens: Tensor, channels: int = 8) -> Tensor:
    """Transformer tokens `[B, L, channels * bins]` -> audio VAE latent `[B, channels, L, bins]`."""
    if tokens.shape[-1] % channels:
        raise ValueError(f"{tokens.shape[-1]} features do not split into {channels} channels")
    return tokens.unflatten(-1, (channels, -1)).transpose(1, 2)


def pack(video: Tensor | None, audio: Tensor | None) -> Tensor:
    """Both latents as one `[B, N]` tensor, picture first."""
    return cat([t.flatten(1) for t in (video, audio) if t is not None], dim=1)


def unpack(packed: Tensor, video_shape, audio_shape) -> tuple[Tensor | None, Tensor | None]:
    """The inverse of `pack`; a shape of None stands for an absent modality."""
    split = 0 if video_shape is None else video_shape[1:].numel()
    video = None if video_shape is None else packed[:, :split].reshape(video_shape)
    audio = None if audio_shape is None else packed[:, split:].reshape(audio_shape)
    return video, audio


def crossfade(first: Tensor, second: Tensor, overlap: int) -> Tensor:
    """Append latents along dim 2 of which the last and the first `overlap` are the same moment; equal numbers stay exact."""
    if overlap < 1 or overlap > min(first.shape[2], second.shape[2]):
        raise ValueError(f"cannot crossfade over {overlap} of {first.shape[2]} and {second.shape[2]}")
    weight = (arange(overlap, dtype=first.dtype, device=first.device) + 0.5) / overlap
    weight = weight.reshape(-1, *[1] * (first.ndim - 3))
    end = first[:, :, -overlap:]
    return cat([first[:, :, :-overlap], end + weight * (second[:, :, :overlap] - end), second[:, :, overlap:]], dim=2)
