"""NAVA without a host: the model and its mathematics (arXiv 2605.30073). Never imports ComfyUI."""

from .checkpoint import CheckpointError, load_transformer
from .config import ConfigError, NavaConfig
from .guidance import Guidance
from .latents import audio_to_tokens, tokens_to_audio
from .sampling import sample
from .schedule import flow_sigmas, network_timestep
from .transformer import NavaTransformer
from .unipc import sample_unipc
from .voice import load_voice_encoder

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Guidance",
    "NavaConfig",
    "NavaTransformer",
    "audio_to_tokens",
    "flow_sigmas",
    "load_transformer",
    "load_voice_encoder",
    "network_timestep",
    "sample",
    "sample_unipc",
    "tokens_to_audio",
]
