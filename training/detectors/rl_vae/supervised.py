"""The baseline that any few-label detector must stand beside: a classifier on window features with the very same labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN, LabelPool
from wheeltapper.training.detectors.rl_vae.windows import WindowBank
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL

# Windows of the train part that the classifier gets as normal ones, as the agent does; labels are weighted up to them.
NORMAL_WINDOWS = 2000
FEATURE_CLIP = 10.0
CLASSIFIERS = ("logistic", "boosting")
_CHUNK = 2048

Classifier = Callable[[WindowBank], np.ndarray]
"""Windows to [m] float64, larger is stranger."""


def window_features(bank: WindowBank) -> np.ndarray:
    """[m, 4 C] float32 of z-scores: last row, mean, standard deviation and largest deviation from 0 over the window."""
    parts = []
    for index in np.array_split(np.arange(len(bank)), max(1, -(-len(bank) // _CHUNK))):
        rows = np.clip(bank.take(index).numpy(), -FEATURE_CLIP, FEATURE_CLIP)
        parts.append(
            np.concatenate([rows[:, -1], rows.mean(axis=1), rows.std(axis=1), np.abs(rows).max(axis=1)], axis=1)
        )
    return np.concatenate(parts)


def fit_classifier(kind: str, normal: WindowBank, pool: LabelPool, seed: int) -> Classifier:
    """A classifier of the pool's known labels and of normal windows.

    Args:
        kind: one of `CLASSIFIERS`.

    Returns:
        A scorer; one that gives 0 to all windows where no anomaly is known, as nothing can be learnt then.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    known = np.flatnonzero(pool.known != UNKNOWN)
    labels = pool.known[known]
    if not (labels == ANOMALOUS).any():
        return lambda bank: np.zeros(len(bank))
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(normal))[:NORMAL_WINDOWS])
    features = np.concatenate([window_features(pool.bank.subset(known)), window_features(normal.subset(chosen))])
    target = np.concatenate([labels, np.full(len(chosen), NORMAL, dtype=np.int8)])
    # All labelled windows together weigh as much as the train part's; within a class all weigh the same.
    weight = np.concatenate([np.full(len(known), len(chosen) / len(known)), np.ones(len(chosen))])
    weight[target == ANOMALOUS] *= weight[target == NORMAL].sum() / weight[target == ANOMALOUS].sum()
    if kind == "logistic":
        model = LogisticRegression(C=0.01, max_iter=200)
    else:
        model = HistGradientBoostingClassifier(max_iter=60, min_samples_leaf=5, early_stopping=False, random_state=seed)
    model.fit(features, target, sample_weight=weight / weight.mean())
    return lambda bank: np.asarray(model.decision_function(window_features(bank)), dtype=np.float64)
