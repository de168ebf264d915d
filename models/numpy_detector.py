"""What the detectors that are fitted without torch share once they are fitted: what to say of them, and their exports.

Imports go one way in each folder: `fitted` (settings and arrays) <- `graph`, `torchscript` (built from them) <- `fit`, whose class
adds the two exports to what `fitted` holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from wheeltapper.models.row_scaling import RowScaling
from wheeltapper.models.settings import DetectorSettings

Settings = TypeVar("Settings", bound=DetectorSettings)


@dataclass(frozen=True, kw_only=True, eq=False)
class NumpyDetector(ABC, Generic[Settings]):
    """Base of a fitted detector; a `wheeltapper.models.fitted.FittedDetector`.

    Attributes:
        settings: that it was fitted with.
        warnings: blind spots found while fitting, one sentence each.
    """

    VERSION: ClassVar[int] = 1

    settings: Settings
    warnings: tuple[str, ...] = ()

    @property
    def detector(self) -> str:
        return self.settings.DETECTOR

    @property
    def version(self) -> int:
        return self.VERSION

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

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The settings, and what the fit made of them."""
        return asdict(self.settings)

    @abstractmethod
    def onnx_bytes(self) -> bytes:
        """The graph; needs onnx."""

    def torchscript_bytes(self) -> bytes | None:
        """The same graph for libtorch; None where torch is not installed."""
        try:
            return self.build_torchscript()
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            return None

    @abstractmethod
    def build_torchscript(self) -> bytes:
        """The same graph for libtorch; imports torch."""


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
