"""What a bundle says of its machine's normal over time: for drift, which is judged in blocks of event time.

drift.parquet, one row a block of the train part, in time order; bundles written before drift was judged have none.

| column | type | meaning |
|---|---|---|
| `time` | int64 | event time at which the block begins, microseconds UTC |
| `block_us` | int64 | length of the block; the same in every row |
| `score` | float64 | mean log(calibrated score + 0.01) of its held-out windows; NaN where none lies in it |
| `mean`, `spread`, `q10`, `q90` | list<float32> [C] | of each channel's rows, raw units; NaN where less than half was measured |

Bundles of sound leave the last row out: single samples say nothing of a machine's normal, so drift is judged by scores and embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wheeltapper.schemas.bundle.store import CALIBRATION, REFERENCE, Bundle

DRIFT = "drift.parquet"
SUMMARY_COLUMNS = ("mean", "spread", "q10", "q90")


@dataclass(frozen=True)
class WrittenBlocks:
    """Blocks as training wrote them.

    Attributes:
        block_us: length of a block.
        summaries: [b, 4, C] float64, raw units, in the order of `SUMMARY_COLUMNS`.
        scores: [n] float64, of the blocks that have one.
    """

    block_us: int
    summaries: np.ndarray
    scores: np.ndarray


def written_blocks(bundle: Bundle) -> WrittenBlocks | None:
    """The blocks in drift.parquet; None where the bundle has none."""
    if DRIFT not in bundle.files:
        return None
    table = pq.read_table(pa.BufferReader(bundle.files[DRIFT]))
    width = bundle.manifest.sample_shape[-1]
    present = set(SUMMARY_COLUMNS) <= set(table.column_names)
    columns = [_lists(table, name).reshape(-1, width) if present else np.zeros((0, width)) for name in SUMMARY_COLUMNS]
    scores = np.asarray(table["score"].to_numpy(), dtype=np.float64)
    block_us = int(table["block_us"][0].as_py()) if table.num_rows else 0
    return WrittenBlocks(block_us, np.stack(columns, axis=1).astype(np.float64), scores[np.isfinite(scores)])


def calibration_sample(bundle: Bundle) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Times [n] int64 (None where they are not told), raw scores [n] float64 and embeddings [n, D] (None where the graph
    has none) of held-out windows."""
    table = pq.read_table(pa.BufferReader(bundle.files[CALIBRATION]))
    scores = np.asarray(table["score"].to_numpy(), dtype=np.float64)
    times = np.asarray(table["time"].to_numpy(), dtype=np.int64) if "time" in table.column_names else None
    if "embedding" not in table.column_names or not len(scores):
        return times, scores, None
    return times, scores, _lists(table, "embedding").reshape(len(scores), -1)


def reference_times(bundle: Bundle) -> np.ndarray | None:
    """[n] int64 event time of each of `Bundle.reference_rows`; None where they are not told."""
    table = pq.read_table(pa.BufferReader(bundle.files[REFERENCE]))
    if "time" not in table.column_names:
        return None
    window = bundle.manifest.sample_shape[0]
    back = np.arange(1 - window, 1) * round(bundle.manifest.sampling_interval_s * 1e6)
    return (np.asarray(table["time"].to_numpy(), dtype=np.int64)[:, None] + back).ravel()


def _lists(table: pa.Table, name: str) -> np.ndarray:
    values = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values)
