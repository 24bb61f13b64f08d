"""The clips that a LoRA learns something new from (`training/world/novel.py`), as an artist would bring them: mp4 and txt."""

from pathlib import Path

import torch

from .preview import write_clip
from .world import Request, novel


def train(config: dict, folder: Path) -> None:
    """config: count. Writes `000.mp4` with its prompt `000.txt`, and so on, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(config["count"]):
        clip = novel.clip(novel.FIRST + i, Request())
        write_clip(torch.from_numpy(clip.frames), torch.from_numpy(clip.sound), folder / f"{i:03}.mp4")
        (folder / f"{i:03}.txt").write_text(clip.captions["en"][0] + "\n", encoding="utf-8")
    print(f"{config['count']} clips in {folder}")
