"""Fits ALoRa to one entity: pairs, scaling, training, rank threshold, held-out scores, export."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import Any

# Before torch: on a processor that others use too, OpenMP threads that wait by spinning take four times as long
# as one thread alone; waiting passively costs nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.embed import choose_pairs
from wheeltapper.models.alora.graph import OUTPUTS, AloraGraph, spectra_of
from wheeltapper.models.alora.loss import alora_loss
from wheeltapper.models.alora.model import AloraNetwork
from wheeltapper.models.alora.rank import RankThreshold, choose_threshold
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.alora.spec import SPEC
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import PreparedSeries, prepare
from wheeltapper.training.fitting.torch_detector import (
    SCORING_BATCH,
    TorchDetector,
    held_out_scores,
    training_parameters,
)
from wheeltapper.training.fitting.trainer import TrainerOptions, TrainingHistory, fingerprint, train_network

SPECTRA_LIMIT = 8192


class AloraDetector(TorchDetector):
    """A trained ALoRa."""

    graph: AloraGraph
    history: TrainingHistory


def train_alora(series: SensorSeries, options: TrainOptions) -> tuple[AloraDetector, CalibrationScores]:
    """ALoRa as the command line asks for it.

    Raises:
        InputError: too few rows, no channel that moves, a loss that is not finite, or no such setting.
    """
    detector = fit_alora(series, SPEC.settings_for(options), SPEC.trainer_for(options))
    return detector, held_out_scores(detector, options)


def fit_alora(series: SensorSeries, config: AloraConfig, trainer: TrainerOptions) -> AloraDetector:
    """Train on the first part of `series.train` and choose h1 on the rest.

    Mean and standard deviation are those of the whole train part, as in the paper.

    Raises:
        InputError: as `train_alora`.
    """
    prepared = prepare(
        series,
        window=config.window,
        validation_share=trainer.held_out_share,
        clip=config.input_clip,
        scale=config.scale,
    )
    torch.manual_seed(trainer.seed)
    pairs = _pairs(series, config, trainer)
    network = AloraNetwork(config, prepared.channels, pairs)
    held_out = WindowSource(prepared.rows, prepared.held_out_ends, config.window)
    history = train_network(
        network,
        AloraObjective(config),
        WindowSource(prepared.rows, prepared.train_ends, config.window),
        held_out,
        trainer,
        run=fingerprint(trainer, config=asdict(config), share=prepared.validation_share, data=prepared.sha256),
        title=f"alora {series.entity}",
    )
    spectra = spectra_of(network, held_out.batches(SCORING_BATCH, at_most=SPECTRA_LIMIT))
    threshold = choose_threshold(spectra, config.rank_threshold)
    return AloraDetector(
        "alora",
        AloraGraph(network, config, prepared.mean, prepared.scale, threshold.value),
        prepared,
        OUTPUTS,
        parameters=_parameters(config, trainer, prepared, len(pairs), threshold, history),
        warnings=_warnings(prepared, pairs),
        history=history,
        networks={"network": network},
    )


def _pairs(series: SensorSeries, config: AloraConfig, trainer: TrainerOptions) -> np.ndarray:
    """Those of the weights that training goes on from, else the best by correlation."""
    if trainer.warm_start is None:
        return choose_pairs(series.train, config.width, cover_channels=config.cover_channels)
    return trainer.warm_start.array("network", "embedding.select").argmax(axis=1).T


class AloraObjective:
    """The loss of `wheeltapper.models.alora.loss`; what is watched is error + lambda * penalty of a window, batch-independent."""

    def __init__(self, config: AloraConfig) -> None:
        self.config = config

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        objective, error, penalty = alora_loss(network(rows), rows, self.config)
        return objective, (error + self.config.alora_lambda * penalty).detach()


def _parameters(
    config: AloraConfig,
    trainer: TrainerOptions,
    prepared: PreparedSeries,
    width: int,
    threshold: RankThreshold,
    history: TrainingHistory,
) -> dict[str, Any]:
    return {
        **asdict(replace(config, width=width)),
        "rank_threshold": threshold.value,
        "rank_threshold_method": threshold.method,
        "rank_histogram": {str(rank): count for rank, count in threshold.histogram.items()},
        "validation_share": prepared.validation_share,
        **training_parameters(trainer, history),
    }


def _warnings(prepared: PreparedSeries, pairs: np.ndarray) -> tuple[str, ...]:
    found = list(prepared.constant_warnings())
    unseen = prepared.moving.copy()
    unseen[np.unique(pairs)] = False
    if unseen.any():
        names = ", ".join(np.asarray(prepared.series.channels)[unseen])
        found.append(f"in no pair, so only their own squared deviation is seen: {names}")
    return tuple(found)
