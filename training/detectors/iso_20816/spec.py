"""The zones of vibration velocity as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.iso_20816.settings import VelocityZoneSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="iso-20816",
    title="ISO 20816 zones",
    summary="ISO 20816 zones: RMS vibration velocity against fixed limits",
    watches="RMS velocity from 10 to 1000 Hz of each axis against the limit of zone D",
    trains_in="a second",
    choose_it="beside another, where a fixed limit is asked for",
    train="wheeltapper.training.detectors.iso_20816.train:train_iso_20816",
    presets={"": Preset(VelocityZoneSettings())},
    battery=TrainOptions(
        settings={"unit": "mm/s", "high_hz": "8000", "limit_d": "9", "machine_class": "large-flexible"}
    ),
    seeded=False,
    edge=True,
    exceptions={
        "a tone is an alert on the stream": "its alarm level is a fixed limit, whatever is normal for the machine"
    },
    rank=60,
    kind="audio",
)
