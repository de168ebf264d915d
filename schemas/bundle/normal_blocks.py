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

from wheeltapper.schemas.bundle.files import column, lists, read_parquet
from wheeltapper.schemas.bundle.store import CALIBRATION, REFERENCE, Bundle
from wheeltapper.schemas.errors import InputError

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
    """The blocks in drift.parquet; None where the bundle has none.

    Raises:
        InputError: the file cannot be read; so do the others.
    """
    if DRIFT not in bundle.files:
        return None
    where = str(bundle.location / DRIFT)
    table = read_parquet(bundle.files[DRIFT], where)
    width = bundle.manifest.sample_shape[-1]
    present = set(SUMMARY_COLUMNS) <= set(table.column_names)
    columns = [lists(table, name, width, where) if present else np.zeros((0, width)) for name in SUMMARY_COLUMNS]
    scores = column(table, "score", np.float64, where)
    lengths = column(table, "block_us", np.int64, where)
    block_us = int(lengths[0]) if len(lengths) else 0
    if block_us < 0 or len({len(one) for one in columns}) > 1:
        raise InputError(f"{where}: block_us is {block_us}, or columns differ in length; write the bundle again")
    return WrittenBlocks(block_us, np.stack(columns, axis=1).astype(np.float64), scores[np.isfinite(scores)])


def calibration_sample(bundle: Bundle) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Times [n] int64 (None where they are not told), raw scores [n] float64 and embeddings [n, D] (None where the graph
    has none) of held-out windows."""
    where = str(bundle.location / CALIBRATION)
    table = read_parquet(bundle.files[CALIBRATION], where)
    scores = bundle.calibration_scores()
    times = column(table, "time", np.int64, where) if "time" in table.column_names else None
    if "embedding" not in table.column_names or not len(scores):
        return times, scores, None
    flat = lists(table, "embedding", 1, where)
    if not flat.size or flat.size % len(scores):
        raise InputError(
            f"{where}: column 'embedding' holds {flat.size} numbers for {len(scores)} scores, expected as many for each; "
            "write the bundle again"
        )
    return times, scores, lists(table, "embedding", flat.size // len(scores), where)


def reference_times(bundle: Bundle) -> np.ndarray | None:
    """[n] int64 event time of each of `Bundle.reference_rows`; None where they are not told."""
    where = str(bundle.location / REFERENCE)
    table = read_parquet(bundle.files[REFERENCE], where)
    if "time" not in table.column_names:
        return None
    window = bundle.manifest.sample_shape[0]
    back = np.arange(1 - window, 1) * round(bundle.manifest.sampling_interval_s * 1e6)
    return (column(table, "time", np.int64, where)[:, None] + back).ravel()


def check_tables(bundle: Bundle) -> None:
    """What drift is judged by can be read.

    Raises:
        InputError: it cannot.
    """
    calibration_sample(bundle)
    written_blocks(bundle)
    kind: str = bundle.manifest.kind
    if kind == "audio":
        return  # of sound, reference windows have no rows to be timed
    times, rows = reference_times(bundle), bundle.reference_rows()
    if times is not None and len(times) != len(rows):
        raise InputError(
            f"{bundle.location / REFERENCE}: column 'time' stands for {len(times)} rows, column 'window' holds {len(rows)}; write the "
            "bundle again"
        )
