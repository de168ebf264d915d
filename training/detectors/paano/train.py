"""Trains PaAno on one entity: encoder, memory bank, held-out scores, export."""

from __future__ import annotations

import os
from dataclasses import asdict, replace

# Before torch: on a processor that others use too, OpenMP threads that wait by spinning take four times as long
# as one thread alone; waiting passively costs nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from wheeltapper.models.paano.config import PaanoConfig
from wheeltapper.models.paano.graph import OUTPUTS, PaanoGraph
from wheeltapper.models.paano.loss import PaanoObjective, span
from wheeltapper.models.paano.memory import Memory, build_memory, usual_differences
from wheeltapper.models.paano.network import PaanoNetwork
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.paano.spec import SPEC
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import CalibrationScores, bounded_sample, contiguous_runs, every_nth
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import (
    MINIMUM_WINDOWS,
    VALIDATION_SHARE,
    PreparedSeries,
    prepare,
    window_ends,
)
from wheeltapper.training.fitting.progress import working
from wheeltapper.training.fitting.torch_detector import (
    SCORING_BATCH,
    TorchDetector,
    held_out_pieces,
    training_parameters,
)
from wheeltapper.training.fitting.trainer import TrainerOptions, fingerprint, train_network

# Windows of these lengths are tried for a train part that is too short for the default, longest first.
SHORTER_WINDOWS = (32, 16)
# Share of a budget that the encoder may take; embedding the memory and the held-out part takes the rest.
TRAINING_SHARE_OF_BUDGET = 0.6
# Held-out patches that say what is usual.
USUAL_PATCHES = 2000


def train_paano(series: SensorSeries, options: TrainOptions) -> tuple[TorchDetector, CalibrationScores]:
    """PaAno as the command line asks for it.

    Raises:
        InputError: too few rows, no channel that moves, a loss that is not finite, or no such setting.
    """
    config, trainer = SPEC.settings_for(options), SPEC.trainer_for(options)
    if options.window is None and "window" not in options.settings:
        config = replace(config, window=fitting_window(len(series.train), config.window))
    if trainer.budget_s is not None:
        trainer = replace(trainer, budget_s=TRAINING_SHARE_OF_BUDGET * trainer.budget_s)
    detector, scores = fit_paano(series, config, trainer)
    return detector, every_nth(scores, options.stride)


def fitting_window(rows: int, default: int) -> int:
    """The longest window that leaves twice the least number of held-out ones; the default for a train part of `rows`."""
    held_out = int(rows * VALIDATION_SHARE)
    fitting = [size for size in (default, *SHORTER_WINDOWS) if size <= default and held_out >= size + MINIMUM_WINDOWS]
    return max(fitting, default=min(default, SHORTER_WINDOWS[-1]))


def fit_paano(
    series: SensorSeries, config: PaanoConfig, trainer: TrainerOptions
) -> tuple[TorchDetector, CalibrationScores]:
    """Train on the first part of `series.train`; score the rest with a memory of the first; then remember both.

    The alarm level comes from scores that know nothing of the patches that they judge; the bundle knows all of them, so
    that a short history is not made shorter.

    Raises:
        InputError: as `train_paano`.
    """
    prepared = prepare(
        series,
        window=config.window,
        validation_share=trainer.held_out_share,
        clip=config.input_clip,
        scale=config.scale,
    )
    torch.manual_seed(trainer.seed)
    network = PaanoNetwork(config, prepared.channels)
    training, validation = _samples(prepared, span(config))
    steps = trainer.epochs * -(-min(len(training), trainer.windows_per_epoch or len(training)) // trainer.batch_size)
    history = train_network(
        network,
        PaanoObjective(config, steps),
        training,
        validation,
        trainer,
        run=fingerprint(trainer, config=asdict(config), steps=steps, data=prepared.sha256),
        title=f"paano {series.entity}",
    )
    with working(f"paano {series.entity}: remembering patches", show=trainer.progress):
        memory = _memory(network, config, prepared, prepared.train_ends, trainer.seed)
        held_out = WindowSource(prepared.rows, prepared.held_out_ends, config.window)
        usual = usual_differences(network, memory, held_out.batches(SCORING_BATCH, at_most=USUAL_PATCHES))
        scores = _held_out_scores(PaanoGraph(network, config, prepared.mean, prepared.scale, memory, usual), prepared)
        everything = np.concatenate([prepared.train_ends, prepared.held_out_ends])
        memory = _memory(network, config, prepared, everything, trainer.seed)
    detector = TorchDetector(
        "paano",
        PaanoGraph(network, config, prepared.mean, prepared.scale, memory, usual),
        prepared,
        OUTPUTS,
        parameters={
            **asdict(config),
            "encoder_parameters": sum(parameter.numel() for parameter in network.blocks.parameters()),
            "remembered": len(memory.embedding),
            **training_parameters(trainer, history),
        },
        warnings=(
            "a patch near any remembered one is normal, whatever came before it; faults in the train part are remembered too",
            *prepared.constant_warnings(),
        ),
        history=history,
        networks={"network": network},
    )
    return detector, scores


def _memory(
    network: PaanoNetwork, config: PaanoConfig, prepared: PreparedSeries, ends: np.ndarray, seed: int
) -> Memory:
    ends = ends[bounded_sample(len(ends), config.memory_candidates)]
    candidates = WindowSource(prepared.rows, ends, config.window)
    return build_memory(
        network,
        lambda: candidates.batches(SCORING_BATCH),
        torch.as_tensor(prepared.filled[ends]),
        most=config.memory,
        seed=seed,
    )


def _held_out_scores(graph: PaanoGraph, prepared: PreparedSeries) -> CalibrationScores:
    """By torch: this graph has half of the memory and is never exported."""
    series = prepared.series
    ends = np.concatenate(
        [
            np.arange(piece.start + prepared.window - 1, piece.stop)
            for piece in held_out_pieces(prepared.held_out_ends, prepared.window)
        ]
    )
    windows = WindowSource(prepared.filled, ends, prepared.window)
    with torch.no_grad():
        scores = [graph(part)[0] for part in windows.batches(SCORING_BATCH)]
    return CalibrationScores(
        score=torch.cat(scores).numpy().astype(np.float64),
        time=series.train_ts[ends],
        interval_s=series.sampling_interval_s,
        origin=f"last {prepared.validation_share:.0%} of the train part, against a memory of the rest",
    )


def _samples(prepared: PreparedSeries, rows: int) -> tuple[WindowSource, WindowSource]:
    """Training and validation samples of so many rows; a held-out part too short for one is watched by training's."""
    series = prepared.series
    runs = contiguous_runs(series.train_ts, series.sampling_interval_s)
    split = int(len(series.train) * (1 - prepared.validation_share))
    training = _source(prepared, window_ends(runs, rows, 0, split), rows)
    if not len(training):
        raise InputError(
            f"{series.dataset} {series.entity}: no stretch of the train part without a gap is as long as the {rows} rows that "
            "two patches of paano need; give more rows or a smaller --window"
        )
    held_out = window_ends(runs, rows, split, len(series.train))
    return training, _source(prepared, held_out, rows) if len(held_out) else training


def _source(prepared: PreparedSeries, ends: np.ndarray, rows: int) -> WindowSource:
    return WindowSource(prepared.rows, ends, rows)
