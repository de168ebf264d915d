"""PCA error once it is fitted: settings and arrays, of which graph and TorchScript twin are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.models.numpy_detector import RowDetector
from wheeltapper.models.pca.settings import PcaSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPca(RowDetector[PcaSettings]):
    """What PCA error computes with.

    Attributes:
        center: [F] float64, mean of z; F = C, or W for a single channel.
        vectors: [F, k] float64, orthonormal columns; k may be 0.
    """

    center: np.ndarray
    vectors: np.ndarray

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "components": self.vectors.shape[1]}
