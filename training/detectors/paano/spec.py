"""PaAno as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.paano.config import PaanoConfig
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions

# More steps than these change little; the loss is flat after a few dozen.
TRAINER = TrainerOptions(
    epochs=2,
    windows_per_epoch=2048,
    batch_size=128,
    learning_rate=3e-4,
    learning_rate_decay=0.7,
    validation_windows=512,
)

SPEC = DetectorSpec(
    name="paano",
    title="PaAno",
    summary="PaAno: distance of a patch's embedding to a memory of normal ones",
    watches="how far a patch is from remembered ones, as a small encoder sees it",
    trains_in="a minute",
    choose_it="to compare",
    train="wheeltapper.training.detectors.paano.train:train_paano",
    presets={"": Preset(PaanoConfig(), TRAINER)},
    battery=TrainOptions(
        window=16,
        epochs=1,
        settings={"width": "8", "windows_per_epoch": "128", "memory": "200", "memory_candidates": "400"},
    ),
    has_epochs=True,
    extra="training",
    published={
        "window": "96",
        "width": "128",
        "normalise": "patch",
        "memory": "a tenth of the train part, at least 500",
        "memory_candidates": "all",
        "neighbours": "3",
        "input_weight": "0",
        "margin": "0.5",
        "radius": "2",
        "pretext_weight": "1",
        "pretext_share": "0.1",
        "epochs": "200 steps in all",
        "batch_size": "512",
        "learning_rate": "1e-4",
    },
    rank=50,
)
