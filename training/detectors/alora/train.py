"""Fits ALoRa to one entity: pairs, scaling, training, rank threshold, held-out scores, export."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Before torch: on a processor that others use too, OpenMP threads that wait by spinning take four times as long
# as one thread alone; waiting passively costs nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.alora.config import PRESETS, AloraConfig
from wheeltapper.models.alora.embed import choose_pairs
from wheeltapper.models.alora.graph import OUTPUTS, AloraGraph, spectra_of
from wheeltapper.models.alora.loss import alora_loss
from wheeltapper.models.alora.model import AloraNetwork
from wheeltapper.models.alora.rank import RankThreshold, choose_threshold
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores, every_nth
from wheeltapper.training.fitting.prepared import PreparedSeries, prepare
from wheeltapper.training.fitting.torch_detector import (
    SCORING_BATCH,
    TorchDetector,
    chosen_settings,
    held_out_scores,
    training_parameters,
)
from wheeltapper.training.fitting.trainer import (
    TrainerOptions,
    TrainingHistory,
    WindowSource,
    fingerprint,
    train_network,
)

SPECTRA_LIMIT = 8192


TRAINERS = {
    # The paper's 1e-4 and batches of 128 are for all windows; with a quarter of these, larger and more steps reach a
    # validation loss a third lower in the same time.
    "paper": TrainerOptions(windows_per_epoch=6000, learning_rate=1e-3, batch_size=64),
    # A network that small takes, and in so few steps needs, a larger learning rate.
    "small": TrainerOptions(
        epochs=6, batch_size=64, learning_rate=1e-3, learning_rate_decay=0.7, windows_per_epoch=4000
    ),
}


@dataclass(frozen=True, slots=True)
class AloraOptions:
    """What a person may choose; `alora_options` makes one from a preset.

    Attributes:
        config: the detector's own settings.
        trainer: how it is trained. The default shows 4 x 6,000 of the windows, chosen anew each epoch: about two
            minutes for 38 channels on two cores; `windows_per_epoch=None` shows all of them, as the paper does.
        validation_share: last part of the train part, in time, that training does not see; early stopping, the
            rank threshold and the alarm level come from it.
    """

    config: AloraConfig = PRESETS["paper"]
    trainer: TrainerOptions = field(default_factory=lambda: TRAINERS["paper"])
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise InputError(f"validation_share is {self.validation_share}, expected between 0 and 1")


def alora_options(
    preset: str = "paper", *, trainer: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None
) -> AloraOptions:
    """A preset with some settings changed.

    Args:
        preset: 'paper' (512 features, 3 layers, 8 heads) or 'small' (64, 2, 4: seconds of training).
        trainer: fields of `TrainerOptions`; None as a value keeps the preset's, except for `windows_per_epoch`,
            where None takes all windows.
        config: fields of `AloraConfig`.

    Raises:
        InputError: no such preset, or a setting out of its range.
    """
    if preset not in PRESETS:
        raise InputError(f"no ALoRa preset '{preset}'; expected one of {', '.join(PRESETS)}")
    chosen = {k: v for k, v in (trainer or {}).items() if v is not None or k == "windows_per_epoch"}
    try:
        return AloraOptions(
            config=replace(PRESETS[preset], **(config or {})), trainer=replace(TRAINERS[preset], **chosen)
        )
    except TypeError as error:
        raise InputError(f"ALoRa: {error}") from error


class AloraDetector(TorchDetector):
    """A trained ALoRa."""

    graph: AloraGraph
    history: TrainingHistory


def train_alora(series: SensorSeries, options: TrainOptions) -> tuple[AloraDetector, CalibrationScores]:
    """ALoRa as the command line asks for it; settings are those of `AloraConfig` and `TrainerOptions`, and
    preset=paper|small.

    Raises:
        InputError: too few rows, no channel that moves, a loss that is not finite, or no such setting.
    """
    base = alora_options(options.settings.get("preset", "paper"))
    config, trainer = chosen_settings(options, base.config, base.trainer, what="alora", extra=("preset",))
    detector, scores = fit_and_score(series, replace(base, config=config, trainer=trainer))
    return detector, every_nth(scores, options.stride)


def fit_and_score(series: SensorSeries, options: AloraOptions) -> tuple[AloraDetector, CalibrationScores]:
    """Fit a detector, export it, and score the held-out part by the very graph that the stream will run.

    Raises:
        InputError: as `train_alora`.
    """
    detector = fit_alora(series, options)
    return detector, held_out_scores(detector, progress=options.trainer.progress)


def fit_alora(series: SensorSeries, options: AloraOptions) -> AloraDetector:
    """Train on the first part of `series.train` and choose h1 on the rest.

    Mean and standard deviation are those of the whole train part, as in the paper.

    Raises:
        InputError: as `train_alora`.
    """
    config = options.config
    prepared = prepare(
        series,
        window=config.window,
        validation_share=options.validation_share,
        clip=config.input_clip,
        scale=config.scale,
    )
    torch.manual_seed(options.trainer.seed)
    pairs = choose_pairs(series.train, config.width, cover_channels=config.cover_channels)
    network = AloraNetwork(config, prepared.channels, pairs)
    held_out = WindowSource(prepared.rows, prepared.held_out_ends, config.window)
    history = train_network(
        network,
        AloraObjective(config),
        WindowSource(prepared.rows, prepared.train_ends, config.window),
        held_out,
        options.trainer,
        run=fingerprint(options.trainer, config=asdict(config), share=options.validation_share, data=prepared.sha256),
        title=f"alora {series.entity}",
    )
    spectra = spectra_of(network, held_out.batches(SCORING_BATCH, at_most=SPECTRA_LIMIT))
    threshold = choose_threshold(spectra, config.rank_threshold)
    return AloraDetector(
        "alora",
        AloraGraph(network, config, prepared.mean, prepared.scale, threshold.value),
        prepared,
        OUTPUTS,
        parameters=_parameters(options, len(pairs), threshold, history),
        warnings=_warnings(prepared, pairs),
        history=history,
    )


class AloraObjective:
    """The loss of `wheeltapper.models.alora.loss`; what is watched is error + lambda * penalty of a window, batch-independent."""

    def __init__(self, config: AloraConfig) -> None:
        self.config = config

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        objective, error, penalty = alora_loss(network(rows), rows, self.config)
        return objective, (error + self.config.alora_lambda * penalty).detach()


def _parameters(
    options: AloraOptions, width: int, threshold: RankThreshold, history: TrainingHistory
) -> dict[str, Any]:
    return {
        **asdict(replace(options.config, width=width)),
        "rank_threshold": threshold.value,
        "rank_threshold_method": threshold.method,
        "rank_histogram": {str(rank): count for rank, count in threshold.histogram.items()},
        "validation_share": options.validation_share,
        **training_parameters(options.trainer, history),
    }


def _warnings(prepared: PreparedSeries, pairs: np.ndarray) -> tuple[str, ...]:
    found = list(prepared.constant_warnings())
    unseen = prepared.moving.copy()
    unseen[np.unique(pairs)] = False
    if unseen.any():
        names = ", ".join(np.asarray(prepared.series.channels)[unseen])
        found.append(f"in no pair, so only their own squared deviation is seen: {names}")
    return tuple(found)
