"""Telling the two VAEs apart, before they are used."""

from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
from comfy.ldm.wan.vae2_2 import WanVAE


def _kind(vae) -> str:
    inner = getattr(vae, "first_stage_model", vae)
    return {AudioVAE: "the audio VAE", WanVAE: "the video VAE"}.get(type(inner), type(inner).__name__)


def require_video_vae(vae, node_input: str) -> None:
    # other 48-channel video VAEs, such as the small approximate ones, decode these latents too
    fits = getattr(vae, "latent_dim", None) == 3 and getattr(vae, "latent_channels", None) == 48
    if not fits:
        raise ValueError(
            f"{node_input}: this is {_kind(vae)}, a Wan 2.2 video VAE is needed (wan2.2_vae.safetensors, loaded with "
            "Load NAVA Video VAE or Load VAE). Are the two VAEs swapped?"
        )


def require_audio_vae(vae, node_input: str) -> None:
    if not isinstance(getattr(vae, "first_stage_model", None), AudioVAE):
        raise ValueError(
            f"{node_input}: this is {_kind(vae)}, the LTX-2.3 audio VAE is needed (ltx-2.3-22b-dev_audio_vae.safetensors, "
            "loaded with Load LTXV Audio VAE). Are the two VAEs swapped?"
        )
