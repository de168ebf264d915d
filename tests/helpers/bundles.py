"""A tiny bundle whose scores anybody can compute: for tests of the stream that must not depend on a trained detector.

raw score = sum over rows t and channels c of weight[t] * (window[t, c] - MEAN)^2, with weights that rise towards the
window's end: a row that is lost, doubled or out of order changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from schemas.bundle import Bundle, Calibration, Channel, Manifest, TensorSpec, TrainingData, write_bundle_folder
from schemas.bundle.store import sha256_of

MEAN = 0.5


def weights_of(window: int) -> np.ndarray:
    """[W] float32, sum 1: what each row of a window counts."""
    rising = np.arange(1, window + 1, dtype=np.float64)
    return (rising / rising.sum()).astype(np.float32)


def contributions_of(windows: np.ndarray) -> np.ndarray:
    """[n, C] float64 of windows [n, W, C], by numpy alone; the raw score is their sum over channels."""
    squares = (windows.astype(np.float64) - MEAN) ** 2
    return np.einsum("nwc,w->nc", squares, weights_of(windows.shape[1]).astype(np.float64))


def distance_graph(window: int, channels: int) -> bytes:
    """The formula above as a graph under the contract, `expected` among its outputs."""
    constants = {
        "mean": np.full(channels, MEAN, dtype=np.float32),
        "weight": weights_of(window).reshape(1, window, 1),
        "last": np.array(window - 1, dtype=np.int64),
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["window", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squared"]),
        helper.make_node("Mul", ["squared", "weight"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis"], ["contribution"], keepdims=0),
        helper.make_node("ReduceSum", ["contribution", "axis"], ["score"], keepdims=0),
        helper.make_node("Gather", ["centred", "last"], ["last_centred"], axis=1),
        helper.make_node("Gather", ["window", "last"], ["last_row"], axis=1),
        helper.make_node("Sub", ["last_row", "last_centred"], ["expected"]),
    ]
    outputs = [("score", ["N"]), ("contribution", ["N", channels]), ("expected", ["N", channels])]
    graph = helper.make_graph(
        nodes,
        "distance",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", window, channels])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_distance_bundle(
    path: Path,
    *,
    window: int = 8,
    stride: int = 2,
    channels: Sequence[str] = ("a", "b", "c", "d"),
    alarm_level: float = 1.0,
    interval_s: float = 60.0,
    detector: str = "distance",
) -> Bundle:
    """Write it as a folder. Normal rows of the tests lie in 0..1, so that their raw score stays below C / 4.

    Args:
        alarm_level: raw score that becomes the calibrated 1.0; 0 becomes 0.
    """
    width = len(channels)
    rng = np.random.default_rng(7)
    windows = rng.random((3, window, width), dtype=np.float32)
    contribution = contributions_of(windows).astype(np.float32)
    golden, calibration, reference = BytesIO(), BytesIO(), BytesIO()
    expected = np.full((len(windows), width), MEAN, dtype=np.float32)
    np.savez(golden, window=windows, score=contribution.sum(axis=1), contribution=contribution, expected=expected)
    pq.write_table(pa.table({"score": rng.random(500) * alarm_level / 2}), calibration)
    pq.write_table(pa.table({"window": [one.ravel().tolist() for one in windows]}), reference)
    files = {
        "model.onnx": distance_graph(window, width),
        "golden.npz": golden.getvalue(),
        "calibration.parquet": calibration.getvalue(),
        "reference.parquet": reference.getvalue(),
    }
    manifest = Manifest(
        bundle_id=f"{detector}-w{window}-c{width}",
        detector=detector,
        channels=tuple(Channel(name=name) for name in channels),
        sampling_interval_s=interval_s,
        window=window,
        stride=stride,
        inputs=(TensorSpec(name="window", shape=("N", window, width), dtype="float32"),),
        outputs=tuple(
            TensorSpec(name=name, shape=tuple(shape), dtype="float32")
            for name, shape in (("score", ["N"]), ("contribution", ["N", width]), ("expected", ["N", width]))
        ),
        calibration=Calibration(
            center=0.0, alarm_level=alarm_level, false_alarms_per_day=0.1, windows=500, method="maximum"
        ),
        training_data=TrainingData(dataset="made-up", entity="none", rows=10, sha256="0" * 64),
        created_at="2024-01-01T00:00:00Z",
        files=sha256_of(files),
    )
    return write_bundle_folder(path, manifest, files)
