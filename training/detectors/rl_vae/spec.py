"""RL-VAE as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions

# The authors' VAE: batches of 32, 50 epochs of all windows. Fewer of both reach the same validation loss.
TRAINER = TrainerOptions(
    epochs=24,
    batch_size=64,
    learning_rate=1e-3,
    learning_rate_decay=0.9,
    windows_per_epoch=4000,
    patience=4,
    gradient_clip=1.0,
)

SPEC = DetectorSpec(
    name="rl-vae",
    title="RL-VAE",
    summary="RL-VAE: a VAE of normal windows, and a Q-network that learns from few labels",
    watches="how badly a VAE explains the window, and what judged windows have taught about that",
    trains_in="a minute",
    choose_it="operators have labelled windows",
    train="wheeltapper.training.detectors.rl_vae.train:train_rl_vae",
    presets={"": Preset(RlVaeConfig(), TRAINER)},
    battery=TrainOptions(
        window=16,
        epochs=3,
        settings={"hidden": "32", "q_hidden": "8", "episodes": "3", "walkers": "64", "pool_limit": "400"},
    ),
    has_epochs=True,
    fine_tuning={"epochs": 0.5, "learning_rate": 0.3, "episodes": 0.5, "q_learning_rate": 0.3},
    extra="training",
    learns_from_labels=True,
    exceptions={
        "a constant channel that moves triples the score": "its Q-network multiplies the error of its VAE by a bounded factor, "
        "which may be below 1"
    },
    published={
        "window": "25",
        "score": "0/1 action",
        "label_budget": "1,000 to 10,000 an episode",
        "gamma": "0.92 to 0.96",
        "episodes": "20 to 300",
        "gradient_steps": "5 to 10",
        "epsilon_start": "1",
        "epsilon_end": "0.1, over 500,000 steps",
        "reward_anomaly": "5 or 10",
        "lambda_start": "10 to 20",
        "spread": "200",
        "epochs": "50 (SMD)",
        "batch_size": "32",
        "learning_rate": "1e-3",
        "windows_per_epoch": "all",
    },
    rank=80,
)
