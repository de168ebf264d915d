"""Tiny bundles whose scores numpy can compute: what the stream's tests load instead of a trained detector.

raw score = sum over rows t and channels c of weight[t] * (window[t, c] - 0.5)^2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from wheeltapper.models.onnx_builder import banded
from wheeltapper.schemas.bundle import Calibration, Channel, Manifest, TensorSpec, TrainingData, write_bundle_folder
from wheeltapper.schemas.bundle.store import sha256_of

USUAL = 0.5
"""What every channel is expected to be."""


@dataclass(frozen=True)
class Recipe:
    """One tiny detector.

    Attributes:
        warm_up: rows after which a machine is scored; rows that are not there count as usual.
        weighting: which rows of a window count: the scored one alone, all alike, or later ones more.
        center, alarm_level: raw scores that become 0 and 1.0.
        longest_run: windows of a run of rows that the graph takes; 1: it takes windows alone.
        toil: work for nothing: so many products with a matrix of 1,024 x 1,024 for each window.
        calibration: raw scores of normal windows; none: 500 drawn from an exponential distribution of scale 0.1.
    """

    channels: tuple[str, ...] = ("a", "b", "c")
    window: int = 5
    stride: int = 1
    lag: int = 0
    warm_up: int | None = None
    weighting: Literal["scored row", "mean", "rising"] = "rising"
    detector: str = "distance"
    center: float = 0.0
    alarm_level: float = 1.0
    interval_s: float = 60.0
    calibration: tuple[float, ...] = ()
    toil: int = 0
    longest_run: int = 1

    @property
    def bundle_id(self) -> str:
        kind = self.weighting.replace(" ", "-")
        early = "" if self.warm_up is None else f"-from-{self.warm_up}"
        runs = "" if self.longest_run == 1 else f"-runs-{self.longest_run}"
        return f"{self.detector}-{len(self.channels)}x{self.window}-s{self.stride}-l{self.lag}-{kind}{early}{runs}" + (
            f"-toil-{self.toil}" if self.toil else ""
        )

    @property
    def weights(self) -> np.ndarray:
        """[W] float32, sum 1."""
        weights = {
            "scored row": np.eye(self.window)[self.window - 1 - self.lag],
            "mean": np.ones(self.window),
            "rising": np.arange(1.0, self.window + 1),
        }[self.weighting]
        return (weights / weights.sum()).astype(np.float32)

    @property
    def fill(self) -> np.ndarray:
        """[C] float32: medians of the reference windows: 0.1, 0.2, .."""
        return np.arange(1, len(self.channels) + 1, dtype=np.float32) / np.float32(10)

    def contribution(self, windows: np.ndarray) -> np.ndarray:
        """[n, C] float64 of windows [n, W, C]; the raw score is their sum."""
        squares = (np.asarray(windows, dtype=np.float64) - USUAL) ** 2
        return np.einsum("nwc,w->nc", squares, self.weights.astype(np.float64))

    def calibrated(self, windows: np.ndarray) -> np.ndarray:
        """[n] float64 calibrated scores of windows [n, W, C]."""
        raw = self.contribution(windows).sum(axis=1)
        return np.maximum((raw - self.center) / (self.alarm_level - self.center), 0.0)


def graph_of(recipe: Recipe) -> bytes:
    """The formula above as a graph under the contract."""
    if recipe.longest_run > 1:
        return _graph_of_runs(recipe)
    width, last = len(recipe.channels), recipe.window - 1 - recipe.lag
    constants = {
        "usual": np.full(width, USUAL, dtype=np.float32),
        "weight": recipe.weights.reshape(1, -1, 1),
        "rows": np.array([1], dtype=np.int64),
        "scored": np.array(last, dtype=np.int64),
        "nothing": np.zeros(1, dtype=np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["window"], ["blank"]),
        helper.make_node("Where", ["blank", "usual", "window"], ["there"]),
        helper.make_node("Sub", ["there", "usual"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("Mul", ["square", "weight"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "rows"], ["contribution"], keepdims=0),
        helper.make_node("ReduceSum", ["contribution", "rows"], ["score"], keepdims=0),
        helper.make_node("Gather", ["there", "scored"], ["row"], axis=1),
        helper.make_node("Mul", ["row", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "usual"], ["expected"]),
    ]
    if recipe.toil:
        constants |= {"narrow": np.zeros((width, 1024), np.float32), "wide": np.zeros((1024, 1024), np.float32)}
        nodes[6] = helper.make_node("ReduceSum", ["contribution", "rows"], ["plain"], keepdims=0)
        nodes.append(helper.make_node("MatMul", ["contribution", "narrow"], ["toil-0"]))
        nodes += [
            helper.make_node("MatMul", [f"toil-{turn}", "wide"], [f"toil-{turn + 1}"]) for turn in range(recipe.toil)
        ]
        nodes.append(helper.make_node("ReduceSum", [f"toil-{recipe.toil}", "rows"], ["nought"], keepdims=0))
        nodes.append(helper.make_node("Add", ["plain", "nought"], ["score"]))
    outputs = [("score", ["N"]), ("contribution", ["N", width]), ("expected", ["N", width])]
    graph = helper.make_graph(
        nodes,
        "distance",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", recipe.window, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _graph_of_runs(recipe: Recipe) -> bytes:
    """The same for every window of a run of rows."""
    width, last = len(recipe.channels), recipe.window - 1 - recipe.lag
    constants = {
        "usual": np.full(width, USUAL, dtype=np.float32),
        "band": banded(recipe.weights.reshape(-1), recipe.longest_run).T.astype(np.float32),
        "before": np.array([1 - recipe.window], dtype=np.int64),
        "corner": np.array([0, 0], dtype=np.int64),
        "channels": np.array([2], dtype=np.int64),
        "rows": np.array([1], dtype=np.int64),
        "scored": np.array([last], dtype=np.int64),
        "end": np.array([-recipe.lag if recipe.lag else 2**31 - 1], dtype=np.int64),
        "nothing": np.zeros(1, dtype=np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["window"], ["blank"]),
        helper.make_node("Where", ["blank", "usual", "window"], ["there"]),
        helper.make_node("Sub", ["there", "usual"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("Shape", ["window"], ["time"], start=1, end=2),
        helper.make_node("Add", ["time", "before"], ["windows"]),
        helper.make_node("Concat", ["windows", "time"], ["size"], axis=0),
        helper.make_node("Slice", ["band", "corner", "size"], ["weight"]),
        helper.make_node("MatMul", ["weight", "square"], ["contribution"]),
        helper.make_node("ReduceSum", ["contribution", "channels"], ["score"], keepdims=0),
        helper.make_node("Slice", ["there", "scored", "end", "rows"], ["row"]),
        helper.make_node("Mul", ["row", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "usual"], ["expected"]),
    ]
    outputs = [("score", ["N", "n"]), ("contribution", ["N", "n", width]), ("expected", ["N", "n", width])]
    graph = helper.make_graph(
        nodes,
        "distance",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", "T", width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"window": str(recipe.window), "longest_run": str(recipe.longest_run)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def files_of(recipe: Recipe) -> dict[str, bytes]:
    """Every file of the bundle but its manifest."""
    rng = np.random.default_rng(7)
    width = len(recipe.channels)
    windows = rng.random((3, recipe.window, width)).astype(np.float32)
    contribution = recipe.contribution(windows).astype(np.float32)
    golden = BytesIO()
    np.savez(
        golden,
        window=windows,
        score=contribution.sum(axis=1),
        contribution=contribution,
        expected=np.full((3, width), USUAL, dtype=np.float32),
    )
    normal = recipe.calibration or tuple(rng.exponential(0.1, 500).tolist())
    reference = np.tile(recipe.fill, (4, recipe.window, 1))
    reference[0] -= 0.05
    reference[1] += 0.05
    return {
        "model.onnx": graph_of(recipe),
        "golden.npz": golden.getvalue(),
        "calibration.parquet": _parquet(pa.table({"score": normal})),
        "reference.parquet": _parquet(pa.table({"window": [one.ravel() for one in reference]})),
    }


def manifest_of(recipe: Recipe, files: dict[str, bytes]) -> Manifest:
    """The manifest that goes with `files`."""
    width = len(recipe.channels)
    shapes: dict[str, tuple[int | str, ...]] = {
        "window": ("N", recipe.window, width),
        "score": ("N",),
        "contribution": ("N", width),
        "expected": ("N", width),
    }
    specs = [TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in shapes.items()]
    return Manifest(
        bundle_id=recipe.bundle_id,
        detector=recipe.detector,
        channels=tuple(Channel(name=name, unit=f"unit of {name}") for name in recipe.channels),
        sampling_interval_s=recipe.interval_s,
        window=recipe.window,
        warm_up=recipe.warm_up,
        stride=recipe.stride,
        lag=recipe.lag,
        inputs=tuple(specs[:1]),
        outputs=tuple(specs[1:]),
        calibration=Calibration(
            center=recipe.center, alarm_level=recipe.alarm_level, false_alarms_per_day=0.25, windows=500, method="gpd"
        ),
        training_data=TrainingData(dataset="made-up", entity="none", rows=10, sha256="0" * 64),
        created_at="2024-01-01T00:00:00Z",
        files=sha256_of(files),
    )


def write_bundle(folder: Path, recipe: Recipe) -> Path:
    """Write it below `folder`, under its bundle id."""
    files = files_of(recipe)
    return write_bundle_folder(folder / recipe.bundle_id, manifest_of(recipe, files), files).location


def hand_made_files(
    model: onnx.ModelProto, golden: Mapping[str, np.ndarray], calibration: Mapping[str, Any], reference: Sequence[Any]
) -> dict[str, bytes]:
    """The files of a bundle that a test makes by hand, but its manifest.

    Args:
        golden: inputs and outputs of the graph, by name.
        calibration: columns.
        reference: windows, each a list of values.
    """
    vectors = BytesIO()
    np.savez(vectors, **golden)  # type: ignore[arg-type]
    return {
        "model.onnx": bytes(model.SerializeToString()),
        "golden.npz": vectors.getvalue(),
        "calibration.parquet": _parquet(pa.table(dict(calibration))),
        "reference.parquet": _parquet(pa.table({"window": list(reference)})),
    }


def _parquet(table: pa.Table) -> bytes:
    sink = BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
