"""LoRA files for NAVA in the key styles that trainers write.

The host makes a table of LoRA names for every model in `comfy.lora.model_lora_keys_unet`, with a branch for each kind of
model it knows and no place for others to add theirs: so that function is followed by ours, for NAVA alone.
"""

import functools
import logging

import comfy.lora
import comfy.sd

from ..nava_core.lora_file import left_out, spelled

PREFIX = "diffusion_model."
# what trainers put before a module's path; PEFT adds its own before that
DOTTED = ("", "backbone.", "transformer.", "model.diffusion_model.")
PEFT = "base_model.model."
FLAT = ("lycoris_", "lora_transformer_", "lora_unet_", "lycoris_unet_", "lora_unet_backbone_")


class NavaKeys(dict):
    """A table of LoRA names for NAVA, recognised where a file is read with it."""


def names_of(path: str) -> list[str]:
    """Every name under which a file may keep the layer or parameter at `path` (without `diffusion_model.`)."""
    dotted = [prefix + path for prefix in (*DOTTED, PREFIX)]
    flat = [prefix + path.replace(".", "_") for prefix in FLAT]
    return [*dotted, *(PEFT + name for name in dotted), *flat]


def add_keys(model, keys: dict) -> dict:
    table = NavaKeys(keys)
    for key in model.state_dict():
        if not key.startswith(PREFIX):
            continue
        path = key.removeprefix(PREFIX).removesuffix(".weight")
        for name in names_of(path):
            table.setdefault(name, key)
    return table


def install(is_nava) -> None:
    """Let the host's LoRA loaders know NAVA's key styles, and say so when layers of a file fit none."""
    if getattr(comfy.lora.model_lora_keys_unet, "knows_nava", False):
        return
    keys_of, load, for_models = comfy.lora.model_lora_keys_unet, comfy.lora.load_lora, comfy.sd.load_lora_for_models

    @functools.wraps(keys_of)
    def model_lora_keys_unet(model, key_map={}):
        keys = keys_of(model, key_map)
        return add_keys(model, keys) if is_nava(model) else keys

    @functools.wraps(load)
    def load_lora(lora, to_load, log_missing=True):
        if not isinstance(to_load, NavaKeys):
            return load(lora, to_load, log_missing)
        lora = spelled(lora, {}, "The LoRA")
        loaded = load(lora, to_load, False)
        if lora and not loaded:
            logging.warning(
                "This LoRA has no layer that NAVA has (its first is %s): it changes nothing. Was it made for another model?",
                next(iter(lora)),
            )
        elif said := left_out(lora, to_load, "This LoRA"):
            logging.warning("%s", said)
        return loaded

    @functools.wraps(for_models)
    def load_lora_for_models(model, clip, lora, *args, lora_metadata=None, **kwargs):
        if model is not None and is_nava(model.model):  # what the file's header says, which the host only keeps
            lora = spelled(lora, lora_metadata or {}, "The LoRA")
        return for_models(model, clip, lora, *args, lora_metadata=lora_metadata, **kwargs)

    model_lora_keys_unet.knows_nava = True
    comfy.lora.model_lora_keys_unet, comfy.lora.load_lora = model_lora_keys_unet, load_lora
    comfy.sd.load_lora_for_models = load_lora_for_models
