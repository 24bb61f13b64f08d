"""What tells picture and sound apart in latents."""

AUDIO_CHANNELS = 8  # of the LTX audio VAE's latent


def is_audio(shape, config) -> bool:
    """Whether a latent of this shape is sound: `[B, 8, L, 16]`, or `[B, 8, 1, L, 16]` as stock samplers reshape it."""
    return shape[1] == AUDIO_CHANNELS != config.vid_in_dim
