"""Common code of detectors that are torch networks, after training: export, parity check, held-out scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from wheeltapper.models.fitted import WindowScorer
from wheeltapper.schemas.bundle.graph import Graph, GraphOutput
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import CalibrationScores, every_nth, score_rows
from wheeltapper.training.fitting.export_torch import export_onnx, export_torchscript, prove_parity
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import PreparedSeries
from wheeltapper.training.fitting.progress import working
from wheeltapper.training.fitting.trainer import TrainingHistory
from wheeltapper.training.fitting.trainer_options import TrainerOptions
from wheeltapper.training.fitting.warm_start import weights_of

# Held-out windows beyond that many are not scored: pieces spread over the held-out part stand for the whole.
HELD_OUT_LIMIT = 20_000
HELD_OUT_PIECES = 20
SCORING_BATCH = 256
PARITY_WINDOWS = 64

Exporter = Callable[[nn.Module, int, int, Sequence[str]], bytes]
"""Module, window, channels, names of outputs -> ONNX, as `wheeltapper.training.fitting.export_torch.export_onnx`."""


class TorchDetector:
    """A trained network under the graph contract; a `wheeltapper.models.fitted.FittedDetector`.

    Attributes:
        graph: the torch module: forward(window [N, T, C]) -> tuple in the order of `outputs`; on the CPU.
        outputs: names of the contract.
        prepared: the rows that it was trained on.
        history: of its training, where the shared trainer did it.
        parity: largest relative difference between the ONNX graph and torch, by output; None until exported.
        exporter: how the graph becomes ONNX.
        networks: by part, what was trained, heads that only training needs included: what fine-tuning goes on from.
        warm_up: rows of a machine after which it can score, where that is before the window is full.
    """

    def __init__(
        self,
        detector: str,
        graph: nn.Module,
        prepared: PreparedSeries,
        outputs: Sequence[str],
        *,
        parameters: dict[str, Any],
        warnings: tuple[str, ...] = (),
        history: TrainingHistory | None = None,
        version: int = 1,
        lag: int = 0,
        warm_up: int | None = None,
        exporter: Exporter = export_onnx,
        networks: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.detector = detector
        self.version = version
        self.lag = lag
        self.warm_up = warm_up
        self.exporter = exporter
        self.window = prepared.window
        self.graph = graph.eval().cpu()
        self.outputs = tuple(outputs)
        self.prepared = prepared
        self.parameters = parameters
        self.warnings = warnings
        self.history = history
        self.networks = dict(networks or {})
        self.parity: dict[str, float] | None = None
        self._onnx: bytes | None = None

    def onnx_bytes(self) -> bytes:
        """The graph, proven to agree with torch."""
        if self._onnx is None:
            model = self.exporter(self.graph, self.window, self.prepared.channels, self.outputs)
            held_out = WindowSource(self.prepared.filled, self.prepared.held_out_ends, self.window)
            windows = torch.cat(list(held_out.batches(SCORING_BATCH, at_most=PARITY_WINDOWS))).numpy()
            self.parity = prove_parity(self.graph, model, windows)
            self._onnx = model
        return self._onnx

    def torchscript_bytes(self) -> bytes | None:
        """Its twin; `wheeltapper.training.fitting.export_check.check_twin` proves it when the bundle is written."""
        return export_torchscript(self.graph, self.window, self.prepared.channels)

    def weights(self) -> dict[str, np.ndarray]:
        """What training ended with, by part and name."""
        return weights_of(self.networks)


class TorchScorer:
    """A detector's network in place of its ONNX graph: the same outputs, without an export.

    Args:
        detector: a trained network.
    """

    batch_sizes = (SCORING_BATCH,)

    def __init__(self, detector: TorchDetector) -> None:
        self._detector = detector
        self.window = detector.window
        self.channels = detector.prepared.channels

    def run(self, windows: np.ndarray) -> GraphOutput:
        """[n, W, C] float32, raw units, to what the contract says."""
        with torch.no_grad():
            values = self._detector.graph(torch.from_numpy(np.array(windows, dtype=np.float32)))
        named = {name: value.numpy() for name, value in zip(self._detector.outputs, values, strict=True)}
        return GraphOutput(
            score=named["score"],
            contribution=named["contribution"],
            expected=named.get("expected"),
            embedding=named.get("embedding"),
        )


def held_out_scores(detector: TorchDetector, options: TrainOptions) -> CalibrationScores:
    """Scores of the windows that training did not see, `options.stride` rows apart.

    By the very graph that the stream will run, unless `options.held_out_by` says otherwise.
    """
    prepared, series = detector.prepared, detector.prepared.series
    name, progress = f"{detector.detector} {series.entity}", options.progress
    graph: WindowScorer
    if options.held_out_by == "torch":
        graph = TorchScorer(detector)
    else:
        with working(f"{name}: exporting the graph", show=progress):
            # As many threads as torch may use: one in a process that runs beside others.
            graph = Graph(detector.onnx_bytes(), name=detector.detector, device="cpu", threads=torch.get_num_threads())
    with working(f"{name}: scoring held-out windows", show=progress):
        parts = [
            score_rows(
                graph,
                prepared.filled[piece],
                series.train_ts[piece],
                sampling_interval_s=series.sampling_interval_s,
                lag=detector.lag,
            )
            for piece in held_out_pieces(prepared.held_out_ends, detector.window)
        ]
    scores = CalibrationScores(
        score=np.concatenate([part.score for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        interval_s=series.sampling_interval_s,
        origin=f"last {prepared.validation_share:.0%} of the train part, which training did not see",
    )
    return every_nth(scores, options.stride)


def held_out_pieces(ends: np.ndarray, window: int) -> list[slice]:
    """Rows whose windows end at `ends`, as stretches without a gap.

    More than `HELD_OUT_LIMIT` windows are represented by `HELD_OUT_PIECES` stretches spread evenly over them.
    """
    if len(ends) > HELD_OUT_LIMIT:
        starts = np.arange(HELD_OUT_PIECES) * len(ends) // HELD_OUT_PIECES
        ends = ends[(starts[:, None] + np.arange(HELD_OUT_LIMIT // HELD_OUT_PIECES)).ravel()]
    stretches = np.split(ends, np.flatnonzero(np.diff(ends) > 1) + 1)
    return [slice(int(stretch[0]) - window + 1, int(stretch[-1]) + 1) for stretch in stretches]


def training_parameters(trainer: TrainerOptions, history: TrainingHistory) -> dict[str, Any]:
    """What the manifest says of a training by `wheeltapper.training.fitting.trainer`."""
    return {
        "epochs": len(history.validation),
        "best_epoch": history.best_epoch,
        "training_loss": history.training,
        "validation_loss": history.validation,
        "windows_per_epoch": trainer.windows_per_epoch,
        "batch_size": trainer.batch_size,
        "learning_rate": trainer.learning_rate,
        "seed": trainer.seed,
        "cut_by_budget": history.cut,
    }
