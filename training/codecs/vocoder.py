"""Makes the vocoder (mel spectrogram to 16 kHz, `bands.py`) and trains its bandwidth extension (to 48 kHz) on the small world's
sounds.

Losses are spectral, at several window lengths and on mel bands, so that a window of any size hears the same. The vocoder is
not trained: with these losses it grew too quiet where it is loud, and worse in every trial than it was made.
"""

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nava_core.audio import mel_filters, resample

from . import bands, ltx
from .audio import batch, sounds
from .run import Run

WINDOWS = (256, 512, 1024, 2048)


def spectra(sound: Tensor, size: int) -> Tensor:
    """Magnitudes `[B, size/2 + 1, frames]` of mono signals `[B, N]`."""
    spectrum = torch.stft(sound, size, size // 4, window=torch.hann_window(size), return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-9).sqrt()


def spectral_distance(made: Tensor, real: Tensor, bands: list[tuple[int, Tensor]]) -> Tensor:
    """Differences of log magnitudes, by frequency and on mel bands, averaged over window lengths; `[B, 2, N]` each.

    Linear differences are left out: a sound of the right kind in the wrong phase is then worse than none, and a vocoder
    learns to be silent. The difference of the two channels is heard too, so that placement in stereo counts.
    """
    made, real = (torch.cat([s.flatten(0, 1), s[:, 0] - s[:, 1]]) for s in (made, real))
    total = 0.0
    for size, mel in bands:
        a, b = spectra(made, size), spectra(real, size)
        floor = 3e-4 * size**0.5
        total = total + 0.5 * ((a + floor).log() - (b + floor).log()).abs().mean()
        total = total + ((mel @ a + 1e-4).log() - (mel @ b + 1e-4).log()).abs().mean()
    return total / len(bands)


def mel_bands(rate: int) -> list[tuple[int, Tensor]]:
    """For each window length, the matrix from its spectrum to mel bands."""
    found = []
    for size in WINDOWS:
        bank = mel_filters(size // 2 + 1, 0, rate / 2, min(64, size // 8), rate, slaney=True)
        found.append((size, bank.T))
    return found


def audible(clips, chooser: random.Random, count: int, samples: int) -> Tensor:
    """A batch of cuts in which something is heard: of silence there is enough between sounds."""
    cuts = []
    while len(cuts) < count:
        cut = batch(clips, chooser, 1, samples)
        if cut.std() > 0.01 or chooser.random() < 0.05:
            cuts.append(cut)
    return torch.cat(cuts)


def train(config: dict, folder: Path) -> None:
    """config: the sizes of the audio VAE, steps, rate, batch, seconds, seed; optional init (a vocoder file whose extension to
    start from)."""
    torch.manual_seed(config["seed"])
    vae = ltx.build(config)
    bands.start(vae.vocoder.vocoder, ltx.RATE)
    if config.get("init"):
        extension = {k: v for k, v in load_file(config["init"]).items() if k.startswith("bwe_generator.")}
        vae.vocoder.load_state_dict(extension, strict=False)
    vae.vocoder.vocoder.requires_grad_(False)
    run = Run(folder, vae.vocoder, config["steps"], config["rate"], betas=(0.8, 0.99))
    chooser = random.Random(config["seed"] + run.step)
    source = sounds(3 * 10**6 + run.step, 256)
    samples = round(config["seconds"] * 100) * 480
    high = mel_bands(48000)
    for _ in run:
        wide = audible(next(source), chooser, config["batch"], samples)
        narrow = resample(wide, 48000, ltx.RATE)
        made = vae.vocoder.bwe_generator(vae.vocoder._compute_mel(narrow)) + vae.vocoder.resampler(narrow)
        loss = spectral_distance(made[..., : wide.shape[2]], wide, high)
        run.learn(loss, {"extension": loss.item()})
    part = folder / "vocoder.part"
    save_file({k: v.contiguous() for k, v in run.average.items()}, part)
    part.replace(folder / "vocoder.safetensors")
