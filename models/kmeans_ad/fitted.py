"""KMeansAD once it is fitted: settings and centroids, of which graph and TorchScript twin are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.models.kmeans_ad.settings import KMeansSettings
from wheeltapper.models.numpy_detector import RowDetector

# A window that hardly moves would otherwise become noise of unit size; a share of the train part's deviation.
LEAST_SHAPE_DEVIATION = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedKMeans(RowDetector[KMeansSettings]):
    """What KMeansAD computes with.

    Attributes:
        centroids: [K, W, C] float32, standardised units.
        seed: of the first centroids.
    """

    centroids: np.ndarray
    seed: int = 0

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "centroids": len(self.centroids), "seed": self.seed}
