"""What every detector that is a torch network shares once it is trained: export, proof of parity, held-out scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores, score_rows
from wheeltapper.training.fitting.export_torch import export_onnx, export_torchscript, prove_parity
from wheeltapper.training.fitting.options import with_settings
from wheeltapper.training.fitting.prepared import PreparedSeries
from wheeltapper.training.fitting.progress import working
from wheeltapper.training.fitting.trainer import TrainerOptions, TrainingHistory, WindowSource

# Held-out windows beyond that many are not scored: pieces spread over the held-out part stand for the whole.
HELD_OUT_LIMIT = 20_000
HELD_OUT_PIECES = 20
SCORING_BATCH = 256
PARITY_WINDOWS = 64

Config = TypeVar("Config")


class TorchDetector:
    """A trained network under the graph contract; a `wheeltapper.models.fitted.FittedDetector`.

    Attributes:
        graph: the torch module: forward(window [N, T, C]) -> tuple in the order of `outputs`; on the CPU.
        outputs: names of the contract.
        prepared: the rows that it was trained on.
        history: of its training, where the shared trainer did it.
        parity: largest relative difference between the ONNX graph and torch, by output; None until exported.
        export: how the graph becomes ONNX.
    """

    export = staticmethod(export_onnx)

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
    ) -> None:
        self.detector = detector
        self.version = version
        self.lag = lag
        self.window = prepared.window
        self.graph = graph.eval().cpu()
        self.outputs = tuple(outputs)
        self.prepared = prepared
        self.parameters = parameters
        self.warnings = warnings
        self.history = history
        self.parity: dict[str, float] | None = None
        self._onnx: bytes | None = None

    def onnx_bytes(self) -> bytes:
        """The graph, proven to agree with torch."""
        if self._onnx is None:
            model = self.export(self.graph, self.window, self.prepared.channels, self.outputs)
            held_out = WindowSource(self.prepared.filled, self.prepared.held_out_ends, self.window)
            windows = torch.cat(list(held_out.batches(SCORING_BATCH, at_most=PARITY_WINDOWS))).numpy()
            self.parity = prove_parity(self.graph, model, windows)
            self._onnx = model
        return self._onnx

    def torchscript_bytes(self) -> bytes | None:
        """Its twin; `wheeltapper.training.fitting.export_check.check_twin` proves it when the bundle is written."""
        return export_torchscript(self.graph, self.window, self.prepared.channels)


def held_out_scores(detector: TorchDetector, *, progress: bool = False) -> CalibrationScores:
    """Scores of the windows that training did not see, by the very graph that the stream will run."""
    prepared, series = detector.prepared, detector.prepared.series
    name = f"{detector.detector} {series.entity}"
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
    return CalibrationScores(
        score=np.concatenate([part.score for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        interval_s=series.sampling_interval_s,
        origin=f"last {prepared.validation_share:.0%} of the train part, which training did not see",
    )


def held_out_pieces(ends: np.ndarray, window: int) -> list[slice]:
    """Rows whose windows end at `ends`, as stretches without a gap.

    More than `HELD_OUT_LIMIT` windows are represented by `HELD_OUT_PIECES` stretches spread evenly over them.
    """
    if len(ends) > HELD_OUT_LIMIT:
        starts = np.arange(HELD_OUT_PIECES) * len(ends) // HELD_OUT_PIECES
        ends = ends[(starts[:, None] + np.arange(HELD_OUT_LIMIT // HELD_OUT_PIECES)).ravel()]
    stretches = np.split(ends, np.flatnonzero(np.diff(ends) > 1) + 1)
    return [slice(int(stretch[0]) - window + 1, int(stretch[-1]) + 1) for stretch in stretches]


def chosen_settings(
    options: TrainOptions,
    config: Config,
    trainer: TrainerOptions,
    *,
    what: str,
    extra: Sequence[str] = (),
) -> tuple[Config, TrainerOptions]:
    """A detector's own settings and the trainer's, as `--set` and the command line change them.

    Args:
        config, trainer: the detector's defaults; fields that both have are the detector's.
        what: the detector, for errors.
        extra: settings that were handled before and are left out here.

    Raises:
        InputError: no such setting, or a value that it does not take.
    """
    values: Mapping[str, str] = {key: text for key, text in options.settings.items() if key not in extra}
    own = {item.name for item in fields(config)}  # type: ignore[arg-type]
    of_trainer = sorted({item.name for item in fields(trainer)} - own)
    trainer = with_settings(trainer, {key: text for key, text in values.items() if key in of_trainer}, what=what)
    config = with_settings(
        config,
        {key: text for key, text in values.items() if key not in of_trainer},
        what=what,
        extra=(*extra, *of_trainer),
    )
    if options.window is not None:
        config = replace(config, window=options.window)  # type: ignore[type-var]
    return config, replace(
        trainer,
        seed=options.seed,
        epochs=options.epochs or trainer.epochs,
        device=options.device,
        progress=options.progress,
        checkpoint_folder=options.checkpoint_folder,
        budget_s=options.budget_s if options.budget_s is not None else trainer.budget_s,
    )


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
