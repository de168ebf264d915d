"""CPU us a row of reading one-row JSON: the worker's decoder on batches of 2,000 messages, beside orjson alone. No Kafka.

    python tests/bench/decoding.py

To compare two checkouts run it in each, in turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from wheeltapper.stream.kinds.contract import Route, Routes
from wheeltapper.stream.kinds.sensors.decoding import Decoder
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.settings import Settings

MESSAGES, REPETITIONS, START = 2_000, 9, 1_750_000_000_000_000
CASES: tuple[tuple[int, int, int | None, bool], ...] = (
    # channels, machines, decimals (none: all of float64), a null in every row
    (8, 20, 3, False),
    (38, 20, 3, False),
    (38, 1_000, 3, False),
    (38, 20, None, False),
    (38, 20, 3, True),
    (64, 20, 3, False),
)


def batch_of(channels: int, machines: int, decimals: int | None, with_null: bool) -> PartitionBatch:
    """Messages of machines in turn, keyed by them."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(MESSAGES, channels)) * np.geomspace(0.5, 40, channels) + np.linspace(5, 400, channels)
    if decimals is not None:
        rows = np.round(rows, decimals)
    names = [f"c{number:02d}" for number in range(channels)]
    batch = PartitionBatch("rows", 0)
    for number, row in enumerate(rows.tolist()):
        machine = f"machine-{number % machines:02d}"
        values = dict(zip(names, [None, *row[1:]] if with_null else row, strict=True))
        message = {"machine": machine, "ts": START + 4_000 * (number // machines), "values": values}
        batch.offsets.append(number)
        batch.keys.append(machine.encode())
        batch.values.append(orjson.dumps(message))
        batch.headers.append(None)
        batch.timestamps_ms.append(-1)
    return batch


def cpu_us(work: Callable[[], object]) -> float:
    """The least CPU time of several runs, us a message."""
    found = []
    for _ in range(REPETITIONS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found) / MESSAGES * 1e6


def main() -> None:
    print("| channels, machines | decoder | orjson alone |\n|---|--:|--:|")
    for channels, machines, decimals, with_null in CASES:
        batch, settings = batch_of(channels, machines, decimals, with_null), Settings()
        kind: Any = SimpleNamespace(name="sensors", machine_of=lambda name: name)
        layout = SimpleNamespace(channels=tuple(f"c{number:02d}" for number in range(channels)))
        decoder = Decoder(Routes([Route("*", (), kind, layout)]), settings.input, SchemaRegistry(settings.registry))
        decoder.decode(batch)
        decoded = cpu_us(lambda decoder=decoder, batch=batch: decoder.decode(batch))  # type: ignore[misc]
        alone = cpu_us(lambda batch=batch: [None for value in batch.values if orjson.loads(value) is None])  # type: ignore[misc]
        more = ", all digits" * (decimals is None) + ", a null in each row" * with_null
        print(f"| {channels}, {machines:,}{more} | {decoded:.2f} | {alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
