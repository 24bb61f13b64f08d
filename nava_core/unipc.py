"""UniPC, order 2, B(h) = exp(-h) - 1, x0-prediction, for flow matching (arXiv 2302.04867)."""

import itertools
import math
from collections.abc import Callable

from torch import Tensor

# log-SNR is infinite at pure noise; schedules that start at exactly 1 are treated as starting here.
MAX_SIGMA = 1 - 1e-6


def _log_snr(sigma: float) -> float:
    sigma = min(sigma, MAX_SIGMA)
    return math.inf if sigma <= 0 else math.log1p(-sigma) - math.log(sigma)


def _corrector_weights(h: float, r: float | None) -> tuple[float, float]:
    """Weights (rho_0 of D1, rho_1 of the new estimate); r None means order 1."""
    if r is None:
        return 0.0, 0.5
    phi, z = math.expm1(-h), -h
    g1 = phi / z - 1
    g2 = g1 / z - 0.5
    b1, b2 = g1 / phi, 2 * g2 / phi
    rho0 = (b1 - b2) / (1 - r)
    return rho0, b1 - rho0


def sample_unipc(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    sigmas: Tensor,
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
) -> Tensor:
    """Integrate from `noise` (the state at sigmas[0]) along `sigmas` and return the state at sigmas[-1].

    denoise(x, sigma) -> estimate of x0, with sigma a 0-d tensor. sigmas `[steps + 1]`, strictly falling, 0 only at
    the end. callback(step, x0, x, total_steps) runs after every evaluation. Works on any tensor, elementwise.
    """
    levels = [float(s) for s in sigmas]
    if not all(a > b for a, b in itertools.pairwise(levels)) or not levels[-1] >= 0:
        raise ValueError(f"sigmas must fall strictly and end at or above 0, got {levels}")
    if levels[0] > 1:
        raise ValueError(
            f"sigmas must begin at 1 or below, got {levels[0]}: this schedule is for another kind of model"
        )
    total = len(levels) - 1
    lambdas = [_log_snr(s) for s in levels]

    x, x_start = noise, noise  # the predicted state; the corrected state the last step started from
    estimate = previous = None  # x0 estimates at the start of the last step and one before
    r = None  # step ratio of the last step, None at order 1
    for i in range(total):
        new = denoise(x, sigmas[i])
        if callback is not None:
            callback(i, new, x, total)
        if i > 0:  # redo the last step, now knowing the estimate at its end
            s, t = levels[i - 1], levels[i]
            h = lambdas[i] - lambdas[i - 1]
            rho0, rho1 = _corrector_weights(h, r) if h else (0.0, 0.5)
            step = (1 - t) * math.expm1(-h)
            x = (t / s) * x_start - step * ((1 - rho1) * estimate + rho1 * new)
            if r is not None:
                x = x - step * (rho0 / r) * (previous - estimate)
        previous, estimate, x_start = estimate, new, x

        s, t = levels[i], levels[i + 1]
        h = lambdas[i + 1] - lambdas[i]
        step = (1 - t) * math.expm1(-h)
        # h is 0 between levels that are both treated as pure noise
        if i == 0 or i == total - 1 or not h or lambdas[i - 1] == lambdas[i]:
            r = None
            x = (t / s) * x_start - step * estimate
        else:
            r = (lambdas[i - 1] - lambdas[i]) / h
            x = (t / s) * x_start - step * (estimate + (0.5 / r) * (previous - estimate))
    return x
