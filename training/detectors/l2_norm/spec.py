"""L2 norm as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.l2_norm.settings import L2NormSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="l2-norm",
    title="L2 norm",
    summary="L2 norm of the standardised row: baseline, a detector that scores below this adds nothing",
    watches="how far the standardised row is from the mean",
    trains_in="a second",
    choose_it="as a baseline",
    train="wheeltapper.training.detectors.l2_norm.train:train_l2_norm",
    presets={"": Preset(L2NormSettings())},
    battery=TrainOptions(settings={"window": "16"}),
    seeded=False,
    edge=True,
    rank=20,
)
