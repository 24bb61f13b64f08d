"""The sound as it forms, to be heard in the live view: decoded now and then, where time and memory allow."""

import base64
import io
import time
import wave

import comfy.model_management
import torch
import torch.nn.functional as F

from .sound import decode_sound

PROBE = 10  # latent steps, 0.4 s: decoded first, to learn what the whole would take
PROBES = 2  # the first one loads the decoder


class LiveSound:
    """Decodes with an audio VAE, as often as its share of the time allows."""

    def __init__(self, vae):
        self.vae = vae
        self.spent, self.probes, self.cost = 0.0, 0, float("inf")  # cost: seconds a latent step

    def hear(self, latent: torch.Tensor, budget: float) -> str | None:
        """A WAV file in base64 of `latent [1, 8, L, 16]`, or None where it would go beyond `budget` (seconds spent in all)."""
        latent = latent.squeeze(2) if latent.ndim == 5 else latent
        if not self.has_room(latent.shape):
            return None
        length = latent.shape[2]
        probe = self.spent + self.cost * length > budget
        if probe and (self.probes == PROBES or self.spent >= budget):
            return None
        part = latent[:, :, :PROBE] if probe else latent
        start = time.perf_counter()
        waveform, rate = decode_sound(part, self.vae)
        data = None if probe else wav(waveform[0], rate)
        taken = time.perf_counter() - start
        self.probes += probe
        self.spent += taken
        self.cost = min(self.cost, taken / part.shape[2])
        return data

    def has_room(self, shape) -> bool:
        """Whether the decoder fits beside what is loaded: nothing is unloaded for it while sampling goes on."""
        device = self.vae.patcher.load_device
        if comfy.model_management.is_device_cpu(device):
            return True
        working = max(
            comfy.model_management.minimum_inference_memory(), self.vae.memory_used_decode(shape, self.vae.vae_dtype)
        )
        return comfy.model_management.get_free_memory(device) > 1.1 * self.vae.patcher.model_size() + working


def wav(waveform: torch.Tensor, rate: int) -> str:
    """`[C, N]` -1..1 -> a small mono file of half the rate, 16 bit, in base64."""
    mono = F.avg_pool1d(waveform.float().cpu().mean(0, keepdim=True), 2)[0]
    samples = (mono.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate // 2)
        out.writeframes(samples.astype("<i2").tobytes())
    return base64.b64encode(file.getvalue()).decode()
