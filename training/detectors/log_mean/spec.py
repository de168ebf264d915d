"""The mean of log scores as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.log_mean.settings import LogMeanSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="log-mean",
    title="Mean of log scores",
    summary="range bands, PCA error and KMeansAD in one graph, by the mean of their log scores",
    watches="what its three members watch: range and change, coupling, typical windows",
    trains_in="seconds",
    choose_it="spacecraft telemetry, water plants; where nobody knows what a fault looks like",
    train="wheeltapper.training.detectors.log_mean.train:train_log_mean",
    presets={"": Preset(LogMeanSettings())},
    battery=TrainOptions(settings={"window": "24"}),
    rank=5,
)
