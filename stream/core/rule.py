"""A rule: one bundle at work on the machines of a route."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.stream.core.imputation import usual_values
from wheeltapper.stream.core.worst_rows import WorstRows

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle import Bundle, Graph, Manifest


@dataclass(frozen=True)
class RuleSpec:
    """One bundle at work: several may stand side by side on a machine, each with alerts of its own.

    Attributes:
        name: unique on its machines; the detector's name where that is unique.
        stride: samples between scored windows, the setting's or the bundle's.
    """

    name: str
    bundle: Bundle
    graph: Graph
    stride: int

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @cached_property
    def first_scored(self) -> int:
        """Of rows: the one, counted from a machine's first, that completes the first window."""
        return (self.manifest.warm_up or self.manifest.window) - 1

    @cached_property
    def windows_per_day(self) -> float:
        """Scored windows per machine and day."""
        return 86_400.0 / (self.manifest.sampling_interval_s * self.stride)

    @property
    def calibrated_rate(self) -> float:
        """False alarms per machine and day that the bundle's alarm level was chosen for."""
        return self.manifest.calibration.false_alarms_per_day

    @property
    def identity(self) -> str:
        """The bundle's id: calibrated scores of another bundle mean something else."""
        return self.manifest.bundle_id

    def calibrate(self, raw: np.ndarray) -> np.ndarray:
        """Raw scores [n] to calibrated ones [n] float64: 1.0 is the alarm level, never below 0."""
        return calibrate(raw, self.manifest.calibration.center, self.manifest.calibration.alarm_level)

    @cached_property
    def usual(self) -> np.ndarray:
        """[C] float32, raw units: each channel's median over the bundle's reference rows."""
        return usual_values(self.bundle.reference_rows())

    @cached_property
    def worst_rows(self) -> WorstRows:
        """Finds for the rule's alerts where a channel was worst."""
        return WorstRows(self.bundle.reference_rows, self.graph, self.manifest.window, lambda: self.usual)

    @cached_property
    def calibration_scores(self) -> np.ndarray:
        """[n] float64: calibrated scores of held-out normal windows."""
        return self.calibrate(self.bundle.calibration_scores())
