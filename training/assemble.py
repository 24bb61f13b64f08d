"""Puts the trained parts of NAVA-mini together as the files that ComfyUI loads: assets/mini."""

import shutil
from pathlib import Path

from safetensors.torch import load_file

from .codecs import ltx, video

NAMES = {
    "transformer": "nava_mini.safetensors",
    "text": "nava_mini_umt5.safetensors",
    "video": "nava_mini_wan2.2_vae.safetensors",
    "audio": "nava_mini_ltx_audio_vae.safetensors",
    "voice": "nava_mini_redimnet.pt",
}


def train(config: dict, folder: Path) -> None:
    """config: runs (folder of all trainings), transformer (the name of its last one), audio (sizes of the audio VAE). Writes the five files into `folder`."""
    runs = Path(config["runs"])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(runs / config["transformer"] / "transformer.safetensors", folder / NAMES["transformer"])
    shutil.copyfile(runs / config["transformer"] / "umt5.safetensors", folder / NAMES["text"])
    video.join(
        runs / "mini_video_encoder" / "encoder.safetensors",
        runs / "mini_video_decoder" / "decoder.safetensors",
        folder / NAMES["video"],
    )
    vae = ltx.build(config["audio"])
    vae.autoencoder.load_state_dict(load_file(runs / "mini_audio_vae" / "autoencoder.safetensors"))
    vae.vocoder.load_state_dict(load_file(runs / "mini_vocoder" / "vocoder.safetensors"))
    ltx.write(vae.state_dict(), config["audio"], folder / NAMES["audio"])
    shutil.copyfile(runs / "mini_voice_encoder" / "redimnet.pt", folder / NAMES["voice"])
    total = sum((folder / n).stat().st_size for n in NAMES.values())
    print(f"{folder}: {total / 1e6:.1f} MB in five files")
