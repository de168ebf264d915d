"""The job of the speed comparison: rows of many machines, one graph, and when a score is an alert.

38 channels, window 64, stride 8, PCA reconstruction error as one ONNX graph under the project's contract. Everything is
made from a seed, so that every contender and the offline reference see the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from wheeltapper.schemas.bundle import (
    Calibration,
    Channel,
    Graph,
    Manifest,
    TensorSpec,
    TrainingData,
    write_bundle_folder,
)
from wheeltapper.schemas.bundle.store import CALIBRATION, GOLDEN, MODEL, REFERENCE, sha256_of

CHANNELS = 38
WINDOW = 64
STRIDE = 8
COMPONENTS = 10
PARTITIONS = 4
INTERVAL_US = 4_000  # 250 rows/s and machine: 20 machines make the 5,000 rows/s of the latency measurement
START_US = 1_750_000_000_000_000
CHANNEL_NAMES = tuple(f"c{index:02d}" for index in range(CHANNELS))

# The rule that every contender applies to the calibrated score: an alert opens with the first window at or above the
# raise level and clears after so many windows in a row below the clear level. Names are those of the worker's settings.
RAISE_LEVEL = 1.0
CLEAR_RATIO = 0.8
CLEAR_DURATION = 3


@dataclass(frozen=True)
class Workload:
    """Rows of M machines on one clock.

    Attributes:
        machines: M ids.
        values: [M, T, C] float32, exactly what a decimal with three places gives when it is read as float32.
        ts: [T] int64, microseconds.
    """

    machines: tuple[str, ...]
    values: np.ndarray
    ts: np.ndarray


def make_workload(machines: int, rows_per_machine: int, *, fault_every: int, seed: int = 7) -> Workload:
    """Correlated channels in engineering units, and short faults on three channels of every machine.

    Args:
        fault_every: rows from one fault of a machine to its next; each lasts 24 rows. Machines take turns.
    """
    names = tuple(f"machine-{index:02d}" for index in range(machines))
    values = np.empty((machines, rows_per_machine, CHANNELS), dtype=np.float32)
    for index in range(machines):
        rows = normal_rows(rows_per_machine, np.random.default_rng([seed, 1, index]))
        random = np.random.default_rng([seed, 2, index])
        first = 4 * WINDOW + index * fault_every // machines
        for start in range(first, rows_per_machine - 2 * WINDOW, fault_every):
            stop = start + 24
            channels = random.choice(CHANNELS, size=3, replace=False)
            rows[start:stop, channels] += (8.0 + 4.0 * random.random()) * _gains()[channels]
        values[index] = np.round(rows, 3)
    ts = START_US + INTERVAL_US * np.arange(rows_per_machine, dtype=np.int64)
    return Workload(names, values, ts)


def _gains() -> np.ndarray:
    """[C] float64: one standard deviation of each channel, raw units; the same for every machine."""
    return np.geomspace(0.5, 40.0, CHANNELS)


def normal_rows(count: int, random: np.random.Generator) -> np.ndarray:
    """[count, C] float64: six slow drivers mixed into the channels, plus noise, around an operating point."""
    mixing = np.random.default_rng(11).normal(size=(6, CHANNELS)) / np.sqrt(6)
    periods = np.array([90.0, 140.0, 230.0, 410.0, 700.0, 1300.0])
    steps = np.arange(count)[:, None]
    drivers = np.sqrt(2) * np.sin(2 * np.pi * (steps / periods + random.random(6)))  # [count, 6]
    standard = drivers @ mixing + 0.4 * random.normal(size=(count, CHANNELS))
    return standard * _gains() + np.linspace(5.0, 400.0, CHANNELS)


@dataclass(frozen=True)
class Detector:
    """The graph's bytes and how its score becomes a calibrated one: (score - center) / (alarm_level - center)."""

    graph: bytes
    center: float
    alarm_level: float
    normal_scores: np.ndarray
    normal_windows: np.ndarray


def fit_detector(seed: int = 7) -> Detector:
    """PCA of standardised windows [W*C], fitted on rows without faults; alarm at twice the worst normal score."""
    rows = np.round(normal_rows(40_000, np.random.default_rng([seed, 3])), 3).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(rows, WINDOW, axis=0)[:: WINDOW // 2].transpose(0, 2, 1)
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    flat = ((windows - mean) / deviation).reshape(len(windows), -1)
    components = np.linalg.svd(flat, full_matrices=False)[2][:COMPONENTS].T  # [W*C, K]
    data = _pca_graph(mean, deviation, components)
    windows = np.ascontiguousarray(windows, dtype=np.float32)
    scores = Graph(data, device="cpu").run(windows).score.astype(np.float64)
    return Detector(data, float(np.median(scores)), float(2 * scores.max()), scores, windows)


def _pca_graph(mean: np.ndarray, deviation: np.ndarray, components: np.ndarray) -> bytes:
    """score = mean squared reconstruction error of the standardised window; contribution = the same per channel."""
    constants = {
        "mean": mean.astype(np.float32),
        "gain": (1 / deviation).astype(np.float32),
        "into": np.ascontiguousarray(components, dtype=np.float32),
        "back": np.ascontiguousarray(components.T, dtype=np.float32),
        "flat_shape": np.array([0, WINDOW * CHANNELS], dtype=np.int64),
        "window_shape": np.array([0, WINDOW, CHANNELS], dtype=np.int64),
        "rows_axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["window", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "gain"], ["standard"]),
        helper.make_node("Reshape", ["standard", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "into"], ["latent"]),
        helper.make_node("MatMul", ["latent", "back"], ["rebuilt"]),
        helper.make_node("Sub", ["flat", "rebuilt"], ["residual"]),
        helper.make_node("Mul", ["residual", "residual"], ["squared"]),
        helper.make_node("Reshape", ["squared", "window_shape"], ["squared_window"]),
        helper.make_node("ReduceMean", ["squared_window", "rows_axis"], ["contribution"], keepdims=0),
        helper.make_node("ReduceMean", ["contribution", "rows_axis"], ["score"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "pca-error",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", WINDOW, CHANNELS])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("contribution", TensorProto.FLOAT, ["N", CHANNELS]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_bundle(detector: Detector, folder: Path) -> Path:
    """The detector as a bundle that `wheeltapper worker` runs."""
    golden_windows = detector.normal_windows[:4]
    output = Graph(detector.graph, device="cpu").run(golden_windows)
    golden = BytesIO()
    np.savez(golden, window=golden_windows, score=output.score, contribution=output.contribution)
    calibration = BytesIO()
    pq.write_table(pa.table({"score": detector.normal_scores}), calibration)
    reference = BytesIO()
    pq.write_table(pa.table({"window": list(detector.normal_windows[:8].reshape(8, -1))}), reference)
    files = {
        MODEL: detector.graph,
        GOLDEN: golden.getvalue(),
        CALIBRATION: calibration.getvalue(),
        REFERENCE: reference.getvalue(),
    }
    hashes = sha256_of(files)
    manifest = Manifest(
        bundle_id=f"pca-bench-{hashes[MODEL][:12]}",
        detector="pca",
        channels=tuple(Channel(name=name) for name in CHANNEL_NAMES),
        sampling_interval_s=INTERVAL_US / 1e6,
        window=WINDOW,
        stride=STRIDE,
        inputs=(TensorSpec(name="window", shape=("N", WINDOW, CHANNELS), dtype="float32"),),
        outputs=(
            TensorSpec(name="score", shape=("N",), dtype="float32"),
            TensorSpec(name="contribution", shape=("N", CHANNELS), dtype="float32"),
        ),
        calibration=Calibration(
            center=detector.center,
            alarm_level=detector.alarm_level,
            false_alarms_per_day=0.1,
            windows=len(detector.normal_scores),
            method="maximum",
        ),
        training_data=TrainingData(dataset="bench", entity="bench", rows=40_000, sha256=hashes[REFERENCE]),
        created_at="2026-01-01T00:00:00Z",
        files=hashes,
    )
    write_bundle_folder(folder, manifest, files)
    return folder
