"""What the detectors of rows that are fitted without torch share once they are fitted: what to say of them, and their exports.

Imports go one way in each folder: `fitted` (settings and arrays) <- `graph`, `torchscript` (built from them) <- `fit`, whose class
adds the two exports to what `fitted` holds.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Generic

import numpy as np

from wheeltapper.models.numpy_fitted import NumpyFitted, Settings
from wheeltapper.models.row_scaling import RowScaling


@dataclass(frozen=True, kw_only=True, eq=False)
class NumpyDetector(NumpyFitted[Settings], Generic[Settings]):
    """Base of a fitted detector of rows; a `wheeltapper.models.fitted.FittedDetector`."""

    @property
    def window(self) -> int:
        """W, rows."""
        return int(self.settings.window)  # type: ignore[attr-defined]

    @property
    def lag(self) -> int:
        return 0

    @property
    def warm_up(self) -> int | None:
        return None

    @property
    @abstractmethod
    def channels(self) -> int:
        """C."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowDetector(NumpyDetector[Settings], Generic[Settings]):
    """Base of a detector that looks at standardised rows.

    Attributes:
        scaling: of the rows, z = (x - mean) / std.
    """

    scaling: RowScaling

    @property
    def channels(self) -> int:
        return self.scaling.channels

    @property
    def mean(self) -> np.ndarray:
        """[C] float64, raw units."""
        return self.scaling.mean

    @property
    def std(self) -> np.ndarray:
        """[C] float64, raw units."""
        return self.scaling.std
