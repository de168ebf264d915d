"""A program of its own: small messages that unfold to megabytes through a pipeline; prints what memory that took, in MiB.

Arguments: a bundle of 128 channels, how many messages.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa

from tests.helpers.memory import forget_peak, peak, resident
from tests.unit.stream.feeds import START, TOPIC
from wheeltapper.schemas.codec import CONTENT_TYPES
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

ROWS = 8_192
SECOND = 1_000_000
CHANNELS = [f"c{number}" for number in range(128)]


def small_message(number: int) -> bytes:
    """8,192 rows of 128 constant channels, 4 MiB, as some kilobytes of Arrow."""
    times = START + SECOND * np.arange(number * ROWS, (number + 1) * ROWS)
    columns = {"ts": pa.array(times, pa.timestamp("us", "UTC"))}
    columns |= {name: pa.array(np.full(ROWS, 0.5, np.float32)) for name in CHANNELS}
    table = pa.table(columns).replace_schema_metadata({"machine": "press-1"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def batch_of_small_messages(count: int) -> PartitionBatch:
    """So many, in order."""
    batch = PartitionBatch(TOPIC, 0)
    for number in range(count):
        batch.offsets.append(number)
        batch.keys.append(b"press-1")
        batch.values.append(small_message(number))
        batch.headers.append([("content-type", CONTENT_TYPES["arrow"].encode())])
        batch.timestamps_ms.append(-1)
    return batch


def main() -> None:
    settings = Settings()
    pipeline = Pipeline(load_routes([sys.argv[1]], settings), settings)
    batch = batch_of_small_messages(int(sys.argv[2]))
    before = resident()
    forget_peak()
    for step in pipeline.steps([batch], 0.0):
        del step  # published
    rows = pipeline.counters.rows
    print(f"{max(len(value or b'') for value in batch.values)} bytes a message")
    print(f"{rows} rows")
    print(f"{peak() - before:.0f} MiB")


if __name__ == "__main__":
    main()
