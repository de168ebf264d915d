"""VAE-LSTM as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.vae_lstm.config import PRESETS
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions

TRAINERS = {
    # Rates, decay and batch as published; epochs were not (the authors ship trained weights).
    "paper": TrainerOptions(
        epochs=50,
        batch_size=32,
        learning_rate=4e-4,
        learning_rate_decay=0.98,
        windows_per_epoch=6000,
        patience=5,
        seed=0,
    ),
    "small": TrainerOptions(
        epochs=10,
        batch_size=128,
        learning_rate=2e-3,
        learning_rate_decay=0.8,
        patience=3,
        seed=0,
    ),
}

SPEC = DetectorSpec(
    name="vae-lstm",
    title="VAE-LSTM",
    summary="VAE-LSTM: codes of short windows, predicted from the codes before; scores before its window is full",
    watches="whether the last rows are what the codes of the rows before lead to expect",
    trains_in="minutes",
    choose_it="to compare",
    train="wheeltapper.training.detectors.vae_lstm.train:train_vae_lstm",
    presets={
        "small": Preset(PRESETS["small"], TRAINERS["small"], "the default for several channels"),
        "paper": Preset(PRESETS["paper"], TRAINERS["paper"], "the published network; the default for a single channel"),
    },
    battery=TrainOptions(
        window=48,
        epochs=6,
        settings={
            "l_win": "24",
            "hidden": "128",
            "code": "8",
            "batch_size": "64",
            "learning_rate": "4e-3",
            "lstm_batch_size": "64",
            "lstm_learning_rate": "4e-3",
        },
    ),
    has_epochs=True,
    fine_tuning={"epochs": 0.5, "learning_rate": 0.3, "lstm_epochs": 0.5, "lstm_learning_rate": 0.3},
    extra="training",
    rank=70,
)
