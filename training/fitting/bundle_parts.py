"""Parts of a bundle besides the graph: samples for thresholds and adaptation, and their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wheeltapper.schemas.bundle import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import CalibrationScores, bounded_sample, contiguous_runs
from wheeltapper.training.fitting.training_rows import channel_medians

# Enough for thresholds and drift tests to start from; some megabytes at most.
MAX_CALIBRATION_ROWS = 4_000
MAX_REFERENCE_WINDOWS = 512
MAX_REFERENCE_VALUES = 1_000_000


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


def digest_of(model: bytes, essentials: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> str:
    """Of contents, not of files: parquet and npz carry the versions of their writers."""
    digest = hashlib.sha256(model)
    digest.update(json.dumps(essentials, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def parquet_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
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
