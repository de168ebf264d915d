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
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from wheeltapper.models.fitted import where_torch_is
from wheeltapper.models.row_scaling import CLIP, RowScaling, Scale, fit_row_scaling
from wheeltapper.models.training_rows import TrainingRows, training_rows
from wheeltapper.schemas.errors import InputError

DETECTOR = "kmeans-ad"
VERSION = 1

LEAST_ROWS = 50
# Default window, rows: a single channel has nothing but its past to be told apart by.
WINDOW, WINDOW_SINGLE_CHANNEL = 20, 64
# Windows that the centroids are fitted on, evenly spaced: more change the score by less than another seed does.
FITTED_WINDOWS = 5000
# float32 values of these windows at most: with many channels fewer of them are taken.
FITTED_VALUES = 2**24
# A window that hardly moves would otherwise become noise of unit size; a share of the train part's deviation.
LEAST_SHAPE_DEVIATION = 0.1

Normalise = Literal["none", "level", "shape"]


@dataclass(frozen=True)
class KMeansSettings:
    """
    Attributes:
        window: W, rows.
        clusters: K; fewer where the train part has fewer distinct windows.
        normalise: what is taken out of each window, channel by channel: 'none', its mean ('level'), or mean and
            deviation ('shape').
        clip: standardised values are cut there.
        scale: 'train' standardises by the train part, 'given' takes values as they come.
    """

    window: int = WINDOW
    clusters: int = 60
    normalise: Normalise = "none"
    clip: float = CLIP
    scale: Scale = "train"

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a setting outside of its range.
        """
        least = 1 if self.normalise == "none" else 2
        if self.window < least:
            raise InputError(f"kmeans-ad: window is {self.window} rows, expected {least} or more")
        if self.clusters < 1:
            raise InputError(f"kmeans-ad: clusters is {self.clusters}, expected 1 or more")
        if not self.clip > 0:
            raise InputError(f"kmeans-ad: clip is {self.clip}, expected a number above 0")


@dataclass
class KMeansAD:
    """Fitted KMeansAD; a `wheeltapper.models.fitted.FittedDetector`. Not to be changed once fitted.

    Attributes:
        centroids: [K, W, C] float32, standardised units.
    """

    settings: KMeansSettings
    scaling: RowScaling
    centroids: np.ndarray
    seed: int = 0
    warnings: tuple[str, ...] = ()
    detector: str = field(default=DETECTOR, init=False)
    version: int = field(default=VERSION, init=False)
    window: int = field(init=False)
    lag: int = field(default=0, init=False)
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.settings.window
        self.parameters = asdict(self.settings) | {"centroids": len(self.centroids), "seed": self.seed}

    @property
    def channels(self) -> int:
        return self.scaling.channels

    def onnx_bytes(self) -> bytes:
        """The graph; needs onnx."""
        from wheeltapper.models.kmeans_ad.graph import build_graph

        return build_graph(self)

    def torchscript_bytes(self) -> bytes | None:
        """The same graph for libtorch; None where torch is not installed."""

        def build() -> bytes:
            from wheeltapper.models.kmeans_ad.torchscript import build_torchscript

            return build_torchscript(self)

        return where_torch_is(build)


def fit_kmeans_ad(
    runs: Sequence[np.ndarray],
    settings: KMeansSettings | None = None,
    *,
    seed: int = 0,
    channels: Sequence[str] | None = None,
) -> KMeansAD:
    """Fit on normal rows; needs scikit-learn.

    Args:
        runs: [T_i, C] float, raw units, NaN where a sensor gave nothing; contiguous in time within a run.
        seed: of the first centroids.
        channels: C names, for warnings.

    Raises:
        InputError: too few rows, no run as long as a window, or values that are not numbers.
    """
    from sklearn.cluster import KMeans

    settings = settings or KMeansSettings()
    rows = training_rows(runs, at_least=max(LEAST_ROWS, 2 * settings.window), detector=DETECTOR)
    scaling = fit_row_scaling(rows, settings.scale)
    windows = normalised(_train_windows(rows, scaling, settings), settings.normalise)
    vectors = windows.reshape(len(windows), -1).astype(np.float32)
    distinct = len(np.unique(vectors, axis=0))
    model = KMeans(min(settings.clusters, distinct), n_init=1, random_state=seed).fit(vectors)
    centroids = model.cluster_centers_.reshape(-1, settings.window, rows.channels).astype(np.float32)
    return KMeansAD(settings, scaling, centroids, seed, warnings=_blind_spots(settings, scaling, channels))


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
