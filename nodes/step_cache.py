"""Skips the network in steps where neither stream would change much."""

import logging
from dataclasses import dataclass

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from .host import require_nava

SETTINGS, RUN, KEY = "nava_step_cache", "nava_step_cache_run", "nava_step_cache"


@dataclass(frozen=True)
class Settings:
    """How much each stream may be thought to have changed, relative to itself, and the part of sampling this acts in."""

    picture: float
    sound: float
    start: float
    end: float


class Stream:
    """Of one stream, how far its velocity is thought to have moved since it was last computed (EasyCache's measure).

    The velocity is taken to change in proportion to the network's input, by the rate last seen.
    """

    def __init__(self, most: float):
        self.most = most
        self.moved = 0.0
        self.rate = self.given = self.made = None

    def still(self, x: Tensor) -> bool:
        """Whether the velocity for `x` can be guessed from the last one."""
        if self.rate is None:
            return False
        self.moved = self.moved + self.rate * (x - self.given).abs().mean() / self.made.abs().mean()
        return bool(self.moved < self.most)

    def learn(self, x: Tensor, velocity: Tensor) -> None:
        if self.given is not None:
            change = (x - self.given).abs().mean()
            self.rate = (velocity - self.made).abs().mean() / change.clamp(min=torch.finfo(x.dtype).tiny)
        self.given, self.made, self.moved = x.clone(), velocity.clone(), 0.0


class Run:
    """One sampling run. The first pass of a step decides for all of them."""

    def __init__(self, settings: Settings, model_sampling):
        self.range = [float(model_sampling.percent_to_sigma(p)) for p in (settings.start, settings.end)]
        self.most = settings.picture, settings.sound
        self.streams: list[Stream] | None = None
        self.lead = None  # the pass that decides
        self.skipping = False
        self.differences: dict = {}  # velocity less input of each pass, of each stream
        self.shapes = None
        self.skipped = self.steps = 0
        self.vetoes = [0, 0]  # steps that the picture, the sound alone would not have skipped

    def decide(self, parts: list[Tensor], lone: int | None) -> bool:
        """parts: the leading pass's input; lone: which stream it is when there is only one."""
        if self.streams is None:
            self.streams = [Stream(most) for most in (self.most if lone is None else [self.most[lone]])]
        still = [stream.still(x) for stream, x in zip(self.streams, parts, strict=True)]
        if len(still) == 2 and still[0] != still[1]:
            self.vetoes[still.index(False)] += 1
        return all(still)

    def report(self) -> str:
        said = f"skipped {self.skipped} of {self.steps} steps"
        for name, other, count in (("picture", "sound", self.vetoes[0]), ("sound", "picture", self.vetoes[1])):
            if count:
                said += f"; {count} more would have done for the {other} but not for the {name}"
        return said


def run_network(executor, x, timestep, context, transformer_options, **kwargs):
    """DIFFUSION_MODEL wrapper."""
    run: Run | None = transformer_options.get(RUN)
    if run is None or "context_window" in transformer_options:
        return executor(x, timestep, context, transformer_options, **kwargs)
    parts, uuids = (list(x) if isinstance(x, (list, tuple)) else [x]), transformer_options["uuids"]
    shapes = [part.shape[1:] for part in parts]
    if shapes != run.shapes:  # another latent: begin anew
        run.shapes, run.streams, run.lead, run.differences = shapes, None, None, {}
    run.lead = run.lead or uuids[0]
    each = parts[0].shape[0] // len(uuids)
    rows = {uuid: slice(i * each, (i + 1) * each) for i, uuid in enumerate(uuids)}
    leading = [part[rows[run.lead]] for part in parts] if run.lead in rows else None
    sigma = float(transformer_options["sigmas"][0])
    if leading is not None:
        run.steps += 1
        lone = None if len(parts) == 2 else int(parts[0].ndim == 4)
        run.skipping = run.decide(leading, lone) and run.range[0] >= sigma >= run.range[1]
        run.skipped += run.skipping
    if run.skipping and all(uuid in run.differences for uuid in uuids):
        out = [part + torch.cat([run.differences[uuid][i] for uuid in uuids]) for i, part in enumerate(parts)]
        return out if len(out) > 1 else out[0]
    given = [part.clone() for part in parts]
    found = executor(x, timestep, context, transformer_options, **kwargs)
    made = list(found) if isinstance(found, (list, tuple)) else [found]
    for uuid, row in rows.items():
        run.differences[uuid] = [v[row] - g[row] for v, g in zip(made, given, strict=True)]
    if leading is not None:
        for stream, g, v in zip(run.streams, given, made, strict=True):
            stream.learn(g[rows[run.lead]], v[rows[run.lead]])
    return found


def begin_step(executor, *args, **kwargs):
    """CALC_COND_BATCH wrapper."""
    options = (args[4] if len(args) > 4 else kwargs["model_options"])["transformer_options"]
    if options.get(RUN) is not None:
        options[RUN].skipping = False
    return executor(*args, **kwargs)


def begin_run(executor, *args, **kwargs):
    """OUTER_SAMPLE wrapper."""
    guider = executor.class_obj
    options = guider.model_options["transformer_options"]
    run = options[RUN] = Run(options[SETTINGS], guider.model_patcher.get_model_object("model_sampling"))
    try:
        return executor(*args, **kwargs)
    finally:
        del options[RUN]
        logging.info("NavaStepCache: %s", run.report())


WRAPPERS = {
    WrappersMP.DIFFUSION_MODEL: run_network,
    WrappersMP.CALC_COND_BATCH: begin_step,
    WrappersMP.OUTER_SAMPLE: begin_run,
}


class NavaStepCache(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def number(name: str, default: float, most: float, tooltip: str, advanced: bool = False) -> io.Float.Input:
            return io.Float.Input(
                name, default=default, min=0.0, max=most, step=0.01, tooltip=tooltip, advanced=advanced
            )

        return io.Schema(
            node_id="NavaStepCache",
            display_name="NAVA Step Cache",
            category="NAVA/model",
            description="Saves time by guessing steps that would change little, as EasyCache does, but only where picture "
            "and sound both allow it: music and speech change in steps where the picture is still. It changes the result.",
            search_aliases=["easycache", "teacache", "faster", "skip steps"],
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model, with any LoRA or patch in between."),
                number("picture", 0.2, 3.0, "How much the picture may be expected to change before a step is computed again. 0 never skips; more is faster and less exact."),
                number("sound", 0.2, 3.0, "The same for the sound. A step is skipped only when both allow it."),
                number("start", 0.15, 1.0, "From which part of sampling on (0 to 1) steps may be skipped. The first ones decide what the clip becomes.", True),
                number("end", 0.95, 1.0, "Up to which part of sampling (0 to 1) steps may be skipped.", True),
            ],
            outputs=[io.Model.Output(tooltip="For NAVA Guider or any sampler. The log says how many steps were skipped.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, picture, sound, start, end) -> io.NodeOutput:
        require_nava(model, "NavaStepCache, model")
        if start >= end:
            raise ValueError(f"NavaStepCache, start: {start:g} is not before end ({end:g}): nothing would be skipped.")
        model = model.clone()
        options = model.model_options["transformer_options"] = model.model_options.get("transformer_options", {}).copy()
        options[SETTINGS] = Settings(picture, sound, start, end)
        for kind, wrapper in WRAPPERS.items():
            model.remove_wrappers_with_key(kind, KEY)  # of another such node before
            model.add_wrapper_with_key(kind, KEY, wrapper)
        return io.NodeOutput(model)
