"""KMeansAD: the distance of a window to the nearest of K centroids of train windows. No torch; scikit-learn for the fit.

    z = clip((x - mean) / std, -clip, clip)
    v = z, or z less the window's mean ('level'), or that over the window's deviation ('shape')       [W, C]
    k = the centroid nearest to v
    contribution_c = sum over the window's rows of (v - centroid_k)^2
    score = sqrt(sum of the contributions) = || v - centroid_k ||
    expected = the last row of centroid_k, raw units;  embedding = the window's mean of z

Yairi et al. (2001); as evaluated in Schmidl et al., PVLDB 15(9), 2022 and in TSB-AD.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.models.kmeans_ad.fitted import LEAST_SHAPE_DEVIATION, FittedKMeans
from wheeltapper.models.kmeans_ad.graph import build_graph
from wheeltapper.models.kmeans_ad.settings import KMeansSettings, Normalise
from wheeltapper.models.row_scaling import RowScaling, fit_row_scaling
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.errors import InputError

# Windows that the centroids are fitted on, evenly spaced: more change the score by less than another seed does.
FITTED_WINDOWS = 5000
# float32 values of these windows at most: with many channels fewer of them are taken.
FITTED_VALUES = 2**24


class KMeansAD(FittedKMeans):
    """Fitted KMeansAD; a `wheeltapper.models.fitted.FittedDetector`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.kmeans_ad.torchscript import build_torchscript

        return build_torchscript(self)


def fit_kmeans_ad(
    rows: TrainingRows,
    settings: KMeansSettings | None = None,
    *,
    seed: int = 0,
    channels: Sequence[str] | None = None,
) -> KMeansAD:
    """Fit on normal rows; needs scikit-learn.

    Args:
        seed: of the first centroids.
        channels: C names, for warnings.

    Raises:
        InputError: no run of rows as long as a window.
    """
    from sklearn.cluster import KMeans

    settings = settings or KMeansSettings()
    scaling = fit_row_scaling(rows, settings.scale)
    windows = normalised(_train_windows(rows, scaling, settings), settings.normalise)
    vectors = windows.reshape(len(windows), -1).astype(np.float32)
    distinct = len(np.unique(vectors, axis=0))
    model = KMeans(min(settings.clusters, distinct), n_init=1, random_state=seed).fit(vectors)
    centroids = model.cluster_centers_.reshape(-1, settings.window, rows.channels).astype(np.float32)
    return KMeansAD(
        settings=settings,
        scaling=scaling,
        centroids=centroids,
        seed=seed,
        warnings=_blind_spots(settings, scaling, channels),
    )


def normalised(windows: np.ndarray, how: Normalise) -> np.ndarray:
    """v of z [n, W, C]."""
    if how == "none":
        return windows
    centered = windows - windows.mean(axis=1, keepdims=True)
    if how == "level":
        return np.asarray(centered)
    deviation = np.sqrt(np.mean(centered**2, axis=1, keepdims=True))
    return np.asarray(centered / np.maximum(deviation, LEAST_SHAPE_DEVIATION))


def _train_windows(rows: TrainingRows, scaling: RowScaling, settings: KMeansSettings) -> np.ndarray:
    """[n, W, C] float64, z: windows evenly spaced over all runs."""
    window = settings.window
    places = [(run, start) for run in range(len(rows.runs)) for start in range(len(rows.runs[run]) - window + 1)]
    if not places:
        raise InputError(f"no stretch of training rows without a gap is as long as the window of {window} rows")
    count = max(2, min(FITTED_WINDOWS, len(places), FITTED_VALUES // (window * rows.channels)))
    chosen = np.unique(np.linspace(0, len(places) - 1, count).astype(np.int64))
    cut = [rows.runs[run][start : start + window] for run, start in (places[index] for index in chosen)]
    return scaling.apply(np.stack(cut), settings.clip)


def _blind_spots(settings: KMeansSettings, scaling: RowScaling, channels: Sequence[str] | None) -> tuple[str, ...]:
    found = [
        "a window near any typical one is normal, whatever came before it: an untimely but ordinary state is not seen"
    ]
    if settings.normalise != "none":
        found.append("the level of each window is taken out: a shifted channel with its usual pattern is not seen")
    if constant := scaling.constant_names(channels):
        found.append(f"constant in training, so the scale of their change is a guess: {constant}")
    return tuple(found)
