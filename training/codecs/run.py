"""What the trainings of all codecs share: steps, learning rate, moving average, atomic checkpoints, a CSV log."""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import curves
from ..world import Clip, Request, scene


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100, floor: float = 0.02) -> float:
    """Linear warm-up, then a half cosine down to `floor` of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup)))) / 2)


def scenes(first_seed: int, keep: int, request: Callable[[int], Request]) -> Iterator[list[Clip]]:
    """An endless, slowly changing collection of `keep` scenes: one of them is new at every step.

    Scenes cost more to make than a step costs to take, so each is used for a while.
    """
    clips: list[Clip] = []
    seed = first_seed
    while True:
        fresh = scene(seed, request(seed))
        if len(clips) < keep:
            clips.append(fresh)
        else:
            clips[seed % keep] = fresh
        seed += 1
        if len(clips) >= min(keep, 16):
            yield clips


class Run:
    """One training: `for step in run:` ... `run.learn(losses)`; it can be killed at any moment and started again."""

    def __init__(
        self,
        folder: Path,
        modules: nn.Module,
        steps: int,
        rate: float,
        decay: float = 0.998,
        betas=(0.9, 0.99),
        save_every: float = 120,
        optimiser=None,
    ):
        self.folder, self.modules, self.steps, self.rate, self.decay = folder, modules, steps, rate, decay
        self.optimiser = optimiser or torch.optim.AdamW(
            [p for p in modules.parameters() if p.requires_grad], rate, betas, weight_decay=0.0
        )
        self.average = {k: v.detach().clone() for k, v in modules.state_dict().items()}
        self.step, self.save_every = 0, save_every
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            modules.load_state_dict(state["modules"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step = state["average"], state["step"]
            torch.set_rng_state(state["random"])
            print(f"resumed at step {self.step}", flush=True)
        self._saved = self._shown = time.monotonic()
        self._began, self._first = time.monotonic(), self.step
        self._sums: dict[str, float] = {}
        self._count = 0

    def __iter__(self) -> Iterator[int]:
        while self.step < self.steps:
            yield self.step
        self.save()

    def learn(self, loss: Tensor, shown: dict[str, float], clip: float = 1.0) -> None:
        """One optimiser step, the moving average, and what is due of logging and saving."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.rate)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.modules.parameters(), clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.step += 1
        keep = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for k, v in self.modules.state_dict().items():
                if v.is_floating_point():
                    self.average[k].lerp_(v, 1 - keep)
                else:
                    self.average[k].copy_(v)
        self._count += 1
        for k, v in shown.items():
            self._sums[k] = self._sums.get(k, 0.0) + v
        now = time.monotonic()
        if now - self._shown > 20 or self.step == self.steps:
            self._report(now)
        if now - self._saved > self.save_every:
            self.save()

    def _report(self, now: float) -> None:
        means = {k: v / self._count for k, v in self._sums.items()}
        pace = (now - self._began) / (self.step - self._first)
        left = (self.steps - self.step) * pace / 60
        print(
            f"step {self.step}/{self.steps}  {pace:.2f} s a step, {left:.0f} min left  "
            + "  ".join(f"{k} {v:.4g}" for k, v in means.items()),
            flush=True,
        )
        log = self.folder / "log.csv"
        new = not log.exists()
        with open(log, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds_a_step", *means])
            writer.writerow([self.step, f"{pace:.3f}", *(f"{v:.5g}" for v in means.values())])
        curves.draw(log, self.folder / "curves.png")
        self._sums, self._count, self._shown = {}, 0, now

    def save(self) -> None:
        state = {
            "modules": self.modules.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average,
            "step": self.step, "random": torch.get_rng_state(),
        }  # fmt: skip
        part = self.checkpoint.with_suffix(f".{os.getpid()}.part")
        torch.save(state, part)
        part.replace(self.checkpoint)
        self._saved = time.monotonic()
