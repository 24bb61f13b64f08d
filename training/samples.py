"""Training samples on disk: safetensors shards of latents, voices and prompts, read once and kept in memory.

A shard holds, per sample i, `<i>.video` [C, T, h, w] and `<i>.audio` [L, C'] (either may be absent), `<i>.voices` [n, 192]
where lines are spoken, and `<i>.text.<k>` [S, text_dim] where text is already encoded; the metadata entry `samples` lists
for each sample its wordings ("prompts", with `<S>...<E>`) and, with encoded text, the rows that voices replace ("positions").
"""

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    video: Tensor | None
    audio: Tensor | None
    voices: Tensor | None
    prompts: tuple[str, ...]
    rows: tuple[Tensor, ...] = field(default=())  # encoded prompts, one per wording
    positions: tuple[tuple[int, ...], ...] = field(default=())  # of each, the rows of the spoken lines' sentinels


def write_shard(path: Path, samples: list[Sample]) -> None:
    """Latents are stored in float16, voices in float32. The file appears under its name only when complete."""
    tensors, listed = {}, []
    for i, sample in enumerate(samples):
        listed.append({"prompts": list(sample.prompts), "positions": [list(p) for p in sample.positions]})
        for name in ("video", "audio", "voices"):
            value = getattr(sample, name)
            if value is not None:
                tensors[f"{i}.{name}"] = value.to(torch.float32 if name == "voices" else torch.float16).contiguous()
        tensors |= {f"{i}.text.{k}": rows.to(torch.float16).contiguous() for k, rows in enumerate(sample.rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(tensors, part, {"samples": json.dumps(listed)})
    part.replace(path)


def read_shard(path: Path) -> list[Sample]:
    with safe_open(path, "pt") as file:
        keys, listed = set(file.keys()), json.loads(file.metadata()["samples"])

        def get(key: str) -> Tensor | None:
            return file.get_tensor(key) if key in keys else None

        return [
            Sample(
                get(f"{i}.video"), get(f"{i}.audio"), get(f"{i}.voices"), tuple(entry["prompts"]),
                tuple(file.get_tensor(f"{i}.text.{k}") for k in range(len(entry["prompts"])) if f"{i}.text.{k}" in keys),
                tuple(tuple(p) for p in entry.get("positions", ())),
            )
            for i, entry in enumerate(listed)
        ]  # fmt: skip


class Samples:
    """All samples of a folder, in groups of equal shapes. `refresh` takes in shards that were added meanwhile."""

    def __init__(self, folder: Path):
        self.folder, self.read = folder, set()
        self.groups: dict[tuple, list[Sample]] = defaultdict(list)
        self.refresh()
        if not self.groups:
            raise ValueError(f"{folder} holds no samples (*.safetensors): encode some first")

    def refresh(self) -> None:
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self.read:
                self.read.add(path)
                for sample in read_shard(path):
                    shapes = tuple(None if t is None else tuple(t.shape) for t in (sample.video, sample.audio))
                    self.groups[shapes].append(sample)

    @property
    def count(self) -> int:
        return sum(map(len, self.groups.values()))

    def draw(self, generator: torch.Generator, count: int) -> list[Sample]:
        """`count` samples of one shape; shapes by how many samples have them."""
        groups = list(self.groups.values())
        sizes = torch.tensor([len(g) for g in groups], dtype=torch.float32)
        group = groups[torch.multinomial(sizes, 1, generator=generator).item()]
        return [group[i] for i in torch.randint(len(group), (count,), generator=generator).tolist()]
