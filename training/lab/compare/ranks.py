"""Are the differences between detectors more than luck? Friedman's test and Nemenyi's critical difference.

Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006). Ranks are per entity, 1 the best,
ties share their mean rank.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
LEAST_DETECTORS = 2
LEAST_ENTITIES = 5


@dataclass(frozen=True)
class Ranking:
    """
    Attributes:
        names: k detectors, best mean rank first; ranks: their mean ranks.
        entities: n, that all of them have results on.
        chi_square, p_value: Friedman's test of 'all are alike', corrected for ties.
        critical_difference: of mean ranks, Nemenyi at 5 %: two detectors closer than that are not told apart.
        groups: (first, last) positions in `names` of the largest groups that are not told apart, of two or more.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    entities: int
    chi_square: float
    p_value: float
    critical_difference: float
    groups: tuple[tuple[int, int], ...]


def rank_detectors(names: Sequence[str], scores: np.ndarray) -> Ranking | None:
    """Compare [n, k] scores, larger is better, of k detectors on n entities; None with too few of either.

    Raises:
        ValueError: a score that is not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    entities, detectors = scores.shape
    if detectors < LEAST_DETECTORS or entities < LEAST_ENTITIES:
        return None
    if not np.isfinite(scores).all():
        raise ValueError("every detector needs a finite score on every entity")
    table = entity_ranks(scores)
    means = table.mean(axis=0)
    order = np.argsort(means, kind="stable")
    chi_square, p_value = friedman(table)
    difference = critical_difference(detectors, entities)
    ordered = means[order]
    return Ranking(
        names=tuple(names[index] for index in order),
        ranks=tuple(float(value) for value in ordered),
        entities=entities,
        chi_square=chi_square,
        p_value=p_value,
        critical_difference=difference,
        groups=not_told_apart(ordered, difference),
    )


def entity_ranks(scores: np.ndarray) -> np.ndarray:
    """[n, k] ranks from 1, the largest score of a row first, ties by their mean."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, axis=1), dtype=np.float64)


def friedman(ranks: np.ndarray) -> tuple[float, float]:
    """Chi-square with k - 1 degrees of freedom, corrected for ties, and its p-value; (0, 1) where all is tied.

    12 / (n k (k + 1)) * sum_j R_j^2 - 3 n (k + 1), divided by 1 - sum(t^3 - t) / (n (k^3 - k)); R_j rank sums, t the sizes of
    groups of equal ranks within a row.
    """
    from scipy.stats import chi2

    n, k = ranks.shape
    ties = sum(float(np.sum(counts**3 - counts)) for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    correction = 1 - ties / (n * (k**3 - k))
    if correction <= 1e-12:
        return 0.0, 1.0
    plain = 12 / (n * k * (k + 1)) * float(np.sum(ranks.sum(axis=0) ** 2)) - 3 * n * (k + 1)
    statistic = max(0.0, plain / correction)
    return statistic, float(chi2.sf(statistic, k - 1))


def critical_difference(detectors: int, entities: int, alpha: float = ALPHA) -> float:
    """q_alpha sqrt(k (k + 1) / (6 n)); q_alpha is the studentized range's quantile over sqrt 2."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, detectors, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(detectors * (detectors + 1) / (6 * entities))


def not_told_apart(ordered: np.ndarray, difference: float) -> tuple[tuple[int, int], ...]:
    """Largest stretches of ascending mean ranks that lie within the critical difference, as (first, last)."""
    spans = [
        (first, int(np.searchsorted(ordered, ordered[first] + difference, side="right")) - 1)
        for first in range(len(ordered))
    ]
    longest = [span for before, span in itertools.pairwise([(-1, -1), *spans]) if span[1] > before[1]]
    return tuple((first, last) for first, last in longest if last > first)
