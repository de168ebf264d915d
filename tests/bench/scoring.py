"""What is left of a bare, batched `session.run` loop once scoring goes through the project. Needs no Kafka.

The same windows in the same process, in turns; CPU time of the process; medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from workload import Detector

from schemas.bundle import Graph

BATCH = 512  # windows in one session.run of the bare loop
WINDOWS = 16 * BATCH


def measure_scoring(detector: Detector, *, repetitions: int) -> dict[str, Any]:
    """Windows per CPU-second of both ways, and the share that is kept, in batches as a worker sees them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(detector.graph, sess_options=options, providers=["CPUExecutionProvider"])
    graph = Graph(detector.graph, device="cpu")
    graph.warm_up()
    pool = detector.normal_windows
    windows = np.ascontiguousarray(pool[np.arange(WINDOWS) % len(pool)])

    def bare() -> None:
        for start in range(0, WINDOWS, BATCH):
            session.run(["score", "contribution"], {"window": windows[start : start + BATCH]})

    def through(batch: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, WINDOWS, batch):
                graph.run(windows[start : start + batch])

        return run

    # 2,000 and 300: no multiples of the padded sizes, as batches of a worker seldom are.
    ways = {"bare": bare, **{f"graph-{batch}": through(batch) for batch in (WINDOWS, 2_000, BATCH, 300)}}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)
    speed = {name: WINDOWS / statistics.median(taken) for name, taken in seconds.items()}
    return {
        "windows_per_cpu_s": {name: round(value) for name, value in speed.items()},
        "kept": {name: round(value / speed["bare"], 3) for name, value in speed.items() if name != "bare"},
    }
