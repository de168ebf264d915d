"""Range bands once they are fitted: settings and arrays, of which graph and TorchScript twin are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from wheeltapper.models.numpy_detector import NumpyDetector
from wheeltapper.models.range_bands.settings import RangeBandSettings

# A channel that never moved in training is measured by this gain instead: any change is a full step.
CONSTANT_GAIN = 1e6


@dataclass(frozen=True)
class Bands:
    """One view's bands; every field is [C] float64, in the view's own scaled units.

    Attributes:
        low, high: the range of training; change_low, change_high: of the change against the recent past.
        scale: what an excess is divided by.
    """

    low: np.ndarray
    high: np.ndarray
    change_low: np.ndarray
    change_high: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class ResidualView:
    """z = clip((u - mean) / std, -clip, clip); r = (z - center) @ projector.

    Attributes:
        mean, std, center: [C] float64; projector: [C, C] float64, I - V V'.
        bands: of r.
    """

    mean: np.ndarray
    std: np.ndarray
    center: np.ndarray
    projector: np.ndarray
    bands: Bands


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBands(NumpyDetector[RangeBandSettings]):
    """What range bands compute with.

    Attributes:
        minimum: [C] float64, least value in training, raw units; 0 where values are taken as they come.
        gain: [C] float64, 1 / (max - min), or `CONSTANT_GAIN`; 1 where values are taken as they come:
            u = clip((x - minimum) * gain, clip_low, clip_high).
        clip_low, clip_high: [C] float64.
        average: [C] float64, mean of training, raw units: where the graph's float32 arithmetic is centred.
        typical: [C] float64, raw units: stands for NaN.
        bands: of u.
        residual: the second view, None where it makes no sense or was switched off.
    """

    VERSION: ClassVar[int] = 2

    minimum: np.ndarray
    gain: np.ndarray
    clip_low: np.ndarray
    clip_high: np.ndarray
    average: np.ndarray
    typical: np.ndarray
    bands: Bands
    residual: ResidualView | None

    @property
    def lag(self) -> int:
        return self.settings.lag

    @property
    def channels(self) -> int:
        return len(self.minimum)

    @property
    def parameters(self) -> Mapping[str, Any]:
        # Whether the graph has the second view, which the settings only allow.
        return {**super().parameters, "residual_view": self.residual is not None}
