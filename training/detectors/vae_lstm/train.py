"""Fits VAE-LSTM to one entity: VAE on short windows, LSTM on its frozen codes, one scale for both scores, export."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Before torch: see wheeltapper.training.detectors.alora.train.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from wheeltapper.models.vae_lstm.config import PRESETS, VaeLstmConfig
from wheeltapper.models.vae_lstm.graph import OUTPUTS, VaeLstmGraph
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import VariationalAutoencoder
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.detectors.vae_lstm.stages import train_predictor, train_vae
from wheeltapper.training.fitting.calibration import CalibrationScores, every_nth
from wheeltapper.training.fitting.export_torch import export_onnx_traced
from wheeltapper.training.fitting.prepared import prepare
from wheeltapper.training.fitting.torch_detector import (
    SCORING_BATCH,
    TorchDetector,
    chosen_settings,
    held_out_scores,
    training_parameters,
)
from wheeltapper.training.fitting.trainer import TrainerOptions, TrainingHistory, WindowSource

SCALE_WINDOWS = 4096
# What the VAE may take of a budget; what it leaves is the LSTM's.
VAE_BUDGET_SHARE = 0.7

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


@dataclass(frozen=True, slots=True)
class VaeLstmOptions:
    """What a person may choose; the presets are 'paper' and 'small'."""

    config: VaeLstmConfig = PRESETS["paper"]
    trainer: TrainerOptions = field(default_factory=lambda: TRAINERS["paper"])


class VaeLstmDetector(TorchDetector):
    """A trained VAE-LSTM; its `history` is that of the VAE."""

    graph: VaeLstmGraph
    history: TrainingHistory
    export = staticmethod(export_onnx_traced)

    @property
    def warm_up(self) -> int:
        """Rows of a machine after which the VAE alone can score."""
        return self.graph.l_win


def train_vae_lstm(series: SensorSeries, options: TrainOptions) -> tuple[VaeLstmDetector, CalibrationScores]:
    """VAE-LSTM as the command line asks for it; settings are those of `VaeLstmConfig` and `TrainerOptions`, and
    preset=paper|small (default: paper for one channel, small for more).

    Raises:
        InputError: too few rows, no channel that moves, a loss that is not finite, or no such setting.
    """
    chosen = chosen_options(options, channels=len(series.channels))
    detector = fit_vae_lstm(series, chosen)
    scores = held_out_scores(detector, progress=chosen.trainer.progress)
    return detector, every_nth(scores, options.stride)


def chosen_options(options: TrainOptions, *, channels: int) -> VaeLstmOptions:
    """Preset, settings and the command line's options put together.

    Raises:
        InputError: no such preset or setting, or a window that is no multiple of l_win.
    """
    preset = options.settings.get("preset", "paper" if channels == 1 else "small")
    if preset not in PRESETS:
        raise InputError(f"no VAE-LSTM preset '{preset}'; expected one of {', '.join(PRESETS)}")
    config, trainer = chosen_settings(
        replace(options, window=None), PRESETS[preset], TRAINERS[preset], what="vae-lstm", extra=("preset",)
    )
    if options.window is not None:
        if options.window % config.l_win or options.window < 2 * config.l_win:
            raise InputError(
                f"window is {options.window}, expected a multiple of l_win={config.l_win}, two times that or more; or set "
                "l_win to 24, 48 or 144"
            )
        config = replace(config, l_seq=options.window // config.l_win)
    if options.epochs is not None:
        config = replace(config, lstm_epochs=min(config.lstm_epochs, options.epochs))
    return VaeLstmOptions(config, trainer)


def fit_vae_lstm(series: SensorSeries, options: VaeLstmOptions) -> VaeLstmDetector:
    """Train both networks on the first part of `series.train`; scales, epochs and alarm level come from the rest.

    Mean and standard deviation are those of the whole train part.

    Raises:
        InputError: as `train_vae_lstm`.
    """
    config, trainer = options.config, options.trainer
    started = time.monotonic()
    prepared = prepare(
        series,
        window=config.window,
        validation_share=config.validation_share,
        clip=config.input_clip,
        scale=config.scale,
    )
    torch.manual_seed(trainer.seed)
    vae = VariationalAutoencoder(config, prepared.channels)
    budget = trainer.budget_s
    vae_trainer = replace(trainer, budget_s=None if budget is None else VAE_BUDGET_SHARE * budget)
    vae_history, kept = train_vae(vae, prepared, config, vae_trainer)
    torch.manual_seed(trainer.seed)
    predictor = CodePredictor(config.code)
    # Something is left for it, however long the VAE took.
    left = None if budget is None else max(budget - (time.monotonic() - started), 0.1 * budget)
    predictor_trainer = replace(
        trainer,
        epochs=config.lstm_epochs,
        batch_size=config.lstm_batch_size,
        learning_rate=config.lstm_learning_rate,
        learning_rate_decay=config.lstm_learning_rate_decay,
        patience=config.lstm_patience,
        windows_per_epoch=None,
        budget_s=left,
    )
    predictor_history = train_predictor(predictor, vae, prepared, config, predictor_trainer)
    kept.remove()
    graph = VaeLstmGraph(vae.encoder, vae.decoder, predictor, config, prepared.mean, prepared.scale)
    held_out = WindowSource(prepared.filled, prepared.held_out_ends, config.window)
    errors = graph.set_scales(held_out.batches(SCORING_BATCH, at_most=SCALE_WINDOWS))
    return VaeLstmDetector(
        "vae-lstm",
        graph,
        prepared,
        OUTPUTS,
        parameters=_parameters(options, vae_history, predictor_history, errors),
        warnings=prepared.constant_warnings(),
        history=vae_history,
    )


def _parameters(
    options: VaeLstmOptions, vae: TrainingHistory, predictor: TrainingHistory, errors: tuple[float, float]
) -> dict[str, Any]:
    return {
        **asdict(options.config),
        **training_parameters(options.trainer, vae),
        "lstm_epochs": len(predictor.validation),
        "lstm_best_epoch": predictor.best_epoch,
        "lstm_training_loss": predictor.training,
        "lstm_validation_loss": predictor.validation,
        "held_out_prediction_error": errors[0],
        "held_out_reconstruction_error": errors[1],
        "cut_by_budget": vae.cut or predictor.cut,
    }
