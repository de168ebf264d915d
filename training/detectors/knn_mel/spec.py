"""Log-mel nearest neighbour as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.knn_mel.settings import KnnMelSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="knn-mel",
    title="Log-mel nearest neighbour",
    summary="log-mel nearest neighbour: distance to the nearest normal clip, by domain",
    watches="how far the mean log-mel spectrum is from the nearest normal one",
    trains_in="seconds",
    choose_it="as a floor to compare with; sound of several domains",
    train="wheeltapper.training.detectors.knn_mel.train:train_knn_mel",
    presets={"": Preset(KnnMelSettings())},
    battery=TrainOptions(settings={"bands": "32", "n_fft": "512", "frame_hop": "256"}),
    seeded=False,
    edge=True,
    rank=45,
    kind="audio",
)
