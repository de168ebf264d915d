"""A user's own ONNX graph as a fitted detector: read, checked against the data, scored for calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import MAX_WINDOWS, CalibrationScores, contiguous_runs, score_rows
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.training_rows import channel_medians


@dataclass
class BroughtGraph:
    """Somebody's own .onnx as a `FittedDetector`."""

    model: bytes
    detector: str
    window: int
    lag: int = 0
    version: int = 1
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    warm_up: int | None = None

    def onnx_bytes(self) -> bytes:
        return self.model

    def torchscript_bytes(self) -> bytes | None:
        return None


def read_model(path: Path) -> bytes:
    """An .onnx file as one piece: torch's exporter puts the weights into a second file beside it.

    Raises:
        InputError: no such file, or the second one is missing.
    """
    import onnx

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected an .onnx file") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, a type of another library's
        raise InputError(f"{path}: is not an ONNX file; export it again") from error
    files = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if not files:
        return data
    try:
        onnx.load_external_data_for_model(model, str(path.resolve().parent))
        return bytes(model.SerializeToString(deterministic=True))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"{path}: its weights are in {', '.join(sorted(files))}, expected next to it; copy both files"
        ) from error


def pack_graph(
    model: bytes, series: SensorSeries, options: TrainOptions, *, file: str, detector: str, lag: int = 0
) -> tuple[BroughtGraph, CalibrationScores]:
    """Somebody's own graph, with scores of the train part's last quarter: the rows that it most likely did not see.

    Args:
        model: the .onnx file.
        file: what errors call it.
        detector: name for manifest and alerts.
        lag: rows between the scored row and the window's last.

    Raises:
        InputError: not ONNX, a graph that breaks the contract, or one that does not fit the data.
    """
    graph = Graph(model, name=file, device="cpu", threads=options.threads)
    if graph.channels != len(series.channels):
        raise InputError(
            f"{file}: takes {graph.channels} channels, {series.dataset} {series.entity} has {len(series.channels)}; give "
            "the data that it was made for, columns in the order that it was trained with"
        )
    if not 0 <= lag < graph.window:
        raise InputError(f"lag is {lag} rows, expected 0 <= lag < {graph.window}, the graph's window")
    first = len(series.train) * 3 // 4
    held_out = replace(series, train=series.train[first:], train_ts=series.train_ts[first:])
    if len(held_out.train) < graph.window:
        raise InputError(
            f"{file}: its window is {graph.window} rows, the last quarter of the train part has {len(held_out.train)}; "
            f"give at least {4 * graph.window} rows"
        )
    scores = _score_series(graph, held_out, options, lag, origin="the last quarter of the train part")
    return BroughtGraph(model, detector, graph.window, lag, parameters={"file": Path(file).name}), scores


def _score_series(
    graph: Graph, series: SensorSeries, options: TrainOptions, lag: int, *, origin: str
) -> CalibrationScores:
    values = carry_forward(series.train, channel_medians([series.train])).astype(np.float32)
    parts = [
        score_rows(
            graph,
            values[run][-MAX_WINDOWS * options.stride :],
            series.train_ts[run][-MAX_WINDOWS * options.stride :],
            sampling_interval_s=series.sampling_interval_s,
            stride=options.stride,
            lag=lag,
        )
        for run in contiguous_runs(series.train_ts, series.sampling_interval_s)
    ]
    return CalibrationScores(
        score=np.concatenate([part.score for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        interval_s=options.stride * series.sampling_interval_s,
        origin=origin,
        stride=options.stride,
    )
