"""ALoRa as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.alora.config import PRESETS
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions

TRAINERS = {
    # The paper's 1e-4 and batches of 128 are for all windows; with a quarter of these, larger and more steps reach a
    # validation loss a third lower in the same time.
    "paper": TrainerOptions(windows_per_epoch=6000, learning_rate=1e-3, batch_size=64),
    # A network that small takes, and in so few steps needs, a larger learning rate.
    "small": TrainerOptions(
        epochs=6, batch_size=64, learning_rate=1e-3, learning_rate_decay=0.7, windows_per_epoch=4000
    ),
}

SPEC = DetectorSpec(
    name="alora",
    title="ALoRa",
    summary="ALoRa, a low-rank attention transformer",
    watches="whether a small transformer can rebuild the window, and how it attends",
    trains_in="minutes (`preset=small`: seconds)",
    choose_it="to compare",
    train="wheeltapper.training.detectors.alora.train:train_alora",
    presets={
        "paper": Preset(
            PRESETS["paper"], TRAINERS["paper"], "the published network; minutes for 38 channels on two cores"
        ),
        "small": Preset(PRESETS["small"], TRAINERS["small"], "seconds of training"),
    },
    battery=TrainOptions(
        window=6,
        epochs=2,
        settings={
            "preset": "small",
            "width": "36",
            "layers": "1",
            "heads": "2",
            "windows_per_epoch": "1024",
            "learning_rate": "1e-2",
        },
    ),
    has_epochs=True,
    extra="training",
    exceptions={
        "the disturbed channel is blamed": "its paper's localization shares blame among channels that the network relates, which "
        "two epochs do not teach it"
    },
    published={
        "padding": "circular",
        "cover_channels": "false",
        "alora_lambda": "10",
        "alora_reduction": "sum",
        "penalty_skip": "1",
        "penalty_gamma": "1",
        "score": "product",
        "rank": "hard",
        "rank_threshold": "by hand per data set",
        "localization": "paper",
        "localization_top": "2",
        "epochs": "4 (SMD)",
        "batch_size": "128",
        "learning_rate": "1e-4",
        "learning_rate_decay": "0.5",
        "windows_per_epoch": "all",
        "shuffle": "false",
    },
    rank=60,
)
