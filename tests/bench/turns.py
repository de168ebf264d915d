"""What a turn of a few rows costs in the pipeline, as rows come live: 20 machines on 4 partitions. Needs no Kafka.

    python tests/bench/turns.py [--rows 20,50,200,1000] [--repetitions 5] [--detector pca|range-bands] [--worker-defaults]

Prints, for each number of rows that a turn has, CPU microseconds a row and milliseconds a turn; of them what reading messages and
the graph take. One-row JSON. The rows, the graph and the rule are those of the throughput job (38 channels, window 64, stride 8), or,
with `--detector range-bands`, the default detector at stride 1; `--worker-defaults` takes the default threshold and publishes scores.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import default_detector
import workload
from machines import timed
from messages import json_rows

from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

TOPIC = "wheeltapper.sensors"
MACHINES = 20
MOST_ROWS = 40_000
"""That are handled for each size of a turn."""
FEWEST_TURNS = 30
FAULT_EVERY = 500
"""Rows of a machine, as in the measurement of live rates."""
RULE = {
    "method": "fixed",
    "raise_level": workload.RAISE_LEVEL,
    "clear_ratio": workload.CLEAR_RATIO,
    "clear_duration_s": workload.CLEAR_DURATION * workload.STRIDE * workload.INTERVAL_US / 1e6,
}
WARM_UP = 0.3
"""Share of the turns that are not measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="20,50,200,1000", help="rows of a turn, with commas between")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--detector", choices=("pca", "range-bands"), default="pca")
    parser.add_argument(
        "--worker-defaults", action="store_true", help="the default threshold, and scores are published"
    )
    chosen = parser.parse_args()
    gc.set_threshold(100_000, 50, 1_000)  # as the worker does
    scoring = {"device": "cpu", "threads": 1, "publish_scores": chosen.worker_defaults}
    threshold = {} if chosen.worker_defaults else RULE
    settings = Settings.model_validate({"threshold": threshold, "drift": {"enabled": False}, "scoring": scoring})
    with tempfile.TemporaryDirectory() as folder:
        if chosen.detector == "pca":
            bundle = workload.write_bundle(workload.fit_detector(), Path(folder) / "bundle")
        else:
            bundle = default_detector.train(Path(folder) / "default")
        routes = load_routes([str(bundle)], settings)
        for rows in (int(number) for number in chosen.rows.split(",")):
            turns = turns_of(rows, max(FEWEST_TURNS, MOST_ROWS // rows))
            runs = [measure(turns, routes, settings) for _ in range(chosen.repetitions)]
            median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            print(f"{rows:5} rows a turn: " + ", ".join(f"{name} {value:.2f}" for name, value in median.items()))


def measure(turns: Sequence[Sequence[PartitionBatch]], routes: Routes, settings: Settings) -> dict[str, float]:
    """CPU us a row by stage, and CPU ms a turn."""
    gc.collect()
    pipeline = Pipeline(routes, settings)
    begin = round(WARM_UP * len(turns))
    for turn in turns[:begin]:
        pipeline.handle(turn, 0.0)
    stages = {"decode": 0.0}
    intake = pipeline._portions._intakes[TOPIC]  # nobody else asks for what reading alone takes
    intake.decode = timed(intake.decode, stages, "decode")  # type: ignore[method-assign]
    scored, rows = pipeline.scoring_seconds, pipeline.counters.rows
    begun = time.process_time()
    for turn in turns[begin:]:
        pipeline.handle(turn, 0.0)
    spent = time.process_time() - begun
    rows = pipeline.counters.rows - rows
    return {
        "us a row": 1e6 * spent / rows,
        "reading": 1e6 * stages["decode"] / rows,
        "graph": 1e6 * (pipeline.scoring_seconds - scored) / rows,
        "ms a turn": 1e3 * spent / (len(turns) - begin),
    }


def turns_of(rows: int, turns: int) -> list[list[PartitionBatch]]:
    """So many turns of so many rows each, machines in turn; a machine's rows are all on one partition."""
    each = -(-rows * turns // MACHINES)
    messages = json_rows(workload.make_workload(MACHINES, each, fault_every=FAULT_EVERY), each)
    found, offset = [], 0
    for _ in range(turns):
        batches: dict[int, PartitionBatch] = {}
        for _, (key, value, headers) in zip(range(rows), messages, strict=False):
            number = crc32(key) % workload.PARTITIONS
            batch = batches.setdefault(number, PartitionBatch(TOPIC, number))
            batch.offsets.append(offset)
            batch.keys.append(key)
            batch.values.append(value)
            batch.headers.append(headers or None)
            batch.timestamps_ms.append(-1)
            offset += 1
        found.append([*batches.values()])
    return found


if __name__ == "__main__":
    main()
