"""Threshold-free metrics of a score: AUC-PR, AUC-ROC, VUS-PR, VUS-ROC.

Sign: a larger score is more anomalous. Labels are 0 and 1; there must be rows of both, otherwise none of these is defined
and the functions return None.
"""

from __future__ import annotations

import numpy as np

from wheeltapper.training.datasets.labels import runs

# Rows by which a labelled segment is widened at most. TSB-AD takes the length of the series' period or of its median
# segment; one number for all makes series, and reports, comparable.
VUS_BUFFER = 100

# The published definition samples that many thresholds, at equal steps of rank.
_THRESHOLDS = 250


def auc_pr(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Average precision: area under the point-wise precision-recall curve; labels, scores [T]."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores)) if _defined(labels) else None


def auc_roc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the point-wise ROC curve; labels, scores [T]."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores)) if _defined(labels) else None


def vus_by_ranks(labels: np.ndarray, scores: np.ndarray, buffer: int = VUS_BUFFER) -> tuple[float | None, float | None]:
    """VUS-PR and VUS-ROC: volumes under the range-aware PR and ROC surfaces over buffers 0..`buffer` rows.

    Paparrizos et al., PVLDB 15(11), 2022. The values are those of aeon's `range_pr_vus_score` and `range_roc_vus_score`, about
    40 times faster. As there, a constant score gets 0: it ranks nothing.

    Instead of comparing every row with every threshold, rows are sorted by score once; each threshold is then a
    position in cumulative sums, and a segment is found where its largest score reaches the threshold.
    """
    if not _defined(labels):
        return None, None
    if np.ptp(scores) == 0:
        return 0.0, 0.0
    scores = scores.astype(np.float64)
    rows = len(scores)
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    thresholds = descending[np.linspace(0, rows - 1, _THRESHOLDS, dtype=np.int64)]
    taken = np.searchsorted(-descending, -thresholds, side="right")  # rows at or above each threshold
    true_rows = int(labels.sum())
    volumes = np.zeros(2)
    for size in range(buffer + 1):
        soft = _widened(labels, size)
        hits = np.cumsum(soft[order])[taken - 1]
        positives = (true_rows + soft.sum()) / 2
        peaks = np.sort([scores[start:stop].max() for start, stop in runs(soft)])
        found = 1 - np.searchsorted(peaks, thresholds, side="left") / len(peaks)
        recall = np.concatenate([[0.0], np.minimum(hits / positives, 1) * found, [1.0]])
        false_rate = np.concatenate([[0.0], np.minimum((taken - hits) / (rows - positives), 1), [1.0]])
        precision = np.concatenate([[1.0], hits / taken])
        volumes[0] += np.sum(np.diff(recall[:-1]) * (precision[1:] + precision[:-1]) / 2)
        volumes[1] += np.sum(np.diff(false_rate) * (recall[1:] + recall[:-1]) / 2)
    pr, roc = volumes / (buffer + 1)
    return float(pr), float(roc)


def _widened(labels: np.ndarray, size: int) -> np.ndarray:
    """[T] float64: labels with slopes of size / 2 rows on both sides of every segment."""
    soft = labels.astype(np.float64)
    if size <= 1:
        return soft
    rows = len(soft)
    slope = size // 2
    for start, stop in runs(labels):
        last = stop - 1
        after = np.arange(last, min(last + slope, rows))
        soft[after] += np.sqrt(1 - (after - last) / size)
        before = np.arange(max(start - slope, 0), start)
        soft[before] += np.sqrt(1 - (start - before) / size)
    return np.clip(soft, 0, 1)


def _defined(labels: np.ndarray) -> bool:
    return bool(0 < np.count_nonzero(labels) < len(labels))
