"""Bundles of the laboratory: what a scenario begins with, and what is trained on rows of its new regime."""

from __future__ import annotations

from pathlib import Path

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions


def fit_bundle(
    detector: str, series: SensorSeries, out: Path, *, seed: int = 0, budget_s: float | None = None
) -> Bundle:
    """Train a detector on a series' train part and write its bundle, as `wheeltapper train` does.

    Args:
        budget_s: seconds that a network's training may take.

    Raises:
        InputError: the detector cannot be trained on these rows.
    """
    fitted, scores = train_detector(detector, series, TrainOptions(seed=seed, device="cpu", budget_s=budget_s))
    return write_bundle(fitted, series, out, scores=scores, seed=seed, torchscript=False)
