"""Metrics of clips, as DCASE task 2 defines them, thresholds from normal clips alone, and whether blame falls where the fault is.

Sign: a larger score is more anomalous. Where clips of both kinds are needed and one is missing, the value is None.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wheeltapper.training.judging.metrics.ranking import auc_roc

PARTIAL_FPR = 0.1
"""Up to which false alarm rate DCASE takes its partial area."""
THRESHOLD_FPR = 0.1
"""Share of held-out normal windows above the threshold, as DCASE's baselines choose it."""


def partial_auc(labels: np.ndarray, scores: np.ndarray, max_fpr: float = PARTIAL_FPR) -> float | None:
    """Area under the ROC curve up to a false positive rate, so scaled (McClish) that 0.5 is chance and 1 is perfect."""
    from sklearn.metrics import roc_auc_score

    if not 0 < np.count_nonzero(labels) < len(labels):
        return None
    return float(roc_auc_score(labels, scores, max_fpr=max_fpr))


def harmonic_mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; 0 counts as the least float, as in DCASE's evaluators. None where nothing is known."""
    known = np.maximum([value for value in values if value is not None], sys.float_info.epsilon)
    return float(len(known) / np.sum(1 / known)) if len(known) else None


@dataclass(frozen=True)
class DomainMetrics:
    """Of one machine.

    Attributes:
        auc, pauc: over all clips.
        auc_source, auc_target: normal clips of the domain against the anomalous ones of both; None where there are no domains.
        official: harmonic mean of the AUC of each domain and pAUC (DCASE 2022 on); without domains of AUC and pAUC.
    """

    auc: float | None
    pauc: float | None
    auc_source: float | None
    auc_target: float | None
    official: float | None


def domain_metrics(labels: np.ndarray, scores: np.ndarray, domains: Sequence[str]) -> DomainMetrics:
    """
    Args:
        labels, scores: [n], one a clip.
        domains: 'source', 'target' or '' of each.
    """
    names = np.asarray(domains, dtype=str)
    labels = np.asarray(labels).astype(int)

    def of(domain: str) -> float | None:
        if not (names == domain).any():
            return None
        chosen = (names == domain) | (labels == 1)
        return auc_roc(labels[chosen], scores[chosen])

    auc, pauc = auc_roc(labels, scores), partial_auc(labels, scores)
    source, target = of("source"), of("target")
    by_domain = [value for value in (source, target) if value is not None]
    official = None if auc is None else harmonic_mean([*(by_domain or [auc]), pauc])
    return DomainMetrics(auc, pauc, source, target, official)


def threshold_of(held_out: np.ndarray, false_alarm_rate: float = THRESHOLD_FPR) -> float:
    """The level above which that share of held-out normal scores lies.

    Args:
        held_out: [n] scores of normal windows by models that were not fitted on them: cross-validation of the train part.
    """
    return float(np.quantile(np.asarray(held_out, dtype=np.float64), 1 - false_alarm_rate, method="higher"))


@dataclass(frozen=True)
class ThresholdMetrics:
    """What a threshold does to clips; None where it is not defined."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None


def at_threshold(labels: np.ndarray, scores: np.ndarray, threshold: float) -> ThresholdMetrics:
    """Clips whose score is above the threshold are called anomalous."""
    labels = np.asarray(labels).astype(bool)
    called = np.asarray(scores) > threshold
    hits, wrong = int((called & labels).sum()), int((called & ~labels).sum())
    recall = hits / int(labels.sum()) if labels.any() else None
    precision = hits / (hits + wrong) if hits + wrong else None
    f1 = None if recall is None else 2 * hits / (hits + wrong + int(labels.sum()))
    rate = wrong / int((~labels).sum()) if not labels.all() else None
    return ThresholdMetrics(threshold, precision, recall, f1, rate)


@dataclass(frozen=True)
class PatchHit:
    """How much of the blame of one window lies where the fault was.

    Attributes:
        share: of the contribution in cells that the disturbance touches.
        area: share of cells that it touches: what blame without a clue would reach.
        peak: whether the most blamed cell is one of them.
    """

    share: float
    area: float
    peak: bool


def patch_hit(
    contribution: np.ndarray,
    bands: Sequence[tuple[float, float]],
    window_s: float,
    disturbed: Sequence[tuple[float, float, float, float]],
) -> PatchHit | None:
    """
    Args:
        contribution: [F, T], 0 or more.
        bands: (low Hz, high Hz) of each row.
        window_s: length of the window, T equal parts.
        disturbed: (start s, end s, low Hz, high Hz) with the window's start at 0.

    Returns:
        None where the disturbance does not touch the window.
    """
    columns = contribution.shape[1]
    edges = np.linspace(0.0, window_s, columns + 1)
    low, high = np.array([band[0] for band in bands]), np.array([band[1] for band in bands])
    inside = np.zeros(contribution.shape, dtype=bool)
    for start, end, bottom, top in disturbed:
        times = (edges[:-1] < end) & (edges[1:] > start)
        rows = (low < top) & (high > bottom)
        inside |= rows[:, None] & times[None, :]
    if not inside.any():
        return None
    total = float(contribution.sum())
    share = float(contribution[inside].sum()) / total if total > 0 else 0.0
    peak = bool(total > 0 and inside.ravel()[int(contribution.argmax())])
    return PatchHit(share, float(inside.mean()), peak)
