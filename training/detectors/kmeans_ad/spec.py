"""KMeansAD as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.kmeans_ad.settings import KMeansSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="kmeans-ad",
    title="KMeansAD",
    summary="KMeansAD: distance to the nearest typical window",
    watches="how far the window is from the nearest typical one",
    trains_in="seconds",
    choose_it="single channels; short histories",
    train="wheeltapper.training.detectors.kmeans_ad.train:train_kmeans_ad",
    presets={"": Preset(KMeansSettings())},
    battery=TrainOptions(settings={"window": "16", "clusters": "12"}),
    rank=30,
)
