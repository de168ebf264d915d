"""Band profile once it is fitted: the formulas in numpy, and the arrays of which graph and TorchScript twin are built.

f_j = mean over the window's frames of L_j, dB, less the effect of the attributes: u B         [D]
z = (f - m) T
d_i = |z - R_i| / r_i                                                                        [K]
a = log(mean of the `nearest` smallest d_i)
score = (a - centre) / spread
contribution of band j at frame t, with the reference R* of the smallest d and x* = R* T^-1:
    (L_jt - m_j - x*_j) / frames * (T (z - R*))_j
whose sum over bands and frames is |z - R*|^2; summed over the frames of each column, and what is negative then is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from wheeltapper.models.sound.detector import NumpySound, Settings
from wheeltapper.models.sound.frontend import SplitDft
from wheeltapper.models.sound.orders import OrderBands
from wheeltapper.models.sound.statistics import distances

# A window that is one of the references has no distance; its logarithm must be finite.
LEAST_DISTANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """What distances are measured with.

    Attributes:
        mean: m, [D] dB.
        scale: [D] dB, standard deviations.
        transform: T, [D, D]: whitens.
        inverse: T^-1.
        references: R, [K, D], whitened.
        radius: r, [K].
        nearest: how many of the smallest distances count.
    """

    mean: np.ndarray
    scale: np.ndarray
    transform: np.ndarray
    inverse: np.ndarray
    references: np.ndarray
    radius: np.ndarray
    nearest: int

    @property
    def count(self) -> int:
        """Distances that are averaged."""
        return min(self.nearest, len(self.references))

    def whitened(self, features: np.ndarray) -> np.ndarray:
        """z of f [n, D]; what is unknown (NaN) does not differ from the mean."""
        return np.asarray(np.nan_to_num(features - self.mean) @ self.transform)

    def log_distance(self, features: np.ndarray) -> np.ndarray:
        """a of f [n, D]: [n] float64."""
        relative = distances(self.whitened(features), self.references) / self.radius
        smallest = np.sort(relative, axis=1)[:, : self.count]
        return np.asarray(np.log(np.maximum(smallest.mean(axis=1), LEAST_DISTANCE)))


@dataclass(frozen=True, eq=False)
class AttributeEffect:
    """The linear effect of the operating point on the levels.

    Attributes:
        centre, scale: [A]; u = (column - centre) / scale, 0 where the attribute is unknown.
        effect: B, [A, D] dB.
        known: [A, A] float64: columns of one category together; a category that is all zeros is unknown.
        number: [A] bool: columns that are numbers.
    """

    centre: np.ndarray
    scale: np.ndarray
    effect: np.ndarray
    known: np.ndarray
    number: np.ndarray

    def inputs(self, attributes: np.ndarray) -> np.ndarray:
        """[n, A] as the graph takes them to u."""
        known = np.where(self.number, ~np.isnan(attributes), np.nan_to_num(attributes) @ self.known > 0.5)
        return np.asarray(np.where(known, (np.nan_to_num(attributes) - self.centre) / self.scale, 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBandProfile(NumpySound[Settings], Generic[Settings]):
    """What band profile, and whatever else measures distances of mean band levels, computes with.

    Attributes:
        around: references, and how distances to them are measured.
        centre, spread: of a on held-out normal windows.
        effect: of the attributes; None where nothing is taken out.
        order_bands: None where there are none.
        speed_column: of the attributes, where there are order bands.
    """

    around: Neighbourhood
    centre: float
    spread: float
    effect: AttributeEffect | None = None
    order_bands: OrderBands | None = None
    speed_column: int = 0

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {
            **super().parameters,
            "references": len(self.around.references),
            "centre": round(self.centre, 6),
            "spread": round(self.spread, 6),
        }

    @property
    def bank_widths(self) -> tuple[int, ...]:
        """Bands of each channel: the front end's, then the orders'."""
        return (self.frontend.bands, *((self.order_bands.bands,) if self.order_bands is not None else ()))

    @property
    def membership(self) -> np.ndarray:
        """[frames, columns] float64: from frames to the part of their mean that lies in each column."""
        column = self.frontend.columns(self.window, self.time_columns)
        return np.asarray(np.eye(self.time_columns)[column] / len(column))

    @property
    def owner(self) -> np.ndarray:
        """[bands, DFT columns] float64: between whose edges each bin lies, those outside of all in the first or last band."""
        hz = np.fft.rfftfreq(self.frontend.n_fft, 1 / self.sample_rate)
        inner = np.array([high for _, high in self.frontend.edges[:-1]])
        return np.asarray(
            np.eye(self.frontend.bands)[:, np.searchsorted(inner, hz)[SplitDft.of(self.frontend.n_fft).bins]]
        )

    def levels(self, window: np.ndarray, attributes: np.ndarray | None = None) -> np.ndarray:
        """[C * S] and [A] to [frames, D] dB: the bands of all channels, then their order bands, less the attributes' effect."""
        signals = without_offset(window, self.channels)
        parts = list(self.frontend.levels(signals))
        if self.order_bands is not None:
            rpm = float("nan") if attributes is None else float(attributes[self.speed_column])
            parts += list(self.order_bands.levels(signals, rpm))
        found = np.concatenate(parts, axis=1)
        if self.effect is not None and attributes is not None:
            found = found - self.effect.inputs(attributes[None]) @ self.effect.effect
        return np.asarray(found)

    def score(self, window: np.ndarray, attributes: np.ndarray | None = None) -> float:
        """Of one window; the reference for graph and twin."""
        features = self.levels(window, attributes).mean(axis=0)
        return (float(self.around.log_distance(features[None])[0]) - self.centre) / self.spread

    def parts(self, window: np.ndarray, attributes: np.ndarray | None = None) -> np.ndarray:
        """[D, columns] signed contributions of one window; their sum is |z - R*|^2."""
        around = self.around
        levels = self.levels(window, attributes)
        z = around.whitened(levels.mean(axis=0)[None])
        nearest = (distances(z, around.references) / around.radius)[0].argmin()
        usual = around.mean + around.references[nearest] @ around.inverse
        slope = (z[0] - around.references[nearest]) @ around.transform.T
        # An unknown band lies at the mean.
        away = np.where(np.isnan(levels), around.mean, levels) - usual
        return np.asarray(away.T @ self.membership * slope[:, None])


def without_offset(window: np.ndarray, channels: int) -> np.ndarray:
    """[C * S] to [C, S] float64 without each channel's mean."""
    signals = window.reshape(channels, -1).astype(np.float64)
    return np.asarray(signals - signals.mean(axis=1, keepdims=True))
