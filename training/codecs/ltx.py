"""The LTX-2.3 audio VAE of the host, in small: its configuration, its mel spectrogram, its file."""

import json
from pathlib import Path

import torch
from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
from safetensors.torch import save_file
from torch import Tensor, nn

from nava_core.audio import mel_filters

RATE = 16000
MEL_FLOOR = -11.512925  # log of the smallest magnitude a mel spectrogram holds


def settings(channels: int, vocoder_channels: int, bwe_channels: int) -> dict:
    """The `config` of a file; every field is one that the released file has."""
    wave = {
        "resblock": "AMP1", "stereo": True, "activation": "snakebeta", "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]], "use_tanh_at_final": False, "use_bias_at_final": False,
    }  # fmt: skip
    return {
        "audio_vae": {
            "model": {
                "params": {
                    "ddconfig": {
                        "double_z": True, "mel_bins": 64, "z_channels": 8, "resolution": 256, "downsample_time": False,
                        "in_channels": 2, "out_ch": 2, "ch": channels, "ch_mult": [1, 2, 4], "num_res_blocks": 1,
                        "attn_resolutions": [], "dropout": 0.0, "mid_block_add_attention": False, "norm_type": "pixel",
                        "causality_axis": "height",
                    },
                    "sampling_rate": RATE,
                }
            },
            "preprocessing": {
                "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024, "causal": True},
                "mel": {"n_mel_channels": 64},
            },
        },
        "vocoder": {
            "vocoder": {**wave, "upsample_initial_channel": vocoder_channels, "upsample_rates": [1, 1, 160], "upsample_kernel_sizes": [1, 1, 480]},
            "bwe": {
                **wave, "upsample_initial_channel": bwe_channels, "upsample_rates": [6, 5, 2, 2, 2],
                "upsample_kernel_sizes": [12, 11, 4, 4, 4], "n_fft": 512, "hop_length": 80, "num_mels": 64,
                "input_sampling_rate": RATE, "output_sampling_rate": 48000,
            },
        },
    }  # fmt: skip


def build(config: dict) -> AudioVAE:
    """An initialised, untrained audio VAE with vocoder and bandwidth extension; the mel bases are in place."""
    vae = AudioVAE(
        {"config": json.dumps(settings(config["channels"], config["vocoder_channels"], config["bwe_channels"]))}
    )
    for module in vae.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="leaky_relu", a=0.7)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, parameter in vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            nn.init.zeros_(parameter)  # in the logarithm: frequency and size 1
        elif "convs2" in name or ".conv2." in name:
            parameter.data *= 0.2
    # Silence is far from zero in a logarithm: start both stages so that it gives nothing, and what is loud gives more.
    # The output is clamped, and what is clamped learns nothing: it starts at a level far from that.
    noise = MEL_FLOOR * torch.rand(1, 2, 64, 50)
    for stage, level in ((vae.vocoder.vocoder, 0.05), (vae.vocoder.bwe_generator, 0.002)):
        stage.conv_pre.weight.data *= 0.15
        stage.conv_pre.bias.data = -MEL_FLOOR * stage.conv_pre.weight.data.sum((1, 2))
        stage.conv_post.weight.data *= 1e-4
        with torch.no_grad():
            stage.conv_post.weight.data *= level / stage(noise).std()
    statistics = vae.autoencoder.per_channel_statistics
    statistics.get_buffer("mean-of-means").zero_()
    statistics.get_buffer("std-of-means").fill_(1)
    fourier, size = vae.vocoder.mel_stft, 512
    steps = torch.arange(size, dtype=torch.float64)
    angle = 2 * torch.pi * torch.arange(size // 2 + 1, dtype=torch.float64)[:, None] * steps / size
    basis = torch.cat([angle.cos(), -angle.sin()]) * torch.hann_window(size, dtype=torch.float64)
    fourier.stft_fn.forward_basis.copy_(basis[:, None])
    fourier.stft_fn.inverse_basis.copy_(basis[:, None])
    fourier.mel_basis.copy_(mel_filters(size // 2 + 1, 0, RATE / 2, 64, RATE, slaney=True).T)
    return vae


def to_mel(vae: AudioVAE, sound: Tensor, rate: int) -> Tensor:
    """`[B, 2, N]` -> log-mel `[B, 2, frames, 64]`, 100 frames a second."""
    return vae.preprocessor.waveform_to_mel(sound, rate, device=sound.device)


def write(weights: dict[str, Tensor], config: dict, path: Path) -> None:
    """A file in the released layout: `audio_vae.` and `vocoder.` keys, the configuration in the metadata."""
    named = {}
    for key, value in weights.items():
        key = key.replace("autoencoder.", "audio_vae.", 1) if key.startswith("autoencoder.") else key
        if key.startswith(("audio_vae.", "vocoder.")):
            keep = "mel_stft" in key or "per_channel" in key or value.ndim == 1 or value.abs().max() < 1e-4
            named[key] = value.float().contiguous() if keep else value.half().contiguous()
    text = json.dumps(settings(config["channels"], config["vocoder_channels"], config["bwe_channels"]))
    part = path.with_suffix(".part")
    save_file(named, part, {"config": text})
    part.replace(path)
