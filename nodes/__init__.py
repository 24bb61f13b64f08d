"""The nodes, in the graph's order."""

from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from . import curves, routes
from .attention import NavaAttention
from .best_of import NavaBestOf
from .cast import NavaCast
from .compose import NavaCompose
from .decode import NavaDecode
from .dialogue import NavaDialogue
from .extend import NavaExtend
from .first_frame import NavaFirstFrame
from .guide import NavaGuider
from .hold import NavaHold
from .join import NavaJoin
from .keyframe import NavaGuide
from .latent import NavaEmptyLatent
from .load import NavaModelLoader, NavaTextEncoderLoader, NavaVideoVAELoader
from .lora_streams import NavaLoraLoader
from .meters import NavaFixLag, NavaSyncMeter
from .parallel import NavaParallel
from .put import NavaPictureToLatent, NavaSoundToLatent
from .rewrite import NavaRewrite
from .sample import NavaSamplerSelect, NavaScheduler
from .save_latent import NavaLoadLatent, NavaSaveLatent
from .step_cache import NavaStepCache
from .storyboard import NavaStoryboard
from .text import NavaTextEncode
from .training import NavaTrainingClip
from .voice import NavaVoice, NavaVoiceEncoderLoader
from .voice_meter import NavaVoiceMeter


class NavaExtension(ComfyExtension):
    async def on_load(self) -> None:
        for module in (routes, curves):
            module.register(PromptServer.instance.routes)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            NavaModelLoader,
            NavaLoraLoader,
            NavaTextEncoderLoader,
            NavaVideoVAELoader,
            NavaVoiceEncoderLoader,
            NavaVoice,
            NavaCast,
            NavaCompose,
            NavaDialogue,
            NavaRewrite,
            NavaTextEncode,
            NavaEmptyLatent,
            NavaFirstFrame,
            NavaSoundToLatent,
            NavaPictureToLatent,
            NavaHold,
            NavaGuide,
            NavaExtend,
            NavaSaveLatent,
            NavaLoadLatent,
            NavaAttention,
            NavaStepCache,
            NavaParallel,
            NavaGuider,
            NavaScheduler,
            NavaSamplerSelect,
            NavaDecode,
            NavaJoin,
            NavaStoryboard,
            NavaTrainingClip,
            NavaSyncMeter,
            NavaFixLag,
            NavaVoiceMeter,
            NavaBestOf,
        ]
