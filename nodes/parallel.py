"""MODEL -> MODEL whose passes are computed by several processes together."""

import logging
import os
import re
from pathlib import Path

import comfy.model_management
import torch
from comfy.cli_args import args
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from comfy_api.latest import io

from .attention import OVERRIDE
from .checks import check_places
from .host import (
    TEXT_MEMORIES,
    NavaDiffusionModel,
    NavaModel,
    NavaModelConfig,
    levels_now,
    require_nava,
)
from .workers import Workers

PACKAGE = __name__.removesuffix(".nodes.parallel")
AUTO = "auto"
MOST = 64


class RemoteNetwork(NavaDiffusionModel):
    """The transformer without weights: workers compute its passes."""

    workers: Workers

    def _forward(self, x, timestep, context, transformer_options={}, nava=None, **kwargs):
        check_places(transformer_options)
        if torch.is_grad_enabled():
            raise ValueError("NavaParallel, model: workers only sample. Train with the MODEL from before that node.")
        payload = levels_now(nava, timestep)
        text = payload.pop("raw_text")
        parts = list(x) if isinstance(x, (list, tuple)) else [x]
        key = tuple(transformer_options["uuids"]) if transformer_options.get(TEXT_MEMORIES) is not None else None
        kernel = kernel_of(transformer_options)
        found = self.workers.velocity(parts, context, key, timestep, text, payload, kernel)
        found = [v.to(part) for v, part in zip(found, parts, strict=True)]
        return found if isinstance(x, (list, tuple)) else found[0]

    def forget(self) -> None:
        self.workers.forget()


class ParallelModel(NavaModel):
    """NAVA as the host's sampling code sees it, of which the weights are elsewhere."""

    network = RemoteNetwork
    embeds_in_passes = True

    @classmethod
    def like(cls, model: NavaModel, workers: Workers) -> "ParallelModel":
        config = NavaModelConfig(model.nava_config)
        config.set_inference_dtype(model.get_dtype(), model.manual_cast_dtype)
        found = cls(config, device="meta")
        found.device = torch.device("cpu")
        found.diffusion_model.workers = workers
        return found

    @property
    def workers(self) -> Workers:
        return self.diffusion_model.workers


class ParallelPatcher(ModelPatcher):
    """The host's handle on a ParallelModel: what it loads and unloads are the workers."""

    def load(self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
        self.model.device = device_to
        self.model.model_loaded_weight_memory = self.model_size()
        self.model.current_weight_patches_uuid = self.patches_uuid
        for callback in self.get_all_callbacks(CallbacksMP.ON_LOAD):
            callback(self, device_to, lowvram_model_memory, force_patch_weights, full_load)

    def pre_run(self):
        super().pre_run()
        refuse_what_stays_here(self)
        hashes = self.model.workers.begin(self.patches, self.patches_uuid)
        if hashes:
            logging.info(
                "NavaParallel: %d patched weights, SHA-256 %s in each of %d workers",
                len(self.patches),
                hashes[0],
                len(hashes),
            )

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        super().unpatch_model(None, unpatch_weights)  # there is nothing to move

    def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False):
        return 0

    def detach(self, unpatch_all=True):
        found = super().detach(unpatch_all)
        if unpatch_all:
            self.model.workers.stop()
        return found

    def get_key_patches(self, filter_prefix=None):
        raise ValueError(
            "NavaParallel, model: its weights are with the workers. Merge or save the MODEL from before that node."
        )

    def state_dict_for_saving(self, *_, **__):
        return self.get_key_patches()

    def deepclone_multigpu(self, *_, **__):
        raise ValueError(
            "NavaParallel, model: MultiGPU splits the passes of a step over cards, this node splits each pass. Take one of the two off."
        )


def kernel_of(transformer_options: dict) -> str | None:
    """The attention kernel that NavaAttention chose."""
    override = transformer_options.get(OVERRIDE)
    if override is None:
        return None
    kernel = getattr(override, "nava_kernel", None)
    if kernel is None:
        raise ValueError(
            "NavaParallel, model: a node has replaced the attention function, which cannot be handed to other processes. Take it off, or use NAVA Attention."
        )
    return kernel


def refuse_what_stays_here(patcher: ModelPatcher) -> None:
    """Raise ValueError for changes of the network that would have no effect, because other processes compute it."""
    inside = [name for name in patcher.object_patches if name.startswith("diffusion_model")]
    for found, what in (
        (patcher.hook_patches, "a LoRA that comes and goes while sampling (hooks)"),
        (patcher.injections, "an adapter that is put into the network (a bypass LoRA)"),
        (patcher.weight_wrapper_patches, "functions on its weights"),
        (inside, f"replaced parts of the network ({', '.join(inside)})"),
        (patcher.wrappers.get(WrappersMP.APPLY_MODEL, {}).get("torch.compile"), "torch.compile"),
        (patcher.get_additional_models_with_key("multigpu"), "MultiGPU"),
    ):
        if found:
            raise ValueError(
                f"NavaParallel, model: it has {what}, which workers do not take over. Take that node off the model."
            )


def chosen_devices(text: str) -> list[str]:
    """ "cuda:0,1" -> ["cuda:0", "cuda:1"]; "cpu:2" -> ["cpu", "cpu"]; "auto": all cards. Raises ValueError."""
    text = text.strip().lower()
    cards = [d.index for d in comfy.model_management.get_all_torch_devices() if d.type == "cuda"]
    if text == AUTO:
        return [f"cuda:{i}" for i in cards]
    if re.fullmatch(r"cpu:[0-9]{1,3}", text):
        count = int(text.removeprefix("cpu:"))
        if not 2 <= count <= MOST:
            raise ValueError(f"NavaParallel, devices: {text} is not 2 to {MOST} processes.")
        return ["cpu"] * count
    if not re.fullmatch(r"cuda:[0-9]{1,3}(,[0-9]{1,3})+", text):
        raise ValueError(
            f"NavaParallel, devices: {text!r} is none of auto, cards as cuda:0,1, or processes on the CPU as cpu:2."
        )
    wanted = [int(i) for i in text.removeprefix("cuda:").split(",")]
    missing = [i for i in wanted if i not in cards]
    if missing:
        there = ", ".join(map(str, cards)) or "none"
        hint = " ComfyUI was started with --cpu." if args.cpu else ""
        raise ValueError(f"NavaParallel, devices: there is no card {missing[0]} here (cards: {there}).{hint}")
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"NavaParallel, devices: {text} names a card twice.")
    return [f"cuda:{i}" for i in wanted]


def parallel(model: ModelPatcher, devices: list[str], timeout: float) -> ParallelPatcher:
    """A clone of a NAVA MODEL whose passes workers compute. Clones of one loaded model share them."""
    given = model.model
    if isinstance(given, ParallelModel):
        raise ValueError("NavaParallel, model: there is a NavaParallel before this one. Take one off.")
    if model.cached_patcher_init is None:
        raise ValueError("NavaParallel, model: workers cannot load it again. Load it with Load NAVA Model.")
    refuse_what_stays_here(model)
    if devices[0] != "cpu" and not torch.distributed.is_nccl_available():
        raise ValueError(
            "NavaParallel, devices: cards need NCCL, which this PyTorch does not have (it comes on Linux)."
        )
    key = (*devices, timeout)
    root = given.parallel.get(key)
    if root is None:
        for other in given.parallel.values():
            other.model.workers.stop()
        given.parallel.clear()
        path, weight_dtype = model.cached_patcher_init[1]
        threads = max(1, torch.get_num_threads() // len(devices))
        settings = {**vars(args), "cpu": devices[0] == "cpu"}
        workers = Workers(
            devices,
            {"path": os.path.abspath(path), "weight_dtype": weight_dtype, "threads": threads},
            {
                "package": PACKAGE,
                "root": str(Path(__file__).resolve().parent.parent),
                "host": str(Path(comfy.model_management.__file__).resolve().parent.parent),
            },
            settings,
            timeout,
            comfy.model_management.throw_exception_if_processing_interrupted,
        )
        here = str(model.load_device) in devices  # "cuda:0" and "cpu" are written so by torch too
        size = model.model_size() if here else 1
        root = ParallelPatcher(ParallelModel.like(given, workers), model.load_device, model.offload_device, size)
        given.parallel[key] = root  # lives as long as the model: another run of this node finds the workers
    # The host's own clone of everything that nodes have put on the model, around the other network.
    found = model.clone(disable_dynamic=True, model_override=(root.model, ({}, {}, {}, set())))
    found.__class__ = ParallelPatcher
    found.parent, found.size, found.clone_base_uuid, found.hook_backup = root, root.size, root.clone_base_uuid, {}
    return found


class NavaParallel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaParallel",
            display_name="NAVA Parallel",
            category="NAVA/model",
            description="Computes each pass of one clip on several graphics cards of this machine at once. Every card holds the whole "
            "model: clips get faster, the model does not get smaller.",
            search_aliases=["multi gpu", "sequence parallel", "ulysses", "several cards"],
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model, with any LoRA, shift or step cache before or behind this node."),
                io.String.Input(
                    "devices",
                    default=AUTO,
                    tooltip="auto: all cards; with fewer than two, the model stays as it is. cuda:0,1 names cards. cpu:2 starts two processes on the CPU, to try it.",
                ),
                io.Int.Input(
                    "timeout",
                    default=600,
                    min=5,
                    max=86400,
                    optional=True,
                    tooltip="Seconds that loading the model or one pass may take. A worker that takes longer is taken to hang; the prompt fails with a message.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="For NAVA Guider or any sampler. Unloading models ends the workers.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, devices):
        try:
            chosen_devices(devices)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, model, devices, timeout=600) -> io.NodeOutput:
        require_nava(model, "NavaParallel, model")
        found = chosen_devices(devices)
        if len(found) < 2:
            said = f"NavaParallel: {len(found) or 'no'} card here, so nothing is shared out; the model stays as it is."
            logging.info(said)
            return io.NodeOutput(model, ui={"text": [said]})
        return io.NodeOutput(parallel(model, found, timeout))
