"""Turns a fitted detector into a bundle: checked, calibrated, with golden vectors and a model card.

The same detector, data and options give the same bundle id. The id is a hash of what decides the alarms (graph, scores
it was calibrated on, windows, training rows), not of the time of writing, nor of whether torch was there for a twin.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from pydantic import ValidationError

from wheeltapper.models.fitted import FittedDetector, KeepsWeights
from wheeltapper.models.onnx_builder import add_metadata
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
from wheeltapper.schemas.bundle.normal_blocks import DRIFT
from wheeltapper.schemas.bundle.store import (
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL,
    REFERENCE,
    TORCHSCRIPT,
    WEIGHTS,
    sha256_of,
)
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.bundle_parts import (
    calibration_sample,
    digest_of,
    npz_bytes,
    parquet_bytes,
    reference_windows,
)
from wheeltapper.training.fitting.calibration import FALSE_ALARMS_PER_DAY, CalibrationScores, alarm_level
from wheeltapper.training.fitting.drift_blocks import drift_blocks
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

MAX_GOLDEN_VALUES = 2_000_000
MODEL_CARD = "report/model_card.md"
METRICS = "report/metrics.json"


@dataclass(frozen=True)
class BundleNotes:
    """What a bundle says of itself besides what detector, data and scores say; no part of its id.

    Attributes:
        parameters: for the manifest, beside the detector's own.
        metrics: of an evaluation; also written to report/metrics.json.
        parent: id of the bundle that this one was adapted from.
        created_at: ISO 8601; None is now.
    """

    parameters: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] | None = None
    parent: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class _Checked:
    """A graph that keeps its contract.

    Attributes:
        model: the .onnx bytes.
        windows: [n, W, C], golden vectors' inputs; outputs: what the graph gives for them, by name.
        twin: TorchScript bytes that agree with the graph, or None.
    """

    model: bytes
    graph: Graph
    windows: np.ndarray
    outputs: dict[str, np.ndarray]
    twin: bytes | None


def write_bundle(
    fitted: FittedDetector,
    series: SensorSeries,
    out: str | Path,
    *,
    scores: CalibrationScores,
    false_alarms_per_day: float = FALSE_ALARMS_PER_DAY,
    seed: int = 0,
    torchscript: bool = True,
    notes: BundleNotes | None = None,
    calibration: Calibration | None = None,
) -> Bundle:
    """Check, calibrate and write.

    Args:
        fitted: under the contract of `wheeltapper.models.fitted`.
        series: what it was fitted on; only the train part is used.
        out: folder, or path ending in .zip.
        scores: raw scores of held-out windows, as `train_detector` returns them; their stride is the bundle's.
        false_alarms_per_day: expected, per machine; chooses the alarm level.
        seed: of the disturbances in the golden windows.
        torchscript: also write the TorchScript twin, where the detector has one and torch is installed.
        notes: what to say besides.
        calibration: the alarm level, where it is known already; None: it is chosen from `scores`.

    Raises:
        InputError: the graph breaks its contract, the data does not fit it, or `out` cannot be written.
        ExportError: graph and twin disagree.
    """
    notes = notes or BundleNotes()
    if scores.stride < 1:
        raise InputError(f"stride is {scores.stride}, expected at least 1 row")
    calibration = calibration or alarm_level(scores, false_alarms_per_day)
    checked = _check(fitted, series, seed, torchscript)
    training_data = TrainingData(
        dataset=series.dataset, entity=series.entity, rows=len(series.train), sha256=rows_sha256(series.train)
    )
    essentials = _essentials(fitted, series, scores.stride, calibration, training_data)
    model = add_metadata(checked.model, {f"wheeltapper.{key}": _text(value) for key, value in essentials.items()})
    sample = calibration_sample(scores, series, fitted.lag, checked.graph)
    reference = reference_windows(series, checked.graph)
    digest = digest_of(model, essentials, [checked.windows, *sample.values(), *reference.values()])
    files = {
        MODEL: model,
        GOLDEN: npz_bytes({"window": checked.windows, **checked.outputs}),
        CALIBRATION: parquet_bytes(sample),
        REFERENCE: parquet_bytes(reference),
        DRIFT: parquet_bytes(
            drift_blocks(series.train, series.train_ts, series.sampling_interval_s, scores, calibration)
        ),
    }
    if checked.twin is not None:
        files[TORCHSCRIPT] = checked.twin
    if isinstance(fitted, KeepsWeights) and (weights := fitted.weights()):
        files[WEIGHTS] = npz_bytes(weights)
    if notes.metrics:
        files[METRICS] = (json.dumps(dict(notes.metrics), indent=2, sort_keys=True) + "\n").encode()
    manifest = _manifest(fitted, series, scores, calibration, training_data, checked, digest, notes)
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


def _check(fitted: FittedDetector, series: SensorSeries, seed: int, torchscript: bool) -> _Checked:
    """Graph and twin against their contract, the data and each other.

    Raises:
        InputError: the graph breaks its contract, or does not fit the data.
        ExportError: graph and twin disagree.
    """
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
    if fitted.warm_up is not None:
        windows = np.concatenate([windows, warming_windows(windows, fitted.warm_up)])
    outputs = outputs_by_name(check_graph(graph, windows))
    twin = fitted.torchscript_bytes() if torchscript else None
    if twin is not None:
        check_twin(twin, graph, windows)
    return _Checked(model, graph, windows, outputs, twin)


def _essentials(
    fitted: FittedDetector, series: SensorSeries, stride: int, calibration: Calibration, training_data: TrainingData
) -> dict[str, Any]:
    """What a .onnx file that lost its folder should still say of itself."""
    essentials = {
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
    if fitted.warm_up is not None:
        essentials["warm_up"] = fitted.warm_up
    return essentials


def _manifest(
    fitted: FittedDetector,
    series: SensorSeries,
    scores: CalibrationScores,
    calibration: Calibration,
    training_data: TrainingData,
    checked: _Checked,
    digest: str,
    notes: BundleNotes,
) -> Manifest:
    """
    Raises:
        InputError: something that a manifest cannot say, e.g. a channel without a name.
    """
    graph = checked.graph
    outputs = ((name, checked.outputs[name].shape[1:]) for name in graph.output_names)
    try:
        return Manifest(
            bundle_id=f"{fitted.detector}-{_slug(series.entity)}-{digest[:12]}",
            detector=fitted.detector,
            detector_version=fitted.version,
            channels=tuple(Channel(name=n, unit=u) for n, u in zip(series.channels, series.units, strict=True)),
            sampling_interval_s=series.sampling_interval_s,
            window=fitted.window,
            warm_up=fitted.warm_up,
            stride=scores.stride,
            lag=fitted.lag,
            inputs=(TensorSpec(name="window", shape=("N", graph.window, graph.channels), dtype="float32"),),
            outputs=tuple(TensorSpec(name=name, shape=("N", *shape), dtype="float32") for name, shape in outputs),
            calibration=calibration,
            parameters={**fitted.parameters, **(notes.parameters or {})},
            training_data=training_data,
            metrics=dict(notes.metrics or {}),
            warnings=(*fitted.warnings, *scores.warnings, *_doubts(calibration, scores)),
            parent=notes.parent,
            created_at=notes.created_at or datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_versions(checked.twin is not None),
            files={},
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "channels"
        raise InputError(
            f"{series.dataset} {series.entity} cannot be described in a manifest: {field}: {first['msg']}"
        ) from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _doubts(calibration: Calibration, scores: CalibrationScores) -> tuple[str, ...]:
    if calibration.method == "maximum":
        return (
            f"{calibration.windows} held-out windows ({scores.days:.2g} days) are too few to promise a rate of false "
            "alarms: the alarm level lies half again as high as their largest score; train on more history",
        )
    if calibration.method == "moved-tail":
        return (
            "the recent windows are too few to promise a rate of false alarms: the alarm level takes center and spread from them, "
            "and the tail from the windows of an earlier one",
        )
    if calibration.method == "no-spread":
        return ("every held-out window has the same score: the alarm level is a guess; train on rows that vary",)
    if calibration.method == "gpd" and calibration.false_alarms_per_day * scores.days < 1:
        return (
            f"{calibration.false_alarms_per_day:g} false alarms a day are fewer than one in the {scores.days:.2g} days of "
            "held-out windows: the alarm level is extrapolated",
        )
    return ()


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
