"""Child bundles: what a step of the ladder made, written as every bundle is, with its parent's name in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.schemas.bundle.manifest import Calibration
from wheeltapper.schemas.bundle.store import MODEL, TORCHSCRIPT
from wheeltapper.training.adaptation.recent import RecentRows, WindowSource
from wheeltapper.training.adaptation.rescaling import ChannelMap
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.bundle_writer import BundleNotes, write_bundle
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.export_check import ExportError

NO_TWIN = "it has no TorchScript twin as its parent has"


@dataclass(frozen=True)
class AdaptedGraph:
    """A graph that was adapted without a fit: a `wheeltapper.models.fitted.FittedDetector` that keeps its parent's weights."""

    model: bytes
    detector: str
    version: int
    window: int
    lag: int
    warm_up: int | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    twin: bytes | None = None
    kept_weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def onnx_bytes(self) -> bytes:
        return self.model

    def torchscript_bytes(self) -> bytes | None:
        return self.twin

    def weights(self) -> Mapping[str, np.ndarray]:
        return self.kept_weights

    def without_twin(self, reason: str) -> AdaptedGraph:
        """The same, with a warning of why it has none."""
        return replace(self, twin=None, warnings=(*self.warnings, f"{NO_TWIN}: {reason}"))


def adapted(
    parent: Bundle,
    model: bytes,
    parameters: Mapping[str, Any],
    warnings: tuple[str, ...] = (),
    channel_map: ChannelMap | None = None,
) -> AdaptedGraph:
    """The parent with another graph.

    Args:
        parameters: what the step found, beside the parent's own.
        channel_map: that `model` has in front of the parent's graph; its TorchScript twin gets the same.
    """
    manifest = parent.manifest
    told = tuple(text for text in manifest.warnings if not text.startswith("it has no TorchScript twin"))
    child = AdaptedGraph(
        model,
        manifest.detector,
        manifest.detector_version,
        manifest.window,
        manifest.lag,
        manifest.warm_up,
        {**manifest.parameters, **parameters},
        (*told, *warnings),
        kept_weights=parent.weights() or {},
    )
    twin = parent.files.get(TORCHSCRIPT)
    if twin is None:
        return child
    if find_spec("torch") is None:
        return child.without_twin("torch, which checks it, is not installed where it was adapted")
    if channel_map is not None:
        from wheeltapper.training.adaptation.rescaled_twin import rescaled_twin

        twin = rescaled_twin(twin, channel_map, manifest.window, [output.name for output in manifest.outputs])
    return replace(child, twin=twin)


def without_adaptation(model: bytes) -> bytes:
    """The graph as it is, without what a bundle wrote into its metadata."""
    import onnx

    proto = onnx.load_model_from_string(model)
    kept = [entry for entry in proto.metadata_props if not entry.key.startswith("wheeltapper.")]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    return bytes(proto.SerializeToString(deterministic=True))


def recent_scores(parent: Bundle, graph: Graph, rows: RecentRows) -> CalibrationScores:
    """Raw scores by a graph with the parent's window, of every window of recent rows."""
    manifest = parent.manifest
    source = WindowSource(parent, rows)
    times = [
        run[manifest.window - 1 :: manifest.stride] - round(manifest.lag * manifest.sampling_interval_s * 1e6)
        for _, run in source.runs
        if len(run) >= manifest.window
    ]
    output = source.scored(graph)
    return CalibrationScores(
        score=output.score.astype(np.float64),
        time=np.concatenate(times) if times else np.empty(0, np.int64),
        interval_s=manifest.sampling_interval_s * manifest.stride,
        origin="recent rows of the machine, presumed normal",
        embedding=output.embedding,
        stride=manifest.stride,
    )


def series_of(parent: Bundle, values: np.ndarray, times: np.ndarray) -> SensorSeries:
    """Rows of the machine as the train part of a series of the parent's data set."""
    manifest = parent.manifest
    return SensorSeries(
        dataset=manifest.training_data.dataset,
        entity=manifest.training_data.entity,
        channels=manifest.channel_names,
        units=tuple(channel.unit for channel in manifest.channels),
        sampling_interval_s=manifest.sampling_interval_s,
        train=values.astype(np.float32),
        train_ts=times.astype(np.int64),
        test=values[:0].astype(np.float32),
        test_ts=times[:0].astype(np.int64),
    )


def reference_run(parent: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the reference windows in time order, each once: values [n, C] and times [n]; gaps where windows lie apart."""
    manifest = parent.manifest
    rows = parent.reference_rows()
    interval = round(manifest.sampling_interval_s * 1e6)
    ends = parent.reference_times()
    offsets = interval * np.arange(1 - manifest.window, 1)
    times, first = np.unique((ends[:, None] + offsets).ravel(), return_index=True)
    return rows[first], times


def after(times: np.ndarray, recent: np.ndarray, interval_us: int) -> np.ndarray:
    """Times moved so that all lie well before the recent ones: what comes from elsewhere must not overlap with them."""
    if not len(times) or not len(recent):
        return times
    moved: np.ndarray = times + min(0, int(recent[0]) - 1000 * interval_us - int(times[-1]))
    return moved


@dataclass(frozen=True)
class Draft:
    """A child that is not written yet.

    Attributes:
        step: of the ladder that made it; change: what it changed, one sentence.
        series: rows that it stands on: reference windows and golden vectors come from its train part.
        scores: of windows that decide the alarm level, and `calibration` is what they decided.
        parameters: for the manifest, beside the detector's own.
    """

    step: str
    change: str
    fitted: FittedDetector
    series: SensorSeries
    scores: CalibrationScores
    calibration: Calibration
    parameters: Mapping[str, Any] = field(default_factory=dict)


def write_child(parent: Bundle, draft: Draft, out: Path, *, seed: int = 0) -> Bundle:
    """Write a child.

    Raises:
        InputError: its graph breaks the contract, or `out` cannot be written.
        ExportError: a trained network and its graph disagree.
    """
    parameters = {**draft.parameters, "adapted_by": draft.step}
    notes = BundleNotes(parameters=parameters, parent=parent.manifest.bundle_id)

    def written(detector: FittedDetector) -> Bundle:
        return write_bundle(
            detector, draft.series, out, scores=draft.scores, seed=seed, notes=notes, calibration=draft.calibration
        )

    try:
        return written(draft.fitted)
    except ExportError as error:
        # The stream runs the graph; a twin that has come apart on these windows is no reason to adapt nothing.
        if not isinstance(draft.fitted, AdaptedGraph) or draft.fitted.twin is None:
            raise
        return written(draft.fitted.without_twin(str(error)))


def parent_model(parent: Bundle) -> bytes:
    """The parent's graph as it was built."""
    return without_adaptation(parent.files[MODEL])
