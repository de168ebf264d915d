"""Which labels to buy, and how far a label reaches."""

from __future__ import annotations

import numpy as np

from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN
from wheeltapper.training.fitting.labels import ANOMALOUS

FOREST_TREES = 100
# The train part shows what is ordinary for nothing: only every fifth of the first labels is spent on it.
USUAL_EVERY = 5


def first_queries(features: np.ndarray, error: np.ndarray, count: int, limit: int, apart: int, seed: int) -> np.ndarray:
    """Windows to begin with: most of them the most isolated of those with an error above the median, some the least isolated.

    Isolation alone would spend labels on windows that the VAE explains unusually well.

    Args:
        features, error: [m, F] and [m] of the pool's windows.
        count: wanted.
        limit: windows that the forest looks at, spread over the pool.
        apart: windows between two chosen ones, where there are enough (see `spread_out`).
    """
    from sklearn.ensemble import IsolationForest

    looked_at = spread_indices(len(features), limit)
    forest = IsolationForest(n_estimators=FOREST_TREES, random_state=seed).fit(features[looked_at])
    ranked = looked_at[np.argsort(forest.score_samples(features[looked_at]), kind="stable")]
    ordinary = count // USUAL_EVERY
    above = error[ranked] >= np.median(error)
    strange = spread_out(np.concatenate([ranked[above], ranked[~above]]), count - ordinary, apart)
    return np.concatenate([strange, spread_out(ranked[::-1], ordinary, apart, near=strange)])


def least_certain(advantage: np.ndarray, known: np.ndarray, count: int, apart: int) -> np.ndarray:
    """The `count` unknown windows with the smallest |Q1 - Q0|, apart from each other and from what is known."""
    candidates = np.flatnonzero(known == UNKNOWN)
    ranked = candidates[np.argsort(np.abs(advantage[candidates]), kind="stable")]
    return spread_out(ranked, count, apart, near=np.flatnonzero(known != UNKNOWN))


def spread_out(ranked: np.ndarray, count: int, apart: int, near: np.ndarray | None = None) -> np.ndarray:
    """The first `count` of `ranked` of which no two are closer than `apart`; then, if too few, the first ones left.

    Neighbouring windows share nearly all their rows: two labels of them are worth little more than one.

    Args:
        near: others to keep away from.
    """
    taken: list[int] = []
    blocked = np.zeros(int(ranked.max(initial=-1)) + apart + 1, dtype=bool)

    def block(index: int) -> None:
        blocked[max(index - apart + 1, 0) : index + apart] = True

    for index in () if near is None else near:
        block(int(index))
    for index in ranked:
        if len(taken) == count:
            break
        if not blocked[index]:
            taken.append(int(index))
            block(int(index))
    if len(taken) < count:
        left = ranked[~np.isin(ranked, taken)]
        taken += left[: count - len(taken)].tolist()
    return np.array(taken, dtype=np.int64)


def spread_labels(
    latent: np.ndarray, known: np.ndarray, *, count: int, neighbours: int, limit: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the `count` unknown windows that known ones say most about, by LabelSpreading over a k-nearest graph.

    Args:
        latent: [m, L], windows as the VAE sees them; distances mean something there.
        known: [m] with `UNKNOWN`.
        count: wanted at most.
        neighbours: k.
        limit: windows in the graph: all known ones (the latest, if they are more) and a choice of others.

    Returns:
        ([j] windows, [j] labels); none where only one class is known, which would spread over everything.
    """
    from sklearn.semi_supervised import LabelSpreading

    nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int8)
    labelled = np.flatnonzero(known != UNKNOWN)[-limit:]
    others = np.flatnonzero(known == UNKNOWN)
    others = others[np.sort(random.permutation(len(others))[: limit - len(labelled)])]
    if not count or not len(others) or len(np.unique(known[labelled])) < 2:
        return nothing
    chosen = np.concatenate([labelled, others])
    points = latent[chosen] / np.maximum(latent[chosen].std(axis=0), 1e-6)
    model = LabelSpreading(kernel="knn", n_neighbors=min(neighbours, len(chosen) - 1), alpha=0.2, max_iter=50)
    with np.errstate(all="ignore"):
        model.fit(points, known[chosen].astype(int))
    anomalous = model.label_distributions_[len(labelled) :, list(model.classes_).index(ANOMALOUS)]
    # A window that no label reaches has no distribution.
    reached = np.isfinite(anomalous) & (model.label_distributions_[len(labelled) :].sum(axis=1) > 0)
    certainty = np.where(reached, np.abs(anomalous - 0.5), -1.0)
    best = np.argsort(-certainty, kind="stable")[:count]
    best = best[certainty[best] > 0]
    return others[best], (anomalous[best] > 0.5).astype(np.int8)


def spread_indices(count: int, limit: int) -> np.ndarray:
    """At most `limit` of 0 .. count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))
