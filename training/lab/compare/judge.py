"""One job, done in a worker process: read the series, train, bundle, judge, measure."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_life import runs
from wheeltapper.stream.core.policies import WindowPolicy
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import ExtraData, TrainOptions
from wheeltapper.training.judging.evaluation import (
    evaluate_bundle,
    floor_metrics,
    in_bundle_order,
    run_bundle,
)
from wheeltapper.training.lab.compare.fingerprints import series_sha256
from wheeltapper.training.lab.compare.jobs import Job

# Columns of a score plot: of each, the smallest and the largest calibrated score are kept.
TRACE_COLUMNS = 400
# Processor time that the speed of a graph is measured over.
_SPEED_S = 0.15
_LEFT_OUT = ("bundle", "detector", "dataset", "entity", "stride", "settings", "floors", "warnings", "oracle_point_f1")


def execute(job: Job) -> dict[str, Any]:
    """A job's outcome; see `store.Record`. No exception leaves it, except for the end of the process."""
    return outcome_of(job, _KINDS[job.kind])


def outcome_of(job: Job, measure: Callable[[Job], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` finds, or why it did not."""
    started = time.perf_counter()
    outcome: dict[str, Any] = {"status": "done", "error": None, "values": {}}
    try:
        outcome["values"] = measure(job)
    except InputError as error:
        outcome |= {"status": "refused", "error": str(error)}
    except Exception as error:
        outcome |= {"status": "failed", "error": _where(error), "traceback": traceback.format_exc()}
    outcome["seconds"] = round(time.perf_counter() - started, 3)
    return outcome


def _facts(job: Job) -> dict[str, Any]:
    series = _series(job.dataset, job.folder, job.entity)
    labels = series.test_labels
    return {
        "sha256": series_sha256(series),
        "train_rows": len(series.train),
        "test_rows": len(series.test),
        "channels": len(series.channels),
        "moving_channels": int(np.count_nonzero(moving_channels(series.train))),
        "sampling_interval_s": float(series.sampling_interval_s),
        "labelled": labels is not None,
        "events": [[int(start), int(stop)] for start, stop in runs(labels)] if labels is not None else [],
        "named_channels": any(segment.channels for segment in series.segments),
    }


def _floors(job: Job) -> dict[str, Any]:
    return {"floors": floor_metrics(_series(job.dataset, job.folder, job.entity))}


def _detector(job: Job) -> dict[str, Any]:
    series = _series(job.dataset, job.folder, job.entity)
    settings = dict(job.settings) | ({"scale": "given"} if job.kind == "leak" else {})
    options = TrainOptions(
        seed=job.seed,
        stride=job.stride,
        settings=settings,
        device=job.device,
        budget_s=job.budget_s,
        extra_data=ExtraData(related=partial(_series, job.dataset, job.folder)),
    )
    wall, processor = time.perf_counter(), time.process_time()
    fitted, held_out = train_detector(job.detector, series, options)
    seconds, processor_seconds = time.perf_counter() - wall, time.process_time() - processor
    with tempfile.TemporaryDirectory(prefix="wheeltapper-compare-") as folder:
        bundle = write_bundle(
            fitted,
            series,
            Path(folder) / "bundle",
            scores=held_out,
            seed=job.seed,
            torchscript=False,
        )
        series = in_bundle_order(bundle, series)
        windows = WindowPolicy(stride=job.stride)
        run = run_bundle(bundle, series, windows=windows)
        report = evaluate_bundle(bundle, series, windows=windows, floors=False, oracle_floors=False, run=run).to_json()
        return {
            **{name: value for name, value in report.items() if name not in _LEFT_OUT and "oracle" not in name},
            "train_seconds": round(seconds, 3),
            "train_processor_seconds": round(processor_seconds, 3),
            "windows_per_second": round(windows_per_second(bundle, series.test), 1),
            "bundle_bytes": sum(map(len, bundle.files.values())),
            "window": bundle.manifest.window,
            "lag": bundle.manifest.lag,
            "cut": bool(fitted.parameters.get("cut_by_budget", False)),
            "warnings": [*bundle.manifest.warnings, *report["warnings"]],
            "trace": _trace(run.by_row(run.calibrated)),
        }


_KINDS = {"facts": _facts, "floors": _floors, "detector": _detector, "leak": _detector}


@lru_cache(maxsize=2)
def _series(dataset: str, folder: Path | None, entity: str) -> SensorSeries:
    return load_series(dataset, folder, entity)


def windows_per_second(bundle: Bundle, values: np.ndarray) -> float:
    """Windows that ONNX Runtime scores a second with one thread, in the stream's largest batch, on windows of [T, C] rows.

    By processor time, so that other work on the same cores does not count.
    """
    graph = bundle.open_graph(device="cpu", threads=1)
    size = graph.largest_batch
    rows = np.nan_to_num(np.resize(values, (max(len(values), graph.window), values.shape[1]))).astype(np.float32)
    view = windows_of(rows, graph.window)
    return graph_speed(graph, np.ascontiguousarray(view[np.arange(size) % len(view)]))


def graph_speed(graph: Graph, batch: np.ndarray, attributes: np.ndarray | None = None) -> float:
    """Windows that a graph scores a second of processor time, in batches like this one."""
    graph.run(batch, attributes)
    begin, done = time.process_time(), 0
    while (spent := time.process_time() - begin) < _SPEED_S:
        graph.run(batch, attributes)
        done += len(batch)
    return done / spent


def _trace(scores: np.ndarray) -> dict[str, list[float]]:
    """Smallest and largest calibrated score of each column of a plot of [T] scores, three digits."""
    edges = np.linspace(0, len(scores), min(TRACE_COLUMNS, len(scores)) + 1).astype(int)[:-1]
    low, high = (reduce.reduceat(scores, edges) for reduce in (np.minimum, np.maximum))
    return {name: [float(f"{value:.3g}") for value in values] for name, values in (("low", low), ("high", high))}


def _where(error: BaseException) -> str:
    """One line: what went wrong, and in which of our files."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    place = f" ({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else ""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
