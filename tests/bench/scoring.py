"""What is left of a bare, batched `session.run` loop once scoring goes through the worker's scorer. Needs no Kafka.

The same windows in the same process, in turns; CPU time of the process; medians. Windows are views of a machine's rows,
as in the worker, so every way has to copy them together; `ready` shows the loop over batches that were made before.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from workload import STRIDE, WINDOW, Detector, make_workload, write_bundle

from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring import BatchScorer

WINDOWS = 8_192
BARE_BATCHES = (64, 512)  # windows in one session.run; the faster one is the measure
# Windows that the worker's scorer is given before it must answer: 625 are 5,000 rows, the most it takes at a time; 31 are
# what comes in 50 ms at 5,000 rows/s.
ASKED = (2_000, 625, 100, 31)


def measure_scoring(detector: Detector, *, repetitions: int) -> dict[str, Any]:
    """Windows per CPU-second of every way, and the share of the bare loop that the worker's scorer keeps."""
    rows = make_workload(1, WINDOW + STRIDE * (WINDOWS - 1), fault_every=10_000).values[0]
    views = np.lib.stride_tricks.sliding_window_view(rows, WINDOW, axis=0)[::STRIDE].transpose(0, 2, 1)
    ready = np.ascontiguousarray(views)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(detector.graph, sess_options=options, providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(write_bundle(detector, Path(folder) / "bundle"))
    graph = bundle.open_graph(device="cpu")
    graph.warm_up()
    scorer = BatchScorer(RuleSpec("bench", bundle, graph, STRIDE))

    def bare(source: np.ndarray, batch: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, WINDOWS, batch):
                windows = np.ascontiguousarray(source[start : start + batch])
                session.run(["score", "contribution"], {"window": windows})

        return run

    def worker(asked: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, WINDOWS, asked):
                scorer.add(views[start : start + asked])
                scorer.finish()

        return run

    ways = {f"bare, {batch} at a time": bare(views, batch) for batch in BARE_BATCHES}
    ways |= {f"bare, {batch} at a time, ready": bare(ready, batch) for batch in BARE_BATCHES}
    ways |= {f"worker, {asked} due": worker(asked) for asked in ASKED}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)
    speed = {name: WINDOWS / statistics.median(taken) for name, taken in seconds.items()}
    best = max(speed[f"bare, {batch} at a time"] for batch in BARE_BATCHES)
    return {
        "windows_per_cpu_s": {name: round(value) for name, value in speed.items()},
        "of_bare": {name: round(value / best, 3) for name, value in speed.items()},
        "promised": 0.95,
    }
