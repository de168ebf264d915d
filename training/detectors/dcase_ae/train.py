"""Trains the autoencoder baseline on one entity: network, covariances of residuals, held-out scores, export."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, replace

# Before torch: on a processor that others use too, OpenMP threads that wait by spinning take four times as long
# as one thread alone; waiting passively costs nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from wheeltapper.models.dcase_ae.config import DcaseAeConfig
from wheeltapper.models.dcase_ae.graph import DcaseAeGraph
from wheeltapper.models.dcase_ae.network import Autoencoder, ReconstructionObjective, whitening_of
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.detectors.dcase_ae.spec import SPEC
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.progress import working
from wheeltapper.training.fitting.sound_windows import window_and_hop
from wheeltapper.training.fitting.torch_detector import training_parameters
from wheeltapper.training.fitting.torch_sound import (
    SoundWindows,
    TorchSound,
    band_edges,
    block_scores,
    front_end_of,
    probe_sounds,
    windows_in_blocks,
)
from wheeltapper.training.fitting.trainer import TrainingHistory, fingerprint, train_network
from wheeltapper.training.fitting.trainer_options import TrainerOptions

LEAST_WINDOWS = 4
VALIDATION_SHARE = 0.1
# Share of a budget that networks may take; spectrograms and covariances take the rest.
TRAINING_SHARE_OF_BUDGET = 0.8
# Residuals that a covariance is estimated from at most, evenly spaced.
RESIDUALS = 20_000
# A band that never moved in training is not blown up to unit size, dB.
LEAST_SCALE_DB = 1.0
_AT_ONCE = 16


def train_dcase_ae(series: SoundSeries, options: TrainOptions) -> tuple[TorchSound, CalibrationScores]:
    """The baseline as the command line asks for it.

    Raises:
        InputError: too few clips, windows shorter than an input vector, a loss that is not finite, or no such setting.
    """
    config, trainer = SPEC.settings_for(options), SPEC.trainer_for(options)
    if trainer.budget_s is not None:
        trainings = 1 + (config.folds if config.cross_fit == "network" else 0)
        trainer = replace(trainer, budget_s=TRAINING_SHARE_OF_BUDGET * trainer.budget_s / trainings)
    window, hop = window_and_hop(series, options)
    return fit_dcase_ae(series, config, trainer, window, hop)


def fit_dcase_ae(
    series: SoundSeries, config: DcaseAeConfig, trainer: TrainerOptions, window: int, hop: int
) -> tuple[TorchSound, CalibrationScores]:
    """Train on all train clips; score them in blocks of time by what was fitted on the others.

    Args:
        window, hop: samples.

    Raises:
        InputError: as `train_dcase_ae`.
    """
    frontend = front_end_of(series.sample_rate, config.mels, config.low_hz)
    mel = BandLevels(frontend, window)
    if mel.frames < 2 * config.frames:
        raise InputError(
            f"{series.dataset} {series.entity}: a window has {mel.frames} frames, dcase-ae needs at least {2 * config.frames}; give a "
            "longer --window-s"
        )
    with working(f"dcase-ae {series.entity}: spectrograms", show=trainer.progress):
        windows, fold = windows_in_blocks(series, mel, window, hop, config.folds)
    if len(windows) < LEAST_WINDOWS or not fold.max():
        raise InputError(
            f"{series.dataset} {series.entity}: {len(windows)} windows of {window / series.sample_rate:g} s in the train clips, "
            f"dcase-ae needs at least {LEAST_WINDOWS} and two clips; give more normal sound or a shorter --window-s"
        )
    job = _Job(series, config, trainer, frontend, mel)
    everything = np.arange(len(windows))
    graph, history = job.fit(windows, everything, f"dcase-ae {series.entity}")
    scores = job.held_out(windows, fold, graph)
    channels = len(series.channels)
    fitted = TorchSound(
        "dcase-ae",
        graph,
        series.sample_rate,
        window,
        channels,
        band_edges(frontend, config.mels, channels),
        config.time_columns,
        parameters={
            **asdict(config),
            "parameters": sum(parameter.numel() for parameter in graph.network.parameters()),
            "windows": len(windows),
            "domains": sorted({domain or "source" for domain in windows.domains}),
            **training_parameters(trainer, history),
        },
        probes=probe_sounds(series, window, ()),
        warnings=("one network has to repeat all of a machine's normal states: a rare one looks like a fault",),
    )
    return fitted, block_scores(windows, scores, fold, hop, series.sample_rate, by=f"a {config.cross_fit} fitted")


class _Job:
    """What the fits of one training have in common."""

    def __init__(
        self,
        series: SoundSeries,
        config: DcaseAeConfig,
        trainer: TrainerOptions,
        frontend: FrontEnd,
        mel: BandLevels,
    ) -> None:
        self.series, self.config, self.trainer = series, config, trainer
        self.frontend, self.mel = frontend, mel

    def fit(self, windows: SoundWindows, chosen: np.ndarray, title: str) -> tuple[DcaseAeGraph, TrainingHistory]:
        """Network and covariances of the chosen windows, as a graph."""
        config, trainer = self.config, self.trainer
        levels = windows.levels[torch.from_numpy(chosen)]
        channels, bands = levels.shape[1], levels.shape[3]
        flat = levels.transpose(1, 2).reshape(-1, channels * bands).numpy()
        mean, scale = np.zeros(channels * bands), np.ones(channels * bands)
        if config.standardise:
            mean, scale = flat.mean(axis=0), np.maximum(flat.std(axis=0), LEAST_SCALE_DB)
        rows = ((flat - mean) / scale).astype(np.float32)
        training, validation = _sources(rows, len(chosen), self.mel.frames, config.frames)
        torch.manual_seed(trainer.seed)
        network = Autoencoder(config.frames * channels * bands, config.width, config.bottleneck)
        history = train_network(
            network,
            ReconstructionObjective(),
            training,
            validation,
            trainer,
            run=fingerprint(trainer, config=asdict(config), data=hashlib.sha256(rows.tobytes()).hexdigest()),
            title=title,
        )
        graph = self._graph(network, mean, scale, [np.eye(config.frames * channels * bands)])
        return self._with_covariances(graph, windows, chosen), history

    def held_out(self, windows: SoundWindows, fold: np.ndarray, graph: DcaseAeGraph) -> np.ndarray:
        """[n] float64: scores of each block of time by what was fitted on the others."""
        scores = np.zeros(len(windows))
        for block in range(int(fold.max()) + 1):
            held, others = np.flatnonzero(fold == block), np.flatnonzero(fold != block)
            if self.config.cross_fit == "network":
                own, _ = self.fit(windows, others, f"dcase-ae {self.series.entity}, without block {block + 1}")
            else:
                own = self._with_covariances(graph, windows, others)
            with torch.no_grad():
                for start in range(0, len(held), _AT_ONCE):
                    part = held[start : start + _AT_ONCE]
                    rows = own.rows(windows.levels[torch.from_numpy(part)].flatten(0, 1))
                    scores[part] = own.score(rows)[0].numpy()
        return scores

    def _graph(
        self, network: Autoencoder, mean: np.ndarray, scale: np.ndarray, whitenings: list[np.ndarray]
    ) -> DcaseAeGraph:
        columns = self.frontend.columns(self.mel.samples, self.config.time_columns)
        channels = len(self.series.channels)
        return DcaseAeGraph(network, self.config, self.mel, channels, mean, scale, whitenings, columns)

    def _with_covariances(self, graph: DcaseAeGraph, windows: SoundWindows, chosen: np.ndarray) -> DcaseAeGraph:
        """The same network with the covariances of the chosen windows' residuals, one a domain."""
        if self.config.score == "mse":
            return graph
        target = np.array([domain == "target" for domain in windows.domains])[chosen]
        groups = [chosen[~target], chosen[target]]
        whitenings = [
            whitening_of(self._residuals(graph, windows, group), self.config.covariance)
            for group in groups
            if len(group)
        ]
        return self._graph(graph.network, graph.mean.numpy(), graph.scale.numpy(), whitenings)

    def _residuals(self, graph: DcaseAeGraph, windows: SoundWindows, chosen: np.ndarray) -> np.ndarray:
        """[m, D] of evenly spaced vectors."""
        vectors = self.mel.frames - self.config.frames + 1
        step = -(-len(chosen) * vectors // RESIDUALS)
        parts = []
        with torch.no_grad():
            for start in range(0, len(chosen), _AT_ONCE):
                part = torch.from_numpy(chosen[start : start + _AT_ONCE])
                residual, _ = graph.residual(graph.rows(windows.levels[part].flatten(0, 1)))
                parts.append(residual.flatten(0, 1)[::step].numpy())
        return np.concatenate(parts)


def _sources(rows: np.ndarray, windows: int, frames: int, side_by_side: int) -> tuple[WindowSource, WindowSource]:
    """Vectors that do not reach over two windows; the last tenth of the windows is for validation."""
    ends = (np.arange(windows)[:, None] * frames + np.arange(side_by_side - 1, frames)).astype(np.int64)
    training = max(1, round(windows * (1 - VALIDATION_SHARE)))
    held_out = ends[training:] if training < windows else ends
    return WindowSource(rows, ends[:training].ravel(), side_by_side), WindowSource(rows, held_out.ravel(), side_by_side)
