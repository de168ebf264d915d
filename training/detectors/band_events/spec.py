"""Band events as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.band_events.settings import BandEventSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="band-events",
    title="Band events",
    summary="band events: what is short and strange against the rest of its window",
    watches="the strangest quarter of a second, against the window's median",
    trains_in="seconds",
    choose_it="beside band-profile, for squeals, clicks and dropouts",
    train="wheeltapper.training.detectors.band_events.train:train_band_events",
    presets={"": Preset(BandEventSettings())},
    battery=TrainOptions(settings={"bands": "16", "n_fft": "256", "frame_hop": "128"}),
    seeded=False,
    edge=True,
    rank=2,
    kind="audio",
)
