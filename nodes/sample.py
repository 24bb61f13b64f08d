"""Schedule and solver: SIGMAS and SAMPLER."""

import comfy.samplers
from comfy_api.latest import io

from ..nava_core.schedule import flow_sigmas
from ..nava_core.unipc import sample_unipc
from .host import require_nava


class NavaScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaScheduler",
            display_name="NAVA Scheduler",
            category="NAVA/sampling",
            description="The noise schedule that NAVA was released with.",
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model."),
                io.Int.Input("steps", default=50, min=1, max=1000, tooltip="Released: 50. Fewer are faster and less exact."),
                io.Float.Input("shift", default=5.0, min=0.1, max=100.0, step=0.1, round=0.01, tooltip="How long sampling stays at high noise. Released: 5."),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 makes a new clip; less keeps part of the LATENT that goes in. 0 keeps all of it."),
            ],
            outputs=[io.Sigmas.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, steps, shift, denoise) -> io.NodeOutput:
        require_nava(model, "NavaScheduler, model")
        if denoise <= 0:
            return io.NodeOutput(flow_sigmas(1, shift)[:0])
        return io.NodeOutput(flow_sigmas(max(steps, int(steps / denoise)), shift)[-(steps + 1) :])


def unipc(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """The released solver in the form of a k-diffusion sampler function."""

    def denoise(x, sigma):
        return model(x, sigma * x.new_ones([x.shape[0]]), **(extra_args or {}))

    def report(step, x0, x, total_steps):
        if callback is not None:
            callback({"i": step, "denoised": x0, "x": x, "sigma": sigmas[step], "sigma_hat": sigmas[step]})

    return sample_unipc(denoise, x, sigmas, report)


SOLVERS = {"unipc": unipc}


class NavaSamplerSelect(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaSamplerSelect",
            display_name="NAVA Sampler",
            category="NAVA/sampling",
            description="The solver that NAVA was released with. Stock samplers (KSamplerSelect) work as well.",
            inputs=[io.Combo.Input("sampler", options=list(SOLVERS), default="unipc", tooltip="unipc: UniPC of order 2, as released.")],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, sampler) -> io.NodeOutput:
        return io.NodeOutput(comfy.samplers.KSAMPLER(SOLVERS[sampler]))
