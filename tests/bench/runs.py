"""Rows per CPU-second of range bands, the default detector, through the worker's pipeline. Needs no Kafka.

    python tests/bench/runs.py                        rows due a machine 1, 8, 64; strides 1 and 8; JSON and Arrow
    python tests/bench/runs.py --machines 1 --due 64  one of them
    python tests/bench/runs.py --scorer               the scorer alone, against a bare loop of `session.run` over the same runs

The pipeline is handed the messages that a Kafka client would hand it; what the client costs comes on top. To compare two
versions, run it with `PYTHONPATH` at each checkout in turn, several times: the machine's other work shows in all of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import structlog
from messages import arrow_blocks, json_rows
from workload import CHANNEL_NAMES, CHANNELS, INTERVAL_US, Workload, make_workload

from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.bundle.store import MODEL
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring import BatchScorer
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings, WindowSettings
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions

TRAIN_ROWS = 6_000
WARM_ROWS = 512
"""Of each machine, before time is taken: windows are full, and the first alert has read what it needs of the bundle."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machines", type=int, default=10)
    parser.add_argument("--rows", type=int, default=20_000, help="in all, of each measurement")
    parser.add_argument("--due", type=int, nargs="+", default=[1, 8, 64], help="rows of a machine that come at a time")
    parser.add_argument("--strides", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--encodings", nargs="+", choices=("json", "arrow"), default=["json", "arrow"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scorer", action="store_true", help="measure the scorer alone")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as folder:
        bundle = trained_bundle(Path(folder) / "bundle")
        if chosen.scorer:
            share_of_bare(bundle, chosen.machines, max(5, chosen.repetitions))
            return
        print("| encoding | stride | rows due | rows per CPU-s | us a row |\n|---|---|---|---|---|")
        for encoding in chosen.encodings:
            for stride in chosen.strides:
                for due in chosen.due:
                    rates = [
                        rows_per_cpu_s(bundle, encoding, stride, due, chosen.machines, chosen.rows)
                        for _ in range(chosen.repetitions)
                    ]
                    rate = statistics.median(rates)
                    print(f"| {encoding} | {stride} | {due} | {rate:,.0f} | {1e6 / rate:.1f} |", flush=True)


def trained_bundle(path: Path) -> Path:
    """`train range-bands` with its defaults, on rows of the workload."""
    rows = make_workload(1, TRAIN_ROWS, fault_every=10**9, seed=3)
    series = SensorSeries(
        dataset="bench",
        entity="bench",
        channels=CHANNEL_NAMES,
        units=("",) * CHANNELS,
        sampling_interval_s=INTERVAL_US / 1e6,
        train=rows.values[0],
        train_ts=rows.ts,
        test=rows.values[0, :0],
        test_ts=rows.ts[:0],
        test_labels=None,
    )
    options = TrainOptions()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted, scores = train_detector("range-bands", series, options)
        return write_bundle(fitted, series, path, scores=scores, torchscript=False).location


def rows_per_cpu_s(bundle: Path, encoding: str, stride: int, due: int, machines: int, rows: int) -> float:
    """Of one pipeline; each call hands it `due` rows of every machine."""
    settings = Settings(windows=WindowSettings(stride=stride))
    pipeline = Pipeline(load_routes([str(bundle)], settings), settings)
    turns = max(2, -(-rows // (machines * due)))
    each = WARM_ROWS + turns * due
    workload = make_workload(machines, each, fault_every=1_500)
    calls = [_batch(part, encoding, due) for part in _parts(workload, [(0, WARM_ROWS)])]
    calls += [
        _batch(part, encoding, due)
        for part in _parts(workload, [(start, start + due) for start in range(WARM_ROWS, each, due)])
    ]
    offset = 0
    for call in calls:
        call.offsets += range(offset, offset + len(call.values))
        offset += len(call.values)
    pipeline.handle(calls[:1], now=0.0)
    pipeline.handle(calls[1:2], now=0.0)
    began = time.process_time()
    for call in calls[2:]:
        pipeline.handle([call], now=0.0)
    return (turns - 1) * due * machines / (time.process_time() - began)


def share_of_bare(location: Path, machines: int, repetitions: int) -> None:
    """CPU time of a bare loop over batches of runs, and of the worker's scorer that is given the same rows."""
    bundle = open_bundle(location)
    graph = bundle.open_graph(device="cpu")
    rule = RuleSpec("bench", bundle, graph, 1)
    scorer = BatchScorer(rule)
    length, window = graph.longest_run, graph.window
    rows = make_workload(machines, window - 1 + length, fault_every=10**6).values
    starts, counts = np.arange(machines) * rows.shape[1], np.full(machines, length)
    names = [str(number) for number in range(machines)]
    together = np.ascontiguousarray(rows).reshape(-1, rows.shape[2])
    most = graph.most_runs(length)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        bundle.files[MODEL], sess_options=options, providers=["CPUExecutionProvider"]
    )

    def bare() -> None:
        for start in range(0, machines, most):
            session.run(None, {"window": np.stack(list(rows[start : start + most]))})

    def worker() -> None:
        scorer.add_rows(together, starts, counts, names)
        scorer.finish()

    seconds: dict[str, list[float]] = {"bare": [], "worker": []}
    for _ in range(repetitions):
        for name, way in (("bare", bare), ("worker", worker)):
            began = time.process_time()
            for _ in range(40):
                way()
            seconds[name].append((time.process_time() - began) / (40 * machines * length))
    for name, taken in seconds.items():
        best = statistics.median(taken)
        share = statistics.median(seconds["bare"]) / best
        print(f"{name}: {1e6 * best:.2f} us a window, {share:.1%} of the bare loop")


def _parts(workload: Workload, spans: list[tuple[int, int]]) -> list[Workload]:
    return [
        Workload(workload.machines, np.ascontiguousarray(workload.values[:, start:stop]), workload.ts[start:stop])
        for start, stop in spans
    ]


def _batch(part: Workload, encoding: str, due: int) -> PartitionBatch:
    rows = len(part.ts)
    messages = json_rows(part, rows) if encoding == "json" else arrow_blocks(part, rows, due)
    batch = PartitionBatch("wheeltapper.sensors", 0)
    for key, value, headers in messages:
        batch.keys.append(key)
        batch.values.append(value)
        batch.headers.append(headers or None)
        batch.timestamps_ms.append(-1)
    return batch


if __name__ == "__main__":
    main()
