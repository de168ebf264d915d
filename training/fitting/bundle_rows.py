"""The content of a bundle of rows: golden windows, samples for thresholds and adaptation, blocks of normal for drift."""

from __future__ import annotations

from typing import Any

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.bundle import Calibration, Graph, SensorManifest, TrainingData
from wheeltapper.schemas.bundle.store import MODEL
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.bundle_parts import (
    MAX_CALIBRATION_ROWS,
    MAX_REFERENCE_VALUES,
    BundleContent,
    channel_fields,
)
from wheeltapper.training.fitting.calibration import CalibrationScores, bounded_sample, contiguous_runs
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
from wheeltapper.training.fitting.training_rows import channel_medians

MAX_GOLDEN_VALUES = 2_000_000
MAX_REFERENCE_WINDOWS = 512


def rows_content(
    fitted: FittedDetector,
    series: SensorSeries,
    scores: CalibrationScores,
    calibration: Calibration,
    *,
    seed: int,
    torchscript: bool,
) -> BundleContent:
    """Check graph and twin against their contract, the data and each other; take samples of the train part.

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
    essentials: dict[str, Any] = {"sampling_interval_s": series.sampling_interval_s, "lag": fitted.lag}
    if fitted.warm_up is not None:
        essentials["warm_up"] = fitted.warm_up
    return BundleContent(
        model=model,
        graph=graph,
        golden={"window": windows, **outputs},
        input_names=("window",),
        twin=twin,
        training_data=TrainingData(
            dataset=series.dataset, entity=series.entity, rows=len(series.train), sha256=rows_sha256(series.train)
        ),
        essentials=essentials,
        calibration=calibration_sample(scores, series, fitted.lag, graph),
        reference=reference_windows(series, graph),
        drift=drift_blocks(series.train, series.train_ts, series.sampling_interval_s, scores, calibration),
        manifest=SensorManifest,
        fields={
            "channels": channel_fields(series.channels, series.units),
            "sampling_interval_s": series.sampling_interval_s,
            "warm_up": fitted.warm_up,
            "lag": fitted.lag,
        },
    )


def calibration_sample(
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


def reference_windows(series: SensorSeries, graph: Graph) -> dict[str, np.ndarray]:
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
