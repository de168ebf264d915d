"""Range bands as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.range_bands.settings import PRESETS, RangeBandSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="range-bands",
    title="Range bands",
    summary="range bands, the default: fitted in seconds, explains itself",
    watches="each channel's range and change, and what the channels do not have in common",
    trains_in="seconds",
    choose_it="first",
    train="wheeltapper.training.detectors.range_bands.train:train_range_bands",
    presets={
        "events": Preset(
            RangeBandSettings(leak=PRESETS["events"]),
            description="faults that come and go. A value outside of its range counts in full while it is new against the last 128 rows or so, then as a tenth",
        ),
        "sustained": Preset(
            RangeBandSettings(leak=PRESETS["sustained"]), description="faults that last. It keeps half"
        ),
    },
    battery=TrainOptions(settings={"window": "48", "scored_rows": "16"}),
    seeded=False,
    edge=True,
    rank=0,
)
