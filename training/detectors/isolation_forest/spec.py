"""Isolation forest as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.isolation_forest.settings import ForestSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="isolation-forest",
    title="Isolation forest",
    summary="isolation forest: how few random splits isolate the row",
    watches="how few random splits isolate the row, and how far it is out of range",
    trains_in="seconds",
    choose_it="to compare",
    train="wheeltapper.training.detectors.isolation_forest.train:train_isolation_forest",
    presets={"": Preset(ForestSettings())},
    battery=TrainOptions(settings={"trees": "20", "samples": "128"}),
    rank=40,
)
