"""Differences of recall and AUROC with one-sided confidence bounds; rates of alarms. Numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# Neighbouring windows share rows: a fall between states is judged by so many stretches of windows, not by each alone.
BLOCKS = 20


@dataclass(frozen=True)
class Difference:
    """New less old.

    Attributes:
        old, new: the two values.
        lower, upper: ends of one-sided intervals of `new - old`, each at the asked confidence.
    """

    old: float
    new: float
    lower: float
    upper: float

    @property
    def value(self) -> float:
        return self.new - self.old

    def to_json(self) -> dict[str, float]:
        """Rounded to four digits."""
        return {name: round(float(getattr(self, name)), 4) for name in ("old", "new", "value", "lower", "upper")}


def paired(old: np.ndarray, new: np.ndarray, confidence: float) -> Difference:
    """Means of [n] values (hits, say) of the same windows."""
    difference = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    return _difference(float(np.mean(old)), float(np.mean(new)), error, confidence)


def between_states(old: np.ndarray, new: np.ndarray, confidence: float) -> Difference:
    """Means of [n] values of unlike windows under the same disturbances, by blocks of windows."""
    gaps = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    blocks = [float(part.mean()) for part in np.array_split(gaps, min(BLOCKS, len(gaps)))]
    error = float(np.std(blocks, ddof=1)) / math.sqrt(len(blocks)) if len(blocks) > 1 else math.inf
    return _difference(float(np.mean(old)), float(np.mean(new)), error, confidence)


def paired_auroc(
    old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray], confidence: float
) -> Difference:
    """AUROCs of (faults [n], normals [m]) by two scores of the same windows (DeLong et al., 1988)."""
    first, second = placements(*old), placements(*new)
    error = math.sqrt(sum(_variance(b - a) / len(a) for a, b in zip(first, second, strict=True)))
    return _difference(float(first[0].mean()), float(second[0].mean()), error, confidence)


def auroc_between_states(
    old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray], confidence: float
) -> Difference:
    """AUROCs of (faults, normals) of two sets of windows.

    Faults by blocks; normals of each set by blocks too, so that what neighbours share does not count as evidence.
    """
    first, second = placements(*old), placements(*new)
    same = len(first[0]) == len(second[0])
    parts = [second[0] - first[0]] if same else [first[0], second[0]]
    error = math.sqrt(sum(_block_variance(part) for part in (*parts, first[1], second[1])))
    return _difference(float(first[0].mean()), float(second[0].mean()), error, confidence)


def placements(faults: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n]: of each fault the share of normals that score less; [m]: of each normal the share of faults that score more.

    Ties count half; the mean of either is the AUROC.
    """
    faults, normals = np.asarray(faults, dtype=np.float64), np.asarray(normals, dtype=np.float64)
    return _share_below(faults, normals), 1.0 - _share_below(normals, faults)


def least_rate(count: float, days: float, confidence: float) -> float:
    """Lower bound of a rate per day of which `count` events were seen in so many days (Poisson, exact)."""
    events = math.floor(count)
    if events <= 0:
        return 0.0
    low, high = 0.0, float(events)
    for _ in range(60):
        middle = (low + high) / 2
        below = math.exp(-middle) * sum(middle**k / math.factorial(k) for k in range(min(events, 150)))
        low, high = (middle, high) if 1 - below < 1 - confidence else (low, middle)
    return low / days


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    return np.asarray((left + right) / (2 * len(ordered)))


def _difference(old: float, new: float, error: float, confidence: float) -> Difference:
    reach = NormalDist().inv_cdf(confidence) * error
    return Difference(old, new, new - old - reach, new - old + reach)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else math.inf


def _block_variance(values: np.ndarray) -> float:
    """Of the mean."""
    blocks = np.array([float(part.mean()) for part in np.array_split(values, min(BLOCKS, len(values)))])
    return _variance(blocks) / len(blocks)
