"""Fits ALoRa to one entity: pairs, scaling, training, rank threshold, held-out scores, export."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Before torch: on a processor that others use too, OpenMP threads that wait by spinning take four times as long
# as one thread alone; waiting passively costs nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor, nn

from models.alora.config import PRESETS, AloraConfig
from models.alora.embed import choose_pairs, moving_channels
from models.alora.graph import OUTPUTS, AloraGraph, spectra_of
from models.alora.loss import alora_loss
from models.alora.model import AloraNetwork
from models.alora.rank import RankThreshold, choose_threshold
from models.training_rows import carry_forward, channel_medians
from schemas.bundle.graph import Graph
from schemas.errors import InputError
from training.calibration import CalibrationScores, contiguous_runs, score_rows
from training.datasets.series import SensorSeries
from training.export_torch import export_onnx, export_torchscript, prove_parity
from training.progress import working
from training.trainer import TrainerOptions, TrainingHistory, WindowSource, fingerprint, train_network

# Fewer windows than that on either side of the split say nothing about normal.
MINIMUM_WINDOWS = 30
# Held-out windows beyond that many are not scored: pieces spread over the held-out part stand for the whole.
HELD_OUT_LIMIT = 20_000
HELD_OUT_PIECES = 20
SPECTRA_LIMIT = 8192
SCORING_BATCH = 256
PARITY_WINDOWS = 64


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


class AloraDetector:
    """A trained ALoRa; a `models.fitted.FittedDetector`.

    Attributes:
        graph: the torch module under the graph contract, on the CPU.
        history: of its training.
        filled: [T, C] float32, the train part's rows as they were trained on, raw units.
        held_out_ends: [m] int64, last rows of the windows that training did not see.
        parity: largest relative difference between the ONNX graph and torch, by output; None until exported.
    """

    detector = "alora"
    version = 1
    lag = 0

    def __init__(
        self,
        graph: AloraGraph,
        window: int,
        parameters: dict[str, Any],
        warnings: tuple[str, ...],
        history: TrainingHistory,
        filled: np.ndarray,
        held_out_ends: np.ndarray,
    ) -> None:
        self.graph = graph
        self.window = window
        self.parameters = parameters
        self.warnings = warnings
        self.history = history
        self.parity: dict[str, float] | None = None
        self.filled = filled
        self.held_out_ends = held_out_ends
        self._onnx: bytes | None = None

    def onnx_bytes(self) -> bytes:
        """The graph, proven to agree with torch."""
        if self._onnx is None:
            model = export_onnx(self.graph, self.window, self.filled.shape[1], OUTPUTS)
            held_out = WindowSource(self.filled, self.held_out_ends, self.window)
            windows = torch.cat(list(held_out.batches(SCORING_BATCH, at_most=PARITY_WINDOWS))).numpy()
            self.parity = prove_parity(self.graph, model, windows)
            self._onnx = model
        return self._onnx

    def torchscript_bytes(self) -> bytes | None:
        """Its twin; `training.export_check.check_twin` proves it when the bundle is written."""
        return export_torchscript(self.graph, self.window, self.filled.shape[1])


def train_alora(series: SensorSeries, options: AloraOptions | None = None) -> tuple[AloraDetector, CalibrationScores]:
    """Fit a detector, export it, and score the held-out part by the very graph that the stream will run.

    Raises:
        InputError: too few rows, no channel that moves, or a loss that is not finite.
    """
    options = options or AloraOptions()
    detector = fit_alora(series, options)
    interval_s = series.sampling_interval_s
    with working(f"alora {series.entity}: exporting the graph", show=options.trainer.progress):
        graph = Graph(detector.onnx_bytes(), name="alora", device="cpu", threads=0)
    with working(f"alora {series.entity}: scoring held-out windows", show=options.trainer.progress):
        parts = [
            score_rows(graph, detector.filled[piece], series.train_ts[piece], sampling_interval_s=interval_s)
            for piece in held_out_pieces(detector.held_out_ends, detector.window)
        ]
    scores = CalibrationScores(
        score=np.concatenate([part.score for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        interval_s=interval_s,
        origin=f"last {options.validation_share:.0%} of the train part, which training did not see",
    )
    return detector, scores


def fit_alora(series: SensorSeries, options: AloraOptions) -> AloraDetector:
    """Train on the first part of `series.train` and choose h1 on the rest.

    Mean and standard deviation are those of the whole train part, as in the paper.

    Raises:
        InputError: as `train_alora`.
    """
    config = options.config
    split = int(len(series.train) * (1 - options.validation_share))
    runs = contiguous_runs(series.train_ts, series.sampling_interval_s)
    train_ends = window_ends(runs, config.window, 0, split)
    held_out_ends = window_ends(runs, config.window, split, len(series.train))
    _check(series, config, len(train_ends), len(held_out_ends))
    moving = moving_channels(series.train)
    mean, scale = scaling(series.train, moving)
    # A live machine's missing values are carried forward too; the graph itself reads a NaN as the mean.
    typical = channel_medians([series.train])
    filled = np.concatenate([carry_forward(series.train[run], typical) for run in runs])
    rows = np.clip((filled - mean) / scale, -config.input_clip, config.input_clip).astype(np.float32)
    torch.manual_seed(options.trainer.seed)
    pairs = choose_pairs(series.train, config.width, cover_channels=config.cover_channels)
    network = AloraNetwork(config, series.train.shape[1], pairs)
    held_out = WindowSource(rows, held_out_ends, config.window)
    history = train_network(
        network,
        AloraObjective(config),
        WindowSource(rows, train_ends, config.window),
        held_out,
        options.trainer,
        run=fingerprint(options.trainer, config=asdict(config), share=options.validation_share, data=_sha256(series)),
        title=f"alora {series.entity}",
    )
    spectra = spectra_of(network, held_out.batches(SCORING_BATCH, at_most=SPECTRA_LIMIT))
    threshold = choose_threshold(spectra, config.rank_threshold)
    return AloraDetector(
        AloraGraph(network, config, mean, scale, threshold.value),
        config.window,
        _parameters(options, len(pairs), threshold, history),
        _warnings(series, moving, pairs),
        history,
        filled,
        held_out_ends,
    )


def _check(series: SensorSeries, config: AloraConfig, training: int, held_out: int) -> None:
    name = f"{series.dataset} {series.entity}"
    if min(training, held_out) < MINIMUM_WINDOWS:
        raise InputError(
            f"{name}: {len(series.train)} train rows give {training} windows of {config.window} rows without a gap "
            f"to train on and {held_out} to hold out, expected at least {MINIMUM_WINDOWS} of each; give more rows or "
            "a smaller window"
        )
    if np.isinf(series.train).any():
        channel = series.channels[int(np.argwhere(np.isinf(series.train))[0, 1])]
        raise InputError(f"{name}: channel {channel} is infinite in a train row; write such values as empty (NaN)")
    if not moving_channels(series.train).any():
        raise InputError(
            f"{name}: all {series.train.shape[1]} channels are constant in the train part, expected at least one that "
            "moves; give other rows"
        )


class AloraObjective:
    """The loss of `models.alora.loss`; what is watched is error + lambda * penalty of a window, batch-independent."""

    def __init__(self, config: AloraConfig) -> None:
        self.config = config

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        objective, error, penalty = alora_loss(network(rows), rows, self.config)
        return objective, (error + self.config.alora_lambda * penalty).detach()


def scaling(train: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of [n, C], NaN left out: [C] float32 each.

    A constant channel gets scale 1: one raw unit of change counts as one standard deviation. A channel that was
    never measured gets mean 0.
    """
    known = ~np.isnan(train)
    count = np.maximum(known.sum(axis=0), 1)
    wide = np.where(known, train, 0).astype(np.float64)
    mean = wide.sum(axis=0) / count
    variance = (np.where(known, wide - mean, 0) ** 2).sum(axis=0) / count
    scale = np.where(moving, np.sqrt(variance), 1.0)
    # In float32 the deviation of a channel that hardly moves can vanish.
    return mean.astype(np.float32), np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)


def window_ends(runs: Sequence[slice], window: int, start: int, stop: int) -> np.ndarray:
    """[m] int64: last rows of the windows that lie in rows [start, stop) and inside one of the runs."""
    parts = [np.arange(max(run.start, start) + window - 1, min(run.stop, stop), dtype=np.int64) for run in runs]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def held_out_pieces(ends: np.ndarray, window: int) -> list[slice]:
    """Rows whose windows end at `ends`, as stretches without a gap.

    More than `HELD_OUT_LIMIT` windows are represented by `HELD_OUT_PIECES` stretches spread evenly over them.
    """
    if len(ends) > HELD_OUT_LIMIT:
        starts = np.arange(HELD_OUT_PIECES) * len(ends) // HELD_OUT_PIECES
        ends = ends[(starts[:, None] + np.arange(HELD_OUT_LIMIT // HELD_OUT_PIECES)).ravel()]
    stretches = np.split(ends, np.flatnonzero(np.diff(ends) > 1) + 1)
    return [slice(int(stretch[0]) - window + 1, int(stretch[-1]) + 1) for stretch in stretches]


def _sha256(series: SensorSeries) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(series.train, dtype=np.float32).tobytes())
    digest.update(np.ascontiguousarray(series.train_ts).tobytes())
    return digest.hexdigest()


def _parameters(
    options: AloraOptions, width: int, threshold: RankThreshold, history: TrainingHistory
) -> dict[str, Any]:
    trainer = options.trainer
    return {
        **asdict(replace(options.config, width=width)),
        "rank_threshold": threshold.value,
        "rank_threshold_method": threshold.method,
        "rank_histogram": {str(rank): count for rank, count in threshold.histogram.items()},
        "epochs": len(history.validation),
        "best_epoch": history.best_epoch,
        "training_loss": history.training,
        "validation_loss": history.validation,
        "windows_per_epoch": trainer.windows_per_epoch,
        "batch_size": trainer.batch_size,
        "learning_rate": trainer.learning_rate,
        "seed": trainer.seed,
        "validation_share": options.validation_share,
    }


def _warnings(series: SensorSeries, moving: np.ndarray, pairs: np.ndarray) -> tuple[str, ...]:
    found = []
    names = np.asarray(series.channels)
    if not moving.all():
        found.append(
            f"constant in training, so no pair holds them and one raw unit of change counts as one standard deviation: "
            f"{', '.join(names[~moving])}"
        )
    unseen = moving.copy()
    unseen[np.unique(pairs)] = False
    if unseen.any():
        found.append(f"in no pair, so only their own squared deviation is seen: {', '.join(names[unseen])}")
    return tuple(found)
