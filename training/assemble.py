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

    def trained(part: str, *results: str) -> list[Path]:
        """The results of a part's trainings, or none where the part stays."""
        paths = [runs / result for result in results]
        if all(path.exists() for path in paths):
            return paths
        if not (folder / NAMES[part]).exists():
            raise FileNotFoundError(f"neither {' and '.join(map(str, paths))} nor {folder / NAMES[part]} is there")
        print(f"{NAMES[part]} stays as it is")
        return []

    for part, result in {
        "transformer": f"{config['transformer']}/transformer.safetensors",
        "text": f"{config['transformer']}/umt5.safetensors",
        "voice": "mini_voice_encoder/redimnet.pt",
    }.items():
        for path in trained(part, result):
            shutil.copyfile(path, folder / NAMES[part])
    halves = []
    for half in ("encoder", "decoder"):
        result = runs / config.get(f"video_{half}", f"mini_video_{half}") / f"{half}.safetensors"
        halves.append(result if result.exists() else folder / NAMES["video"])
    if halves != [folder / NAMES["video"]] * 2:
        video.join(*halves, folder / NAMES["video"])
    if sounds := trained("audio", "mini_audio_vae/autoencoder.safetensors", "mini_vocoder/vocoder.safetensors"):
        vae = ltx.build(config["audio"])
        for module, path in zip((vae.autoencoder, vae.vocoder), sounds, strict=True):
            module.load_state_dict(load_file(path))
        ltx.write(vae.state_dict(), config["audio"], folder / NAMES["audio"])
    total = sum((folder / n).stat().st_size for n in NAMES.values())
    print(f"{folder}: {total / 1e6:.1f} MB in five files")
