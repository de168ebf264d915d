"""Fits VAE-LSTM to one entity: VAE on short windows, LSTM on its frozen codes, one scale for both scores, export."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from typing import Any

# Before torch: see wheeltapper.training.detectors.alora.train.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from wheeltapper.models.vae_lstm.config import VaeLstmConfig
from wheeltapper.models.vae_lstm.graph import OUTPUTS, VaeLstmGraph
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import VariationalAutoencoder
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.vae_lstm.spec import SPEC
from wheeltapper.training.detectors.vae_lstm.stages import train_predictor, train_vae
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.export_torch import export_onnx_traced
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import prepare
from wheeltapper.training.fitting.torch_detector import (
    SCORING_BATCH,
    TorchDetector,
    held_out_scores,
    training_parameters,
)
from wheeltapper.training.fitting.trainer import TrainerOptions, TrainingHistory

SCALE_WINDOWS = 4096
# What the VAE may take of a budget; what it leaves is the LSTM's.
VAE_BUDGET_SHARE = 0.7


class VaeLstmDetector(TorchDetector):
    """A trained VAE-LSTM; its `history` is that of the VAE."""

    graph: VaeLstmGraph
    history: TrainingHistory


def train_vae_lstm(series: SensorSeries, options: TrainOptions) -> tuple[VaeLstmDetector, CalibrationScores]:
    """VAE-LSTM as the command line asks for it; the default preset is 'paper' for one channel, 'small' for more.

    Raises:
        InputError: too few rows, no channel that moves, a loss that is not finite, no such setting, or a window that is no multiple
            of l_win.
    """
    detector = fit_vae_lstm(series, *chosen_settings(options, channels=len(series.channels)))
    return detector, held_out_scores(detector, options)


def chosen_settings(options: TrainOptions, *, channels: int) -> tuple[VaeLstmConfig, TrainerOptions]:
    """Preset, settings and the command line's options put together.

    Raises:
        InputError: no such preset or setting, or a window that is no multiple of l_win.
    """
    preset = "paper" if channels == 1 else "small"
    # The window is a number of short windows, whose length is a setting: it comes last.
    config = SPEC.settings_for(replace(options, window=None), preset=preset)
    if options.window is not None:
        config = config.with_window(options.window)
    if options.epochs is not None:
        config = replace(config, lstm_epochs=min(config.lstm_epochs, options.epochs))
    return config, SPEC.trainer_for(options, preset=preset)


def fit_vae_lstm(series: SensorSeries, config: VaeLstmConfig, trainer: TrainerOptions) -> VaeLstmDetector:
    """Train both networks on the first part of `series.train`; scales, epochs and alarm level come from the rest.

    Mean and standard deviation are those of the whole train part.

    Raises:
        InputError: as `train_vae_lstm`.
    """
    started = time.monotonic()
    prepared = prepare(
        series,
        window=config.window,
        validation_share=config.validation_share if trainer.held_out_share is None else trainer.held_out_share,
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
        parameters=_parameters(config, trainer, vae_history, predictor_history, errors),
        warnings=prepared.constant_warnings(),
        history=vae_history,
        # After that many rows the VAE alone can score.
        warm_up=config.l_win,
        exporter=export_onnx_traced,
        networks={"vae": vae, "lstm": predictor},
    )


def _parameters(
    config: VaeLstmConfig,
    trainer: TrainerOptions,
    vae: TrainingHistory,
    predictor: TrainingHistory,
    errors: tuple[float, float],
) -> dict[str, Any]:
    return {
        **asdict(config),
        **training_parameters(trainer, vae),
        "lstm_epochs": len(predictor.validation),
        "lstm_best_epoch": predictor.best_epoch,
        "lstm_training_loss": predictor.training,
        "lstm_validation_loss": predictor.validation,
        "held_out_prediction_error": errors[0],
        "held_out_reconstruction_error": errors[1],
        "cut_by_budget": vae.cut or predictor.cut,
    }
