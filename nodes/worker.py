"""What a worker of NAVA Parallel does: loads the model as ComfyUI does, and computes its part of each pass."""

import hashlib
import logging
import queue
import uuid
from datetime import timedelta

import comfy.model_management
import comfy.utils
import torch
import torch.distributed as dist
from torch import Tensor

from ..nava_core.parallel import Ranks
from .attention import OVERRIDE, function_of, override_with
from .host import TEXT_MEMORIES, TextMemories
from .load import load_model
from .worker_main import write_frame
from .workers import packed, unpacked

NEVER = timedelta(days=1)  # the driver decides how long a pass may take


class Worker:
    """One process of several with the same model, each on a device of its own."""

    def __init__(self, rank: int, ranks: int, device: str, meeting: str, threads: int, path: str, weight_dtype: str):
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # which is the host's choice of a device too
        else:
            torch.set_num_threads(threads)
        self.rank = rank
        dist.init_process_group(
            "nccl" if self.device.type == "cuda" else "gloo",
            store=dist.FileStore(meeting, ranks),
            rank=rank,
            world_size=ranks,
            timeout=NEVER,
        )
        self.patcher = load_model(path, weight_dtype)
        self.network = self.patcher.model.diffusion_model
        self.network.ranks = Ranks()
        self.overrides: dict = {}
        self.forget()

    def patch(self, patches: dict) -> str:
        """Put patches on the weights, in place of those before. Returns the hash of the patched weights."""
        self.patcher.patches, self.patcher.patches_uuid = patches, uuid.uuid4()
        comfy.model_management.load_models_gpu([self.patcher])
        return patched_hash(self.patcher)

    def velocity(
        self, tensors, shapes, count: int, key, timestep: Tensor, text, payload: dict, kernel
    ) -> list[Tensor] | None:
        """A pass over latents of `count` parts; the first worker returns them.

        tensors: the parts, and behind them the context where `key` is new; None but for the first worker. key: under
        which the context is kept for this run, or None. text: its voices, a `host.RawText`. kernel: of NavaAttention.
        """
        parts, context = self._shared(tensors, shapes, count)
        self._fit(parts)
        if context is not None:
            rows = len(context)
            voices = None if text.voices is None else [text.voices.to(context)] * rows
            context = self.network.embed_context(context, voices, None if voices is None else [text.positions] * rows)
            self.contexts[key] = context
        options = {}
        if key is not None:
            options |= {TEXT_MEMORIES: self.memories, "uuids": key}
        if kernel is not None:
            options[OVERRIDE] = self.overrides.setdefault(kernel, override_with(kernel, function_of(kernel)))
        x = parts if len(parts) > 1 else parts[0]
        found = self.network(x, timestep.to(self.device), self.contexts[key], options, nava=payload)
        if self.rank:
            return None
        return [t.cpu() for t in (found if isinstance(found, list) else [found])]

    def forget(self) -> None:
        """Drop what is kept between the passes of one run."""
        self.contexts: dict = {}
        self.memories = TextMemories()
        self.fitting: set = set()
        self.network.forget()

    def _shared(self, tensors, shapes, count: int) -> tuple[list[Tensor], Tensor | None]:
        """The first worker's tensors, on every worker's device."""
        found = []
        for i, (shape, dtype) in enumerate(shapes):
            here = (
                torch.empty(shape, dtype=dtype, device=self.device) if tensors is None else tensors[i].to(self.device)
            )
            dist.broadcast(here.view(-1).view(torch.uint8), 0)
            found.append(here)
        return found[:count], found[count] if len(found) > count else None

    def _fit(self, parts: list[Tensor]) -> None:
        """Have the weights where they shall be while passes of this size are computed."""
        shapes = tuple(t.shape for t in parts)
        if shapes in self.fitting:
            return
        batch, numbers = len(parts[0]), sum(t[0].numel() for t in parts)
        shape = shapes[0] if len(parts) == 1 else (batch, 1, numbers)
        memory = self.patcher.model.memory_required(shape)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory)
        self.fitting.add(shapes)


def patched_hash(patcher) -> str:
    """SHA-256 of the layers whose weights are patched now, as they would be saved, in the order of their names."""
    found = hashlib.sha256()
    for layer in sorted({name.rpartition(".")[0] for name in patcher.backup}):
        for name, part in comfy.utils.get_attr(patcher.model, layer).state_dict().items():
            found.update(f"{layer}.{name}".encode())
            found.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def serve(inbox: queue.Queue, answers) -> None:
    """Answer what is asked, one thing after the other."""
    worker = None
    while True:
        number, name, body = unpacked(inbox.get())
        failure = value = None
        try:
            given = unpacked(body)
            with torch.inference_mode():
                if name == "load":
                    worker = Worker(**given)
                else:
                    value = getattr(worker, name)(*(given if isinstance(given, tuple) else (given,)))
        except Exception as error:  # the driver ends this process then, and says what it was
            logging.exception("a worker of NAVA Parallel failed (%s)", name)
            failure = f"{type(error).__name__}: {error}"
        write_frame(answers, packed((number, failure, value)))
