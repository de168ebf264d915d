"""The autoencoder baseline as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from dataclasses import replace

from wheeltapper.models.dcase_ae.config import DcaseAeConfig
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions

TRAINER = TrainerOptions(
    epochs=40,
    windows_per_epoch=8192,
    batch_size=256,
    learning_rate=1e-3,
    learning_rate_decay=1.0,
    patience=1000,
    validation_windows=2048,
)

SPEC = DetectorSpec(
    name="dcase-ae",
    title="DCASE autoencoder",
    summary="DCASE task 2 baseline: reconstruction error of five mel frames",
    watches="how badly a small autoencoder repeats the sound's spectrum",
    trains_in="a minute",
    choose_it="as the yardstick that DCASE results are told by",
    train="wheeltapper.training.detectors.dcase_ae.train:train_dcase_ae",
    presets={
        "short": Preset(
            DcaseAeConfig(), TRAINER, "as published but for standardised bands, shrunk covariances and fewer steps"
        ),
        "published": Preset(
            DcaseAeConfig(standardise=False, covariance="empirical"),
            replace(TRAINER, epochs=100, windows_per_epoch=None),
            "100 passes over all frames, decibels as they are",
        ),
    },
    battery=TrainOptions(epochs=2, settings={"mels": "24", "width": "16", "folds": "3", "windows_per_epoch": "512"}),
    has_epochs=True,
    extra="training",
    published={"score": "mse, or mahalanobis", "epochs": "100", "batch_size": "256", "learning_rate": "1e-3"},
    rank=230,
    kind="audio",
)
