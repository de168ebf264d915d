"""Turns a fitted detector into a bundle: checked, calibrated, with golden vectors and a model card.

The same detector, data and options give the same bundle id. The id is a hash of what decides the alarms (graph, scores
it was calibrated on, windows, training rows), not of the time of writing, nor of whether torch was there for a twin.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.onnx_builder import add_metadata
from wheeltapper.models.training_rows import channel_medians
from wheeltapper.schemas.bundle import (
    Bundle,
    Calibration,
    Channel,
    Graph,
    Manifest,
    TensorSpec,
    TrainingData,
    write_bundle_folder,
)
from wheeltapper.schemas.bundle.store import CALIBRATION, GOLDEN, MANIFEST, MODEL, REFERENCE, TORCHSCRIPT, sha256_of
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import (
    FALSE_ALARMS_PER_DAY,
    CalibrationScores,
    alarm_level,
    bounded_sample,
    contiguous_runs,
)
from wheeltapper.training.fitting.export_check import (
    check_graph,
    check_twin,
    open_for_check,
    outputs_by_name,
    probe_windows,
    warming_windows,
)
from wheeltapper.training.fitting.fingerprint import rows_sha256
from wheeltapper.training.fitting.model_card import model_card

# Enough for thresholds and drift tests to start from; some megabytes at most.
MAX_CALIBRATION_ROWS = 4_000
MAX_REFERENCE_WINDOWS = 512
MAX_REFERENCE_VALUES = 1_000_000
MAX_GOLDEN_VALUES = 2_000_000
MODEL_CARD = "report/model_card.md"
METRICS = "report/metrics.json"


def write_bundle(
    fitted: FittedDetector,
    series: SensorSeries,
    out: str | Path,
    *,
    scores: CalibrationScores,
    false_alarms_per_day: float = FALSE_ALARMS_PER_DAY,
    stride: int = 1,
    seed: int = 0,
    torchscript: bool = True,
    metrics: Mapping[str, float] | None = None,
    parent: str | None = None,
    created_at: str | None = None,
) -> Bundle:
    """Check, calibrate and write.

    Args:
        fitted: under the contract of `wheeltapper.models.fitted`.
        series: what it was fitted on; only the train part is used.
        out: folder, or path ending in .zip.
        scores: raw scores of held-out windows, as `train_detector` returns them.
        false_alarms_per_day: expected, per machine; chooses the alarm level.
        stride: rows between scored windows in the stream.
        seed: of the disturbances in the golden windows.
        torchscript: also write the TorchScript twin, where the detector has one and torch is installed.
        metrics: of an evaluation; also written to report/metrics.json.
        parent: id of the bundle that this one was adapted from.
        created_at: ISO 8601; None is now.

    Raises:
        InputError: the graph breaks its contract, the data does not fit it, or `out` cannot be written.
        ExportError: graph and twin disagree.
    """
    if stride < 1:
        raise InputError(f"stride is {stride}, expected at least 1 row")
    calibration = alarm_level(scores, false_alarms_per_day)
    model = fitted.onnx_bytes()
    graph = open_for_check(model, f"{fitted.detector}/{MODEL}")
    if (graph.window, graph.channels) != (fitted.window, len(series.channels)):
        raise InputError(
            f"{graph.name}: takes windows of {graph.window} rows x {graph.channels} channels, {series.dataset} "
            f"{series.entity} has {len(series.channels)} channels and the detector says {fitted.window} rows; give the "
            "data that it was made for"
        )
    normal = 4 if 8 * graph.window * graph.channels <= MAX_GOLDEN_VALUES else 1
    windows = probe_windows(series.train, graph.window, seed=seed, normal=normal)
    warm_up: int | None = getattr(fitted, "warm_up", None)
    if warm_up is not None:
        windows = np.concatenate([windows, warming_windows(windows, warm_up)])
    golden = outputs_by_name(check_graph(graph, windows))
    twin = fitted.torchscript_bytes() if torchscript else None
    if twin is not None:
        check_twin(twin, graph, windows)

    outputs = tuple(TensorSpec(name=n, shape=("N", *golden[n].shape[1:]), dtype="float32") for n in graph.output_names)
    training_data = TrainingData(
        dataset=series.dataset,
        entity=series.entity,
        rows=len(series.train),
        sha256=rows_sha256(series.train),
    )
    essentials = _essentials(fitted, series, stride, calibration, training_data)
    if warm_up is not None:
        essentials["warm_up"] = warm_up
    model = add_metadata(model, {f"wheeltapper.{key}": _text(value) for key, value in essentials.items()})
    sample = _calibration_sample(scores, series, fitted.lag, graph)
    reference = _reference_windows(series, graph)
    digest = _digest(model, essentials, [windows, *sample.values(), *reference.values()])
    files = {
        MODEL: model,
        GOLDEN: _npz({"window": windows, **golden}),
        CALIBRATION: _parquet(sample),
        REFERENCE: _parquet(reference),
    }
    if twin is not None:
        files[TORCHSCRIPT] = twin
    if metrics:
        files[METRICS] = (json.dumps(dict(metrics), indent=2, sort_keys=True) + "\n").encode()
    try:
        manifest = Manifest(
            bundle_id=f"{fitted.detector}-{_slug(series.entity)}-{digest[:12]}",
            detector=fitted.detector,
            detector_version=fitted.version,
            channels=tuple(Channel(name=n, unit=u) for n, u in zip(series.channels, series.units, strict=True)),
            sampling_interval_s=series.sampling_interval_s,
            window=fitted.window,
            warm_up=warm_up,
            stride=stride,
            lag=fitted.lag,
            inputs=(TensorSpec(name="window", shape=("N", graph.window, graph.channels), dtype="float32"),),
            outputs=outputs,
            calibration=calibration,
            parameters=dict(fitted.parameters),
            training_data=training_data,
            metrics=dict(metrics or {}),
            warnings=(*fitted.warnings, *scores.warnings, *_doubts(calibration, scores)),
            parent=parent,
            created_at=created_at or datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_versions(twin is not None),
            files={},
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "channels"
        raise InputError(
            f"{series.dataset} {series.entity} cannot be described in a manifest: {field}: {first['msg']}"
        ) from error
    files[MODEL_CARD] = model_card(manifest, scores).encode()
    return write_bundle_folder(out, manifest.model_copy(update={"files": sha256_of(files)}), files)


def check_place(out: Path) -> None:
    """Whether a bundle may be written there: asked before hours of training, not after them.

    Raises:
        InputError: it exists and is not a bundle.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(f"{out}: exists and is not a bundle; choose another --out or empty it")
    if out.is_file() and out.suffix != ".zip":
        raise InputError(f"{out}: is a file; --out takes a folder, or a path ending in .zip")


def _essentials(
    fitted: FittedDetector, series: SensorSeries, stride: int, calibration: Calibration, training_data: TrainingData
) -> dict[str, Any]:
    """What a .onnx file that lost its folder should still say of itself."""
    return {
        "detector": fitted.detector,
        "detector_version": fitted.version,
        "entity": series.entity,
        "channels": list(series.channels),
        "units": list(series.units),
        "sampling_interval_s": series.sampling_interval_s,
        "window": fitted.window,
        "stride": stride,
        "lag": fitted.lag,
        "calibration_center": calibration.center,
        "alarm_level": calibration.alarm_level,
        "false_alarms_per_day": calibration.false_alarms_per_day,
        "training_data_sha256": training_data.sha256,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _calibration_sample(
    scores: CalibrationScores, series: SensorSeries, lag: int, graph: Graph
) -> dict[str, np.ndarray]:
    """`score`, `time` and, where the graph has one, `embedding` of evenly spaced held-out windows.

    Embeddings are the bundled graph's own: those of a cross-fit live in another space than the stream's, so the scores
    bring none and they are computed here.
    """
    chosen = bounded_sample(len(scores.score), MAX_CALIBRATION_ROWS)
    sample = {
        "score": np.asarray(scores.score, dtype=np.float64)[chosen],
        "time": np.asarray(scores.time, dtype=np.int64)[chosen],
    }
    if "embedding" not in graph.output_names:
        return sample
    if scores.embedding is not None:
        return sample | {"embedding": scores.embedding[chosen]}
    ends = np.searchsorted(series.train_ts, sample["time"]) + lag
    values = carry_forward(series.train, channel_medians([series.train])).astype(np.float32)
    view = windows_of(values, graph.window)
    firsts = np.clip(ends - graph.window + 1, 0, len(view) - 1)
    # The check's graph has no batch size between 3 and its largest: a few windows short of that, it pads once.
    size = graph.batch_sizes[-1]
    parts = [graph.run(view[firsts[start : start + size]]).embedding for start in range(0, len(firsts), size)]
    sample["embedding"] = np.concatenate([part for part in parts if part is not None])
    return sample


def _reference_windows(series: SensorSeries, graph: Graph) -> dict[str, np.ndarray]:
    """Evenly spaced windows of the train part without a hole in time, missing values as they were: what adaptation
    aligns a machine to."""
    starts = np.concatenate(
        [
            np.arange(run.start, run.stop - graph.window + 1)
            for run in contiguous_runs(series.train_ts, series.sampling_interval_s)
        ]
        or [np.zeros(0, dtype=np.int64)]
    )
    most = max(4, min(MAX_REFERENCE_WINDOWS, MAX_REFERENCE_VALUES // (graph.window * graph.channels)))
    chosen = starts[bounded_sample(len(starts), most)].astype(np.int64)
    windows = np.stack([series.train[start : start + graph.window] for start in chosen]) if len(chosen) else None
    if windows is None:
        raise InputError(f"no stretch of train rows without a hole is as long as the window of {graph.window} rows")
    return {
        "window": windows.reshape(len(windows), -1).astype(np.float32),
        "time": np.asarray(series.train_ts, dtype=np.int64)[chosen + graph.window - 1],
    }


def _digest(model: bytes, essentials: Mapping[str, Any], arrays: list[np.ndarray]) -> str:
    """Of contents, not of files: parquet and npz carry the versions of their writers."""
    digest = hashlib.sha256(model)
    digest.update(json.dumps(essentials, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _doubts(calibration: Calibration, scores: CalibrationScores) -> tuple[str, ...]:
    if calibration.method == "maximum":
        return (
            f"{calibration.windows} held-out windows ({scores.days:.2g} days) are too few to promise a rate of false "
            "alarms: the alarm level lies half again as high as their largest score; train on more history",
        )
    if calibration.method == "no-spread":
        return ("every held-out window has the same score: the alarm level is a guess; train on rows that vary",)
    if calibration.method == "gpd" and calibration.false_alarms_per_day * scores.days < 1:
        return (
            f"{calibration.false_alarms_per_day:g} false alarms a day are fewer than one in the {scores.days:.2g} days of "
            "held-out windows: the alarm level is extrapolated",
        )
    return ()


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _parquet(columns: Mapping[str, np.ndarray]) -> bytes:
    """[n] arrays as plain columns, [n, D] float32 as list<float32>."""
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 1:
            arrays[name] = pa.array(values)
        else:
            offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
            arrays[name] = pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), type=pa.float32()))
    buffer = BytesIO()
    pq.write_table(pa.table(arrays), buffer, compression="zstd")
    return buffer.getvalue()


def _versions(with_torch: bool) -> dict[str, str]:
    found = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
    }
    for package in ("wheeltapper", "onnx", *(("torch",) if with_torch else ())):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-") or "entity"
