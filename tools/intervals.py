"""Means with their uncertainty, and paired comparison of two runs."""

from dataclasses import dataclass

import numpy as np

DRAWS = 5000
SEED = 0
EXACT = 12  # prompts: up to 2^12 signs are tried one by one


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; count values of `prompts` prompts. p: two-sided, of a difference only."""

    mean: float
    low: float
    high: float
    count: int
    prompts: int
    p: float | None = None


def interval(values: list[float], prompts: list[str]) -> Interval:
    """Mean over the prompts' means, and its interval by bootstrap over prompts (seeds of one prompt are not independent).

    One prompt alone gives an unbounded interval: it says nothing about others.
    """
    if not values or len(values) != len(prompts):
        raise ValueError(f"an interval needs one prompt a value, got {len(values)} and {len(prompts)}")
    means = by_prompt(values, prompts)
    mean = float(means.mean())
    if len(means) == 1:
        return Interval(mean, float("-inf"), float("inf"), len(values), 1)
    drawn = np.random.default_rng(SEED).integers(len(means), size=(DRAWS, len(means)))
    low, high = np.quantile(means[drawn].mean(1), (0.025, 0.975))
    return Interval(mean, float(low), float(high), len(values), len(means))


def difference(first: dict[tuple[str, int], float], second: dict[tuple[str, int], float]) -> Interval | None:
    """second - first over the (prompt, seed) pairs that both have, with a sign-flip test over prompts. None: no pairs."""
    pairs = sorted(first.keys() & second.keys())
    if not pairs:
        return None
    values, prompts = [second[k] - first[k] for k in pairs], [k[0] for k in pairs]
    found = interval(values, prompts)
    means = by_prompt(values, prompts)
    n = len(means)
    if n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        p = float(np.mean(np.abs(signs @ means) >= abs(means.sum()) - 1e-12))
    else:
        signs = 1 - 2 * np.random.default_rng(SEED).integers(2, size=(DRAWS, n))
        # the observed signs are one of the possible draws
        p = float((1 + np.sum(np.abs(signs @ means) >= abs(means.sum()) - 1e-12)) / (1 + DRAWS))
    return Interval(found.mean, found.low, found.high, found.count, found.prompts, p)


def by_prompt(values: list[float], prompts: list[str]) -> np.ndarray:
    groups: dict[str, list[float]] = {}
    for value, prompt in zip(values, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    return np.array([np.mean(group) for group in groups.values()])
