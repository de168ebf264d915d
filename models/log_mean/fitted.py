"""The mean of log scores once its members are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.log_mean.settings import LogMeanSettings
from wheeltapper.models.numpy_detector import NumpyDetector


@dataclass(frozen=True, eq=False)
class Member:
    """A fitted detector and what makes its scores comparable: 0 at `center`, 1 at `level`.

    Attributes:
        center, level: raw scores; level lies above center.
    """

    fitted: FittedDetector
    center: float
    level: float

    def calibrate(self, raw: np.ndarray) -> np.ndarray:
        """[n] raw to [n] float64 comparable scores, never below 0."""
        scaled: np.ndarray = np.maximum((np.asarray(raw, np.float64) - self.center) / (self.level - self.center), 0.0)
        return scaled


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLogMean(NumpyDetector[LogMeanSettings]):
    """What the mean of log scores computes with.

    Attributes:
        members: in the order of the detectors' registry; none of them has a lag.
    """

    members: tuple[Member, ...]
    width: int

    @property
    def channels(self) -> int:
        return self.width

    @property
    def window(self) -> int:
        """The longest member's; the others look at its last rows."""
        return max(member.fitted.window for member in self.members)

    @property
    def warm_up(self) -> int | None:
        rows = max(member.fitted.warm_up or member.fitted.window for member in self.members)
        return None if rows == self.window else rows

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {
            **super().parameters,
            "members": {each.fitted.detector: dict(each.fitted.parameters) for each in self.members},
        }


def combine(scores: list[np.ndarray], offset: float) -> np.ndarray:
    """Members' comparable scores, [n] each, to [n] float64: mean of log(score + offset)."""
    mean: np.ndarray = np.mean([np.log(score + offset) for score in scores], axis=0)
    return mean
