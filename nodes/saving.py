"""What ComfyUI's Save Model writes of NAVA: real numbers or fp8 rows, and the configuration that shapes do not tell."""

from ..nava_core.checkpoint import CONFIG, config_entry
from .kept_numbers import KeptNumbers

PREFIX = "model.diffusion_model."  # of the host's saved models


def saved(entries: dict, model) -> dict:
    """The entries of the host's saved model, with stored numbers as a file may hold them, and the configuration.

    model: the NavaModel. Blocks of a GGUF file become bf16; fp8 rows stay fp8.
    """
    out = dict(entries)
    for name, layer in model.diffusion_model.named_modules():
        if isinstance(layer, KeptNumbers) and layer.stored:
            out |= layer.entries_to_save(PREFIX + name, out[f"{PREFIX}{name}.weight"])
    return out | {PREFIX + CONFIG: config_entry(model.nava_config)}
