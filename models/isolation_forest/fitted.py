"""Isolation forest once it is grown: settings, trees and ranges, of which graph and TorchScript twin are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.models.isolation_forest.settings import ForestSettings
from wheeltapper.models.isolation_forest.trees import Trees
from wheeltapper.models.numpy_detector import RowDetector


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedForest(RowDetector[ForestSettings]):
    """What isolation forest computes with.

    Attributes:
        low, high: [C] float32, the range of training, raw units.
        reach: [C] float64, raw units: what counts as one range, `high - low`; of a channel that never moved a guess.
        trees: of raw rows; depths in splits.
        usual_depth: c.
        seed: of samples and splits.
    """

    low: np.ndarray
    high: np.ndarray
    reach: np.ndarray
    trees: Trees
    usual_depth: float
    seed: int = 0

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "usual_depth": self.usual_depth, "seed": self.seed}
