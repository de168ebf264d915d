"""Turns a fitted detector into a bundle: checked, calibrated, with golden vectors and a model card.

The same detector, data and options give the same bundle id. The id is a hash of what decides the alarms (graph, scores
it was calibrated on, windows, training data), not of the time of writing, nor of whether torch was there for a twin.
What a kind of input adds is made in `bundle_rows` and `bundle_sound`.
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
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from pydantic import ValidationError

from wheeltapper.models.fitted import FittedDetector, FittedSound, KeepsWeights
from wheeltapper.models.onnx_builder import add_metadata
from wheeltapper.schemas.bundle import Bundle, BundleManifest, Calibration, Manifest, TensorSpec, write_bundle_folder
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
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.fitting.bundle_parts import BundleContent, digest_of, npz_bytes, parquet_bytes
from wheeltapper.training.fitting.bundle_rows import rows_content
from wheeltapper.training.fitting.bundle_sound import sound_content
from wheeltapper.training.fitting.calibration import FALSE_ALARMS_PER_DAY, CalibrationScores, alarm_level
from wheeltapper.training.fitting.model_card import model_card

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


def write_bundle(
    fitted: FittedDetector | FittedSound,
    series: SensorSeries | SoundSeries,
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
        fitted: under the contract of `wheeltapper.models.fitted`; of sound where the series is.
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
    if isinstance(series, SoundSeries) and isinstance(fitted, FittedSound):
        content = sound_content(fitted, series, scores, calibration, seed=seed, torchscript=torchscript)
    elif isinstance(series, SensorSeries) and isinstance(fitted, FittedDetector):
        content = rows_content(fitted, series, scores, calibration, seed=seed, torchscript=torchscript)
    else:
        made_for = "sound" if isinstance(fitted, FittedSound) else "rows of sensors"
        found = "sound" if isinstance(series, SoundSeries) else "rows of sensors"
        raise InputError(
            f"{fitted.detector} is a detector of {made_for}, {series.dataset} {series.entity} holds {found}; give data of its kind"
        )
    essentials = {
        "detector": fitted.detector,
        "detector_version": fitted.version,
        "entity": series.entity,
        "channels": list(series.channels),
        "units": list(series.units),
        "window": fitted.window,
        "stride": scores.stride,
        "calibration_center": calibration.center,
        "alarm_level": calibration.alarm_level,
        "false_alarms_per_day": calibration.false_alarms_per_day,
        "training_data_sha256": content.training_data.sha256,
        **content.essentials,
    }
    model = add_metadata(content.model, {f"wheeltapper.{key}": _text(value) for key, value in essentials.items()})
    inputs = [content.golden[name] for name in content.input_names]
    digest = digest_of(model, essentials, [*inputs, *content.calibration.values(), *content.reference.values()])
    files = {
        MODEL: model,
        GOLDEN: npz_bytes(content.golden),
        CALIBRATION: parquet_bytes(content.calibration),
        REFERENCE: parquet_bytes(content.reference),
        DRIFT: parquet_bytes(content.drift),
    }
    if content.twin is not None:
        files[TORCHSCRIPT] = content.twin
    if isinstance(fitted, KeepsWeights) and (weights := fitted.weights()):
        files[WEIGHTS] = npz_bytes(weights)
    if notes.metrics:
        files[METRICS] = (json.dumps(dict(notes.metrics), indent=2, sort_keys=True) + "\n").encode()
    manifest = _manifest(fitted, series, scores, calibration, content, digest, notes)
    files[MODEL_CARD] = model_card(manifest, scores).encode()
    return write_bundle_folder(out, manifest.model_copy(update={"files": sha256_of(files)}), files)


def check_place(out: Path, *, force: bool) -> None:
    """Whether a bundle may be written there: asked before hours of training, not after them.

    Args:
        force: one that is there may be replaced.

    Raises:
        InputError: it exists and is not a bundle, or is one that is not to be replaced.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(f"{out}: exists and is not a bundle; choose another --out or empty it")
    if out.is_file() and out.suffix != ".zip":
        raise InputError(f"{out}: is a file; --out takes a folder, or a path ending in .zip")
    if not force and (out.is_file() or (out / MANIFEST).is_file()):
        raise InputError(f"{out}: a bundle is there already; --force replaces it, or choose another --out")


def _manifest(
    fitted: FittedDetector | FittedSound,
    series: SensorSeries | SoundSeries,
    scores: CalibrationScores,
    calibration: Calibration,
    content: BundleContent,
    digest: str,
    notes: BundleNotes,
) -> Manifest:
    """
    Raises:
        InputError: something that a manifest cannot say, e.g. a channel without a name.
    """

    def tensors(names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        shapes = ((name, _axes(name, content.golden[name], content.graph.longest_run > 1)) for name in names)
        return tuple(TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in shapes)

    shared = {
        "bundle_id": f"{fitted.detector}-{_slug(series.entity)}-{digest[:12]}",
        "detector": fitted.detector,
        "detector_version": fitted.version,
        "window": fitted.window,
        "stride": scores.stride,
        "inputs": tensors(content.input_names),
        "outputs": tensors(content.graph.output_names),
        "calibration": calibration,
        "parameters": {**fitted.parameters, **(notes.parameters or {})},
        "training_data": content.training_data,
        "metrics": dict(notes.metrics or {}),
        "warnings": (*fitted.warnings, *scores.warnings, *content.warnings, *_doubts(calibration, scores)),
        "parent": notes.parent,
        "created_at": notes.created_at or datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(content.twin is not None),
        "files": {},
    }
    try:
        manifest: BundleManifest = content.manifest(**shared, **content.fields)
        return cast(Manifest, manifest)
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
    if calibration.method == "lowered":
        return (
            "the recent windows are too few to promise a rate of false alarms: at the alarm level that they ask for it would have told "
            "too few faults, so that the level is a lower one",
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


def _axes(name: str, golden: np.ndarray, takes_runs: bool) -> tuple[int | str, ...]:
    """The shape of an input or output as the graph has it."""
    if not takes_runs:
        return "N", *golden.shape[1:]
    return ("N", "T", golden.shape[2]) if name == "window" else ("N", "n", *golden.shape[1:])


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-") or "entity"
