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
    """config: runs (folder of all trainings), transformer and video_encoder (names of their last ones), audio (sizes of the audio VAE).

    Writes the five files into `folder`; a part whose training is not on this machine stays as it is there. Raises
    FileNotFoundError where it is in neither place.
    """
    runs = Path(config["runs"])
    folder.mkdir(parents=True, exist_ok=True)

    def newest(part: str, result: str) -> Path:
        """What a training of the part made, or where that is not on this machine the part as it lies in `folder`."""
        if (runs / result).exists():
            return runs / result
        if not (folder / NAMES[part]).exists():
            raise FileNotFoundError(f"neither {runs / result} nor {folder / NAMES[part]} is there")
        print(f"{runs / result} is not there: what {NAMES[part]} has of it stays")
        return folder / NAMES[part]

    for part, result in {
        "transformer": f"{config['transformer']}/transformer.safetensors",
        "text": f"{config['transformer']}/umt5.safetensors",
        "voice": "mini_voice_encoder/redimnet.pt",
    }.items():
        if (path := newest(part, result)) != folder / NAMES[part]:
            shutil.copyfile(path, folder / NAMES[part])
    halves = [
        newest("video", f"{config.get(f'video_{half}', f'mini_video_{half}')}/{half}.safetensors")
        for half in ("encoder", "decoder")
    ]
    if halves != [folder / NAMES["video"]] * 2:
        video.join(*halves, folder / NAMES["video"])
    sounds = [
        newest("audio", r) for r in ("mini_audio_vae/autoencoder.safetensors", "mini_vocoder/vocoder.safetensors")
    ]
    if folder / NAMES["audio"] not in sounds:
        vae = ltx.build(config["audio"])
        for module, path in zip((vae.autoencoder, vae.vocoder), sounds, strict=True):
            module.load_state_dict(load_file(path))
        ltx.write(vae.state_dict(), config["audio"], folder / NAMES["audio"])
    total = sum((folder / n).stat().st_size for n in NAMES.values())
    print(f"{folder}: {total / 1e6:.1f} MB in five files")
