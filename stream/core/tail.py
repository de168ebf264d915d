"""The tail of a score's distribution: which level is exceeded how seldom.

Peaks over threshold: excesses over a high level t follow a generalised Pareto distribution (Pickands 1975), so
    P(X > z) = (n_t / n) * (1 + shape * (z - t) / scale)^(-1 / shape)
and the level exceeded with probability q follows (Siffer et al., KDD 2017, eq. 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Below that, the estimate says more about luck than about the tail.
MIN_EXCESSES = 10


@dataclass(frozen=True, slots=True)
class ParetoTail:
    """Generalised Pareto distribution of excesses: shape (0 = exponential, > 0 heavy) and scale (> 0)."""

    shape: float
    scale: float

    def level(self, start: float, share: float, probability: float) -> float:
        """The level that is exceeded with `probability`.

        Args:
            start: t, the level whose excesses the tail describes.
            share: n_t / n, share of all scores above it.
            probability: q, of one score; below `share`.
        """
        ratio = probability / share
        if ratio >= 1:
            return start
        if abs(self.shape) < 1e-6:
            return start - self.scale * math.log(ratio)
        return start + self.scale / self.shape * (ratio**-self.shape - 1)


def fit_tail(excesses: np.ndarray) -> ParetoTail | None:
    """Fit [n] positive excesses; None with fewer than `MIN_EXCESSES` or without spread.

    The quasi-Bayesian estimator of Zhang and Stephens (Technometrics 2009), with the weak prior of Vehtari et al.
    (Pareto smoothed importance sampling) that pulls the shape to 0.5 as ten further excesses would: no iteration, no
    failure to converge, better than maximum likelihood on small samples.
    """
    x = np.sort(np.asarray(excesses, dtype=np.float64))
    n = len(x)
    if n < MIN_EXCESSES or x[-1] <= 0 or x[-1] - x[0] <= 1e-12 * x[-1]:
        return None
    x = np.maximum(x, 1e-12 * x[-1])
    quartile = x[int(n / 4 + 0.5) - 1]
    points = 30 + int(math.sqrt(n))
    grid = 1 / x[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    shapes = np.mean(np.log1p(-grid[:, None] * x), axis=1)
    log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
    with np.errstate(over="ignore"):  # beyond any float: a weight of 0
        weights = 1 / np.sum(np.exp(log_likelihood[None, :] - log_likelihood[:, None]), axis=1)
    theta = float(np.sum(grid * weights) / np.sum(weights))
    shape = float(np.mean(np.log1p(-theta * x)))
    scale = -shape / theta
    shape = (shape * n + 0.5 * 10) / (n + 10)
    if not (math.isfinite(shape) and math.isfinite(scale) and scale > 0):
        return None
    return ParetoTail(shape, scale)
