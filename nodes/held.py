"""Holding given parts while NAVA samples: softly by noising them anew at every step, or hard, as noise-free."""

import math

import comfy.sample
import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrappersMP

from .masks import SOFT, way_and_strength

VALUES = 1000  # noise masks are told apart to so fine steps: the host may have resized them


class Held:
    """What one run keeps: works on packed latents as on single ones, with any sampler and any guider.

    mask: as `masks.hold_value` says, of the latent's shape; sampling: the run's noise schedule; sigmas: its levels.
    """

    def __init__(self, mask: torch.Tensor, sampling, sigmas: torch.Tensor, others: bool):
        """others: whether a node changes the mask from step to step (Differential Diffusion)."""
        values = (mask * VALUES).round() / VALUES
        self.until = torch.full_like(mask, math.inf)  # the timestep below which a part is released
        self.soft = torch.zeros_like(mask, dtype=torch.bool)
        self.mask = torch.where(values < 0, 1.0, mask)  # as the host and the network shall see it
        for value in values[values < 0].unique().tolist():
            way, strength = way_and_strength(value)
            here = values == value
            sigma = float(sampling.percent_to_sigma(strength))
            self.until[here] = timestep(sigma)
            if way == SOFT:
                self.soft |= here
            else:
                self.mask[here] = -(timestep(sigma) + 0.5) / 1000
        self.any = bool(torch.isfinite(self.until).any())
        self.kept = self.until <= timestep(float(sigmas[-1]))
        if not others:
            self.kept |= mask == 0

    def begin(self, guider, latent, noise, seed, shapes):
        """Noise and mask for the host. latent: as the network sees it. Where a run goes on without noise, it is drawn anew."""
        if not self.any:
            return noise, self.mask
        device = noise.device
        self.until, self.soft = self.until.to(device), self.soft.to(device)
        held = torch.isfinite(self.until)
        if not torch.count_nonzero(noise[held]):
            parts = comfy.utils.unpack_latents(noise, shapes) if len(shapes) > 1 else [noise]
            drawn = comfy.sample.prepare_noise(NestedTensor(parts), seed or 0).unbind()
            drawn = comfy.utils.pack_latents(drawn)[0] if len(shapes) > 1 else drawn[0]
            noise = torch.where(held, drawn.to(noise), noise)
        self.latent, self.noise = latent.to(noise), noise
        options = guider.model_options["transformer_options"]
        wrappers = options.setdefault("wrappers", {})
        # first, so that nodes that remember earlier steps do it within
        wrappers[WrappersMP.PREDICT_NOISE] = {"nava_hold": [self], **wrappers.get(WrappersMP.PREDICT_NOISE, {})}
        if bool((self.mask < 0).any()):
            self.function = guider.model_options.get("denoise_mask_function")
            guider.model_options["denoise_mask_function"] = self.host_mask
        return noise, None if bool((self.mask == 1).all()) else self.mask

    def host_mask(self, sigma, denoise_mask, extra_options):
        """Parts that are held here are free for the host."""
        denoise_mask = torch.where(denoise_mask < 0, 1.0, denoise_mask)
        return denoise_mask if self.function is None else self.function(sigma, denoise_mask, extra_options)

    def __call__(self, executor, x, sigma, *args, **kwargs):
        """PREDICT_NOISE wrapper: the network sees what is held as it is given, and the sampler gets it as the estimate."""
        device, level = x.device, float(sigma.max())
        for name in ("until", "soft", "latent", "noise"):
            setattr(self, name, getattr(self, name).to(device))
        held = self.until <= timestep(level)
        x = torch.where(held, torch.where(self.soft, (1 - level) * self.latent + level * self.noise, self.latent), x)
        return torch.where(held, self.latent, executor(x, sigma, *args, **kwargs))

    def finish(self, out, given):
        """The result, with what was held to the end as it was given, bit for bit."""
        return torch.where(self.kept.to(out.device), given.to(out), out)


def timestep(sigma: float) -> int:
    """As the network is told it, so that both release at the same step."""
    return min(math.floor(1000 * sigma), 999)


def level_at(level, t: float):
    """A noise level or a tensor of them, where one below 0 says: noise-free until that sigma."""
    if isinstance(level, torch.Tensor):
        released = t < torch.floor(-1000 * level).clamp(max=999)
        return torch.where(level < 0, released.to(level), level)
    return level if level >= 0 else float(t < timestep(-level))
