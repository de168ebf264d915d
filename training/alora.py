"""Fits ALoRa to one entity: pairs, scaling, training, rank threshold, held-out scores, export."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.alora.config import PRESETS, AloraConfig
from models.alora.embed import choose_pairs, moving_channels
from models.alora.graph import OUTPUTS, AloraGraph, spectra_of
from models.alora.loss import alora_loss
from models.alora.model import AloraNetwork
from models.alora.rank import RankThreshold, choose_threshold
from schemas.errors import InputError
from training.datasets.missing import carried_forward, medians
from training.datasets.series import SensorSeries
from training.export_torch import Parity, export_onnx, export_torchscript, prove_parity
from training.trainer import TrainerOptions, TrainingHistory, WindowSource, fingerprint, train_network

# Fewer windows than that on either side of the split say nothing about normal.
MINIMUM_WINDOWS = 30
SCORING_BATCH = 256
PARITY_WINDOWS = 64


@dataclass(frozen=True, slots=True)
class AloraOptions:
    """What a person may choose.

    Attributes:
        config: the detector's own settings.
        trainer: how it is trained. The default shows 4 x 6,000 of the windows, chosen anew each epoch: about two
            minutes for 38 channels on two cores; `windows_per_epoch=None` shows all of them, as the paper does.
        validation_share: last part of the train part, in time, that training does not see; early stopping, the
            rank threshold and the alarm level come from it.
    """

    config: AloraConfig = PRESETS["paper"]
    trainer: TrainerOptions = field(default_factory=lambda: TrainerOptions(windows_per_epoch=6000))
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise InputError(f"validation_share is {self.validation_share}, expected between 0 and 1")


def preset(name: str) -> AloraOptions:
    """'paper' (512 features, 3 layers, 8 heads) or 'small' (64, 2, 4: seconds of training).

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"no ALoRa preset '{name}'; expected one of {', '.join(PRESETS)}")
    if name == "small":
        # A network that small takes, and in so few steps needs, a larger learning rate.
        trainer = TrainerOptions(epochs=3, batch_size=64, learning_rate=1e-3, windows_per_epoch=4000)
        return AloraOptions(config=PRESETS[name], trainer=trainer)
    return AloraOptions(config=PRESETS[name])


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Scores of windows that training did not see, in time order.

    Attributes:
        score: [n] float64, raw.
        time: [n] int64, event time of each window's last row, microseconds UTC.
    """

    score: np.ndarray
    time: np.ndarray


class AloraDetector:
    """A trained ALoRa; a `models.fitted.FittedDetector`.

    Attributes:
        graph: the torch module under the graph contract, on the CPU.
        history: of its training.
        parity: relative differences of the exports to torch; None until exported.
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
        parity_windows: np.ndarray,
    ) -> None:
        self.graph = graph
        self.window = window
        self.parameters = parameters
        self.warnings = warnings
        self.history = history
        self.parity: Parity | None = None
        self._parity_windows = parity_windows
        self._exported: tuple[bytes, bytes] | None = None

    def onnx_bytes(self) -> bytes:
        return self._export()[0]

    def torchscript_bytes(self) -> bytes | None:
        return self._export()[1]

    def _export(self) -> tuple[bytes, bytes]:
        if self._exported is None:
            channels = self._parity_windows.shape[2]
            onnx_bytes = export_onnx(self.graph, self.window, channels, OUTPUTS)
            script_bytes = export_torchscript(self.graph, self.window, channels)
            self.parity = prove_parity(self.graph, onnx_bytes, script_bytes, self._parity_windows, OUTPUTS)
            self._exported = (onnx_bytes, script_bytes)
        return self._exported


def train_alora(series: SensorSeries, options: AloraOptions | None = None) -> tuple[AloraDetector, HeldOutScores]:
    """Train on the first part of `series.train`, choose h1 and score on the rest.

    Mean and standard deviation are those of the whole train part, as in the paper.

    Raises:
        InputError: too few rows, no channel that moves, or a loss that is not finite.
    """
    options = options or AloraOptions()
    config = options.config
    split = int(len(series.train) * (1 - options.validation_share))
    train_ends = window_ends(series.train_ts, config.window, series.sampling_interval_s, 0, split)
    held_out_ends = window_ends(series.train_ts, config.window, series.sampling_interval_s, split, len(series.train))
    if min(len(train_ends), len(held_out_ends)) < MINIMUM_WINDOWS:
        raise InputError(
            f"{series.dataset} {series.entity}: {len(series.train)} train rows give {len(train_ends)} windows of "
            f"{config.window} rows without a gap to train on and {len(held_out_ends)} to hold out, expected at least "
            f"{MINIMUM_WINDOWS} of each; give more rows or a smaller window"
        )
    moving = moving_channels(series.train)
    if not moving.any():
        raise InputError(
            f"{series.dataset} {series.entity}: all {len(moving)} channels are constant in the train part, expected "
            "at least one that moves; give other rows"
        )
    mean, scale = scaling(series.train, moving)
    # A live machine's missing values are carried forward too; the graph itself reads a NaN as the mean.
    filled = carried_forward(series.train, medians(series.train))
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
    spectra = spectra_of(network, held_out.batches(SCORING_BATCH))
    threshold = choose_threshold(spectra, config.rank_threshold)
    graph = AloraGraph(network, config, mean, scale, threshold.value)
    raw = WindowSource(filled, held_out_ends, config.window)
    with torch.no_grad():
        score = np.concatenate([graph(window)[0].numpy() for window in raw.batches(SCORING_BATCH)]).astype(np.float64)
    detector = AloraDetector(
        graph,
        config.window,
        _parameters(options, len(pairs), threshold, history),
        _warnings(series, moving, pairs),
        history,
        torch.cat(list(raw.batches(SCORING_BATCH, at_most=PARITY_WINDOWS))).numpy(),
    )
    return detector, HeldOutScores(score, series.train_ts[held_out_ends])


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


def window_ends(ts: np.ndarray, window: int, sampling_interval_s: float, start: int, stop: int) -> np.ndarray:
    """[m] int64: last rows of the windows that lie in rows [start, stop) and span no gap.

    A window has a gap if it takes more than one and a half times as long as its rows should.
    """
    ends = np.arange(start + window - 1, stop)
    span_s = (ts[ends] - ts[ends - window + 1]) / 1e6
    return np.asarray(ends[span_s <= 1.5 * (window - 1) * sampling_interval_s])


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
