"""PCA error as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.pca.settings import PcaSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="pca",
    title="PCA error",
    summary="PCA reconstruction error: a baseline that others have to beat",
    watches="whether channels still move together",
    trains_in="a second",
    choose_it="as a baseline; where channels are strongly coupled",
    train="wheeltapper.training.detectors.pca.train:train_pca",
    presets={"": Preset(PcaSettings())},
    battery=TrainOptions(settings={"window": "16"}),
    seeded=False,
    edge=True,
    rank=10,
)
