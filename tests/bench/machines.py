"""What many machines cost: one-row JSON of 1 to 10,000 machines through the pipeline, and a restart with all of them. Needs no Kafka.

    python tests/bench/machines.py [--machines 1,200,1000,10000] [--repetitions 3] [--budget]

Prints, for each number of machines, CPU microseconds a row (all, and of them reading messages and scoring), bytes in memory, and CPU
seconds of a restart that finds a snapshot of every machine. 8 channels, window 64, stride 8, the PCA graph of the other
measurements. A batch holds one row of each machine, or 2,000 rows where machines are fewer.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import workload

from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

CHANNELS = 8
TOPIC = "wheeltapper.sensors"
ROWS = 80_000
"""Rows that are measured, at least."""
LEAST_BATCH = 2_000
TURN = 100_000
"""Steps after which a machine's rows begin anew."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machines", default="1,200,1000,10000", help="numbers of machines, with commas between")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--budget", action="store_true", help="the default threshold, in place of the fixed one")
    chosen = parser.parse_args()
    workload.CHANNELS = CHANNELS
    workload.CHANNEL_NAMES = tuple(f"c{index:02d}" for index in range(CHANNELS))
    threshold: dict[str, Any] = {} if chosen.budget else {"method": "fixed", "raise_level": 1.0}
    gc.set_threshold(100_000, 50, 1_000)  # as the worker does
    settings = Settings.model_validate(
        {"threshold": threshold, "drift": {"enabled": False}, "scoring": {"device": "cpu", "threads": 1}}
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle = workload.write_bundle(workload.fit_detector(), Path(folder) / "bundle")
        for machines in (int(number) for number in chosen.machines.split(",")):
            routes = load_routes([str(bundle)], settings)
            runs = [measure(machines, routes, settings) for _ in range(chosen.repetitions)]
            median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            print(f"{machines:6} machines: " + ", ".join(f"{name} {value:.2f}" for name, value in median.items()))


def measure(machines: int, routes: Routes, settings: Settings) -> dict[str, float]:
    """CPU us a row by stage, MiB, and CPU seconds of snapshots and of a restart."""
    gc.collect()
    pipeline = Pipeline(routes, settings)
    batches = batches_of(machines)
    now = 0.0
    pipeline.handle([full_windows(machines)], now)
    for _ in range(3):
        pipeline.handle([next(batches)], now)  # until steps are as long as they get
    stages = {"decode": 0.0}
    intake = pipeline._portions._intakes[TOPIC]  # nobody else asks for what reading alone takes
    intake.decode = timed(intake.decode, stages, "decode")  # type: ignore[method-assign]
    scored, rows, spent = pipeline.scoring_seconds, pipeline.counters.rows, 0.0
    while pipeline.counters.rows - rows < ROWS:
        batch = next(batches)
        begun = time.process_time()
        pipeline.handle([batch], now)
        spent += time.process_time() - begun
    rows = pipeline.counters.rows - rows
    begun = time.process_time()
    partition = pipeline.partition(TOPIC, 0)
    records = {output.key or b"": output.value or b"" for output in partition.snapshots(now, everything=True)}
    snapshots = time.process_time() - begun
    found = {
        "us a row": 1e6 * spent / rows,
        "reading": 1e6 * stages["decode"] / rows,
        "graph": 1e6 * (pipeline.scoring_seconds - scored) / rows,
        "MiB": resident(),
        "snapshots s": snapshots,
    }
    del pipeline, partition, intake
    gc.collect()
    again = Pipeline(routes, settings)
    begun = time.process_time()
    again.partition(TOPIC, 0).restore(records)
    found["restore s"] = time.process_time() - begun
    assert again.partition(TOPIC, 0).machines == machines
    return found


def resident() -> float:
    """MiB that this process has in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def timed(function: Callable[..., Any], spent: dict[str, float], stage: str) -> Callable[..., Any]:
    """The function, whose CPU seconds are added up."""

    def call(*args: Any) -> Any:
        begun = time.process_time()
        try:
            return function(*args)
        finally:
            spent[stage] += time.process_time() - begun

    return call


def names_of(machines: int) -> list[str]:
    return [f"machine-{index:05d}" for index in range(machines)]


def series_of_rows() -> np.ndarray:
    """[2 * TURN, C]; each machine begins elsewhere in it."""
    return workload.normal_rows(2 * TURN, np.random.default_rng(5)).round(3)


def full_windows(machines: int) -> PartitionBatch:
    """A message for each machine that fills its first window."""
    batch = PartitionBatch(TOPIC, 0)
    series = series_of_rows()
    times = workload.START_US + workload.INTERVAL_US * np.arange(workload.WINDOW)
    for offset, name in enumerate(names_of(machines)):
        batch.offsets.append(offset)
        batch.keys.append(name.encode())
        batch.values.append(
            encode_sensor_block(
                SensorBlock(
                    name,
                    times,
                    workload.CHANNEL_NAMES,
                    series[7 * offset % TURN :][: workload.WINDOW].astype(np.float32),
                ),
                "arrow",
            )
        )
        batch.headers.append([("content-type", CONTENT_TYPES["arrow"].encode())])
        batch.timestamps_ms.append(int(times[-1]) // 1_000)
    return batch


def batches_of(machines: int) -> Iterator[PartitionBatch]:
    """Batches for ever, one machine's row after the other's."""
    names = names_of(machines)
    rows = series_of_rows().tolist()
    batch, offset, step = PartitionBatch(TOPIC, 0), machines, workload.WINDOW
    while True:
        ts = workload.START_US + step * workload.INTERVAL_US
        for index, name in enumerate(names):
            values = dict(zip(workload.CHANNEL_NAMES, rows[7 * index % TURN + step % TURN], strict=True))
            batch.offsets.append(offset)
            batch.keys.append(name.encode())
            batch.values.append(orjson.dumps({"machine": name, "ts": ts, "values": values}))
            batch.headers.append(None)
            batch.timestamps_ms.append(ts // 1_000)
            offset += 1
            if len(batch) >= max(machines, LEAST_BATCH) or (machines == 1 and len(batch) >= LEAST_BATCH):
                yield batch
                batch = PartitionBatch(TOPIC, 0)
        step += 1


if __name__ == "__main__":
    main()
