"""Trains the vocoder (mel spectrogram to 16 kHz) and its bandwidth extension (to 48 kHz) on the small world's sounds.

Losses are spectral, at several window lengths and on mel bands, so that a window of any size hears the same.
"""

import random
from pathlib import Path

import torch
import torchaudio
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import ltx
from .audio import batch, sounds
from .run import Run

WINDOWS = (256, 512, 1024, 2048)


def spectra(sound: Tensor, size: int) -> Tensor:
    """Magnitudes `[B, size/2 + 1, frames]` of mono signals `[B, N]`."""
    spectrum = torch.stft(sound, size, size // 4, window=torch.hann_window(size), return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-9).sqrt()


def spectral_distance(made: Tensor, real: Tensor) -> Tensor:
    """Log and linear differences of magnitudes, averaged over window lengths; `[B, 2, N]` each.

    The difference of the two channels is heard too, so that placement in stereo counts.
    """
    made, real = (torch.cat([s.flatten(0, 1), s[:, 0] - s[:, 1]]) for s in (made, real))
    total = 0.0
    for size in WINDOWS:
        a, b = spectra(made, size), spectra(real, size)
        floor = 1e-3 * size**0.5
        log = ((a + floor).log() - (b + floor).log()).abs().mean()
        total = total + log + (a - b).square().sum().sqrt() / (b.square().sum().sqrt() + 1)
    return total / len(WINDOWS)


def train(config: dict, folder: Path) -> None:
    """config: the sizes of the audio VAE, steps, rate, batch, seconds, seed; optional init (a vocoder file to start from),
    autoencoder (a trained one, whose reconstructions are then vocoded half of the time)."""
    torch.manual_seed(config["seed"])
    vae = ltx.build(config)
    if config.get("init"):
        vae.vocoder.load_state_dict(load_file(config["init"]))
    if config.get("autoencoder"):
        vae.autoencoder.load_state_dict(load_file(config["autoencoder"]))
    run = Run(folder, vae.vocoder, config["steps"], config["rate"], betas=(0.8, 0.99))
    chooser = random.Random(config["seed"] + run.step)
    source = sounds(3 * 10**6 + run.step, 256)
    samples = round(config["seconds"] * 100) * 480
    for _ in run:
        wide = batch(next(source), chooser, config["batch"], samples)
        narrow = torchaudio.functional.resample(wide, 48000, ltx.RATE)
        mel = ltx.to_mel(vae, narrow, ltx.RATE)[:, :, : narrow.shape[2] // 160]
        if config.get("autoencoder") and chooser.random() < 0.5:
            with torch.no_grad():
                latents = vae.autoencoder.encode(mel)[:, :8]
                coded = vae.autoencoder.decode(latents, target_shape=mel.shape)
                mel = torch.cat([coded[:, :, : mel.shape[2]], mel[:, :, coded.shape[2] :]], dim=2)
        low = vae.vocoder.vocoder(mel.transpose(2, 3))
        # the extension hears the real low band, so that both stages learn from the first step
        source_mel = vae.vocoder._compute_mel(narrow)
        high = vae.vocoder.bwe_generator(source_mel) + vae.vocoder.resampler(narrow)
        first, second = spectral_distance(low, narrow), spectral_distance(high[..., : wide.shape[2]], wide)
        run.learn(first + 0.5 * second, {"vocoder": first.item(), "extension": second.item()})
    part = folder / "vocoder.part"
    save_file({k: v.contiguous() for k, v in run.average.items()}, part)
    part.replace(folder / "vocoder.safetensors")
