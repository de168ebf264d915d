"""Floors: simple detectors in every report. A bundle that scores below them adds nothing.

| name | score of a row |
|---|---|
| random | uniform noise; metrics are means over seeds |
| l2 | L2 norm of the standardised row |
| pca | squared part of the standardised row outside of the first 10 principal components of the train part |
| kmeans_ad | distance of the last 20 standardised rows to the nearest of 20 centroids of train windows |
| isolation_forest | isolation forest on standardised rows |

All are fitted on the train part alone and score each row from that row and those before it. Standardised: by mean and
standard deviation of the train part; a channel that is constant there has no scale and is left out. Data sets that
come scaled over train and test together would otherwise lend a floor knowledge of the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.training_rows import training_rows

RANDOM_SEEDS = 3
PCA_COMPONENTS = 10
KMEANS_WINDOW = 20
KMEANS_CLUSTERS = 20
# Windows that the centroids are fitted on, evenly spaced: more change the score by less than another seed does.
_KMEANS_WINDOWS = 5000
_CHUNK = 8192


@dataclass(frozen=True)
class FloorScores:
    """Scores of one floor on the test part.

    Attributes:
        name: as in the module's table.
        scores: one [T] array a seed.
        contributions: [T, C] what each channel adds to the score, for floors whose score is a sum over channels.
    """

    name: str
    scores: tuple[np.ndarray, ...]
    contributions: np.ndarray | None = None


def floor_scores(series: SensorSeries, *, seed: int = 0) -> Iterator[FloorScores]:
    """Fit and score every floor, one after the other.

    Raises:
        InputError: too few train rows.
    """
    train, test, used = _standardised(series)
    yield FloorScores("random", tuple(np.random.default_rng(seed + i).random(len(test)) for i in range(RANDOM_SEEDS)))
    for name, residual in (("l2", test), ("pca", _pca_residual(train, test))):
        squares = np.square(residual, dtype=np.float64)
        contributions = np.zeros((len(test), len(used)))
        contributions[:, used] = squares
        yield FloorScores(name, (np.sqrt(squares.sum(axis=1)),), contributions)
    windowed: tuple[tuple[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]], ...] = (
        ("kmeans_ad", _kmeans_ad),
        ("isolation_forest", _isolation_forest),
    )
    for name, score in windowed:
        yield FloorScores(name, (score(train, test, seed),))


def _standardised(series: SensorSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train and test part [T, C'] float32 without the channels constant in train, and [C] bool which are used."""
    rows = training_rows([series.train], at_least=KMEANS_CLUSTERS, detector="the floors")
    train, test = rows.runs[0], carry_forward(series.test, rows.typical)
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    used = np.ptp(train, axis=0) > 0
    if not used.any():
        used = np.ones(train.shape[1], dtype=bool)
        deviation = np.ones_like(deviation)
    return (
        ((train[:, used] - mean[used]) / deviation[used]).astype(np.float32),
        ((test[:, used] - mean[used]) / deviation[used]).astype(np.float32),
        used,
    )


def _pca_residual(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """[T, C'] what the first principal components leave of the test part; at most half the channels are components."""
    components = min(PCA_COMPONENTS, train.shape[1] // 2)
    covariance = train.T.astype(np.float64) @ train / len(train)
    _, vectors = np.linalg.eigh(covariance)
    kept = vectors[:, train.shape[1] - components :].astype(np.float32)
    return test - (test @ kept) @ kept.T


def _kmeans_ad(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    window = min(KMEANS_WINDOW, len(train), len(test))
    count = len(train) - window + 1
    chosen = np.unique(np.linspace(0, count - 1, min(count, _KMEANS_WINDOWS)).astype(np.int64))
    sample = windows_of(train, window)[chosen].reshape(len(chosen), -1)
    clusters = min(KMEANS_CLUSTERS, len(np.unique(sample, axis=0)))
    model = KMeans(clusters, n_init=1, random_state=seed).fit(sample)
    windows = windows_of(test, window)
    distances = [
        model.transform(windows[start : start + _CHUNK].reshape(-1, sample.shape[1])).min(axis=1)
        for start in range(0, len(windows), _CHUNK)
    ]
    scores = np.concatenate(distances)
    return np.concatenate([np.full(window - 1, scores[0]), scores])


def _isolation_forest(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=100, random_state=seed).fit(train)
    return -np.concatenate([forest.score_samples(test[i : i + _CHUNK]) for i in range(0, len(test), _CHUNK)])
