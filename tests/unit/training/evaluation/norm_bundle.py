"""A real bundle that is easy to compute by hand: score = sum over channels of ((last row - mean) / deviation)^2."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from wheeltapper.schemas.bundle import (
    Bundle,
    Calibration,
    Channel,
    Manifest,
    TensorSpec,
    TrainingData,
    write_bundle_folder,
)
from wheeltapper.schemas.bundle.store import sha256_of
from wheeltapper.training.datasets.series import SensorSeries


def norm_graph(mean: np.ndarray, deviation: np.ndarray, window: int, lag: int) -> bytes:
    """The graph under the contract; it scores the row `lag` before the window's last."""
    channels = len(mean)
    constants = {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "row": np.array(window - 1 - lag, dtype=np.int64),
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["window", "row"], ["scored"], axis=1),
        helper.make_node("Sub", ["scored", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["z"]),
        helper.make_node("Mul", ["z", "z"], ["contribution"]),
        helper.make_node("ReduceSum", ["contribution", "axis"], ["score"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", window, channels])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("contribution", TensorProto.FLOAT, ["N", channels]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_norm_bundle(
    path: Path,
    series: SensorSeries,
    *,
    window: int = 4,
    lag: int = 0,
    stride: int = 1,
    alarm_level: float | None = None,
) -> Bundle:
    """Fit the norm on a series' train part; the alarm level is twice the largest train score unless given."""
    mean, deviation = np.nanmean(series.train, axis=0), np.maximum(np.nanstd(series.train, axis=0), 1e-3)
    train_scores = np.nansum(((series.train - mean) / deviation) ** 2, axis=1)
    model = norm_graph(mean, deviation, window, lag)
    windows = np.nan_to_num(np.stack([series.train[:window], series.train[-window:]])).astype(np.float32)
    contribution = (((windows[:, window - 1 - lag] - mean) / deviation) ** 2).astype(np.float32)
    golden = BytesIO()
    np.savez(golden, window=windows, score=contribution.sum(axis=1), contribution=contribution)
    calibration, reference = BytesIO(), BytesIO()
    pq.write_table(pa.table({"score": train_scores}), calibration)
    pq.write_table(pa.table({"window": [window.ravel().tolist() for window in windows]}), reference)
    files = {
        "model.onnx": model,
        "golden.npz": golden.getvalue(),
        "calibration.parquet": calibration.getvalue(),
        "reference.parquet": reference.getvalue(),
    }
    channels = len(series.channels)
    manifest = Manifest(
        bundle_id=f"norm-{series.entity}",
        detector="norm",
        channels=tuple(Channel(name=name) for name in series.channels),
        sampling_interval_s=series.sampling_interval_s,
        window=window,
        lag=lag,
        stride=stride,
        inputs=(TensorSpec(name="window", shape=("N", window, channels), dtype="float32"),),
        outputs=(
            TensorSpec(name="score", shape=("N",), dtype="float32"),
            TensorSpec(name="contribution", shape=("N", channels), dtype="float32"),
        ),
        calibration=Calibration(
            center=float(np.median(train_scores)),
            alarm_level=2 * float(train_scores.max()) if alarm_level is None else alarm_level,
            false_alarms_per_day=1.0,
            windows=len(train_scores),
            method="maximum",
        ),
        training_data=TrainingData(
            dataset=series.dataset, entity=series.entity, rows=len(series.train), sha256="0" * 64
        ),
        created_at="2024-01-01T00:00:00Z",
        files=sha256_of(files),
    )
    return write_bundle_folder(path, manifest, files)
