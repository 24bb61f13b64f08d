"""The nodes, in the graph's order. What this ComfyUI has not keeps only the nodes away that need it."""

import importlib
import logging

from comfy_api.latest import ComfyExtension, io
from server import PromptServer

NODES = (
    ("load", ("NavaModelLoader",)),
    ("lora_streams", ("NavaLoraLoader",)),
    ("load", ("NavaTextEncoderLoader", "NavaVideoVAELoader")),
    ("voice", ("NavaVoiceEncoderLoader", "NavaVoice")),
    ("cast", ("NavaCast",)),
    ("compose", ("NavaCompose",)),
    ("dialogue", ("NavaDialogue",)),
    ("rewrite", ("NavaRewrite",)),
    ("text", ("NavaTextEncode",)),
    ("latent", ("NavaEmptyLatent",)),
    ("first_frame", ("NavaFirstFrame",)),
    ("put", ("NavaSoundToLatent", "NavaPictureToLatent")),
    ("hold", ("NavaHold",)),
    ("keyframe", ("NavaGuide",)),
    ("extend", ("NavaExtend",)),
    ("save_latent", ("NavaSaveLatent",)),
    ("load_latent", ("NavaLoadLatent",)),
    ("attention", ("NavaAttention",)),
    ("step_cache", ("NavaStepCache",)),
    ("parallel", ("NavaParallel",)),
    ("guide", ("NavaGuider",)),
    ("sample", ("NavaScheduler", "NavaSamplerSelect")),
    ("decode", ("NavaDecode",)),
    ("join", ("NavaJoin",)),
    ("storyboard", ("NavaStoryboard",)),
    ("training", ("NavaTrainingClip",)),
    ("meters", ("NavaSyncMeter", "NavaFixLag")),
    ("voice_meter", ("NavaVoiceMeter",)),
    ("best_of", ("NavaBestOf",)),
)  # module, and those of its nodes that stand together
ROUTES = ("routes", "curves")


def found(wanted) -> dict[str, object]:
    """The modules of these (module, nodes) that this ComfyUI can load, and one sentence in the log for each thing that it lacks."""
    modules, lacking = {}, {}
    for name, nodes in wanted:
        try:
            modules[name] = importlib.import_module(f".{name}", __name__)
        except (ImportError, AttributeError) as error:
            lacking.setdefault(str(error), []).extend(nodes)
    for error, nodes in lacking.items():
        logging.error(
            "ComfyUI-NAVA: %s left out, because this ComfyUI (%s) lacks something of theirs (%s). Update ComfyUI-NAVA; "
            "docs/hosts.md says which versions it was run on.",
            ", ".join(nodes) + (" is" if len(nodes) == 1 else " are"), host_version(), error,
        )  # fmt: skip
    return modules


def host_version() -> str:
    try:
        return importlib.import_module("comfyui_version").__version__
    except (ImportError, AttributeError):
        return "of unknown version"


class NavaExtension(ComfyExtension):
    async def on_load(self) -> None:
        for module in found([(name, (name,)) for name in ROUTES]).values():
            module.register(PromptServer.instance.routes)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = found(NODES)
        return [getattr(modules[name], node) for name, nodes in NODES if name in modules for node in nodes]
