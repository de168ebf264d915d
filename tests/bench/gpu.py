"""Windows per second of each detector's graph, by device and batch. Prints one table; needs no Kafka.

    python tests/bench/gpu.py                                      every detector on the CPU, and on the GPU where there is one
    python tests/bench/gpu.py --only range-bands,alora:preset=paper --batches 1,512
    python tests/bench/gpu.py --threads 0                          all cores for the CPU

Detectors are fitted to a short simulated machine for one epoch: what a graph costs does not depend on how well it was trained. Windows are
copied to the device and scores back, as in a worker. `first` is the first batch of a size, for which a GPU searches its kernels; a worker does
that when it starts, for the sizes that it pads to. `off` is the largest difference from the CPU's scores, as a share of their range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from wheeltapper.schemas.bundle import Graph
from wheeltapper.schemas.bundle.graph import BATCH_SIZES
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.sound.simulated import make_series
from wheeltapper.training.detectors.registry import DETECTORS, detector_entry, train_detector
from wheeltapper.training.fitting.options import TrainOptions

ROWS = 1_500
MEASURED_S = 0.5
FEWEST_RUNS = 5
# Of a network that has it, as the others take minutes to export where there is no GPU; --only names others.
QUICK = "small"
# What a detector does not start without.
NEEDED = {"iso-20816": ":unit=g"}


@dataclass(frozen=True)
class Measured:
    """One batch size on one device; seconds of wall-clock time."""

    batch: int
    first_s: float
    median_s: float
    score: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    usual = [
        name + (f":preset={QUICK}" if QUICK in spec.preset_names else "") + NEEDED.get(name, "")
        for name, spec in DETECTORS.items()
    ]
    parser.add_argument(
        "--only",
        default=",".join(usual),
        metavar="NAMES",
        help="detectors, with settings as in alora:preset=paper, separated by commas",
    )
    parser.add_argument("--batches", default=",".join(map(str, BATCH_SIZES)), metavar="N,..", help="windows at a time")
    parser.add_argument("--threads", type=int, default=1, help="onnxruntime's threads on the CPU; 0: all cores")
    arguments = parser.parse_args()
    batches = sorted(int(word) for word in arguments.batches.split(","))
    missing: str | None = None
    print("| detector | window | device | batch | windows/s | ms a batch | first, ms | off |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for words in arguments.only.split(","):
        try:
            model = _fit(words)
        except InputError as error:
            print(f"{words} is left out: {error}", file=sys.stderr)
            continue
        cpu = Graph(model, name=words, device="cpu", threads=arguments.threads, batch_sizes=batches)
        normal = list(_measure(cpu, batches))
        _print(words, cpu, normal, normal)
        try:
            cuda = Graph(model, name=words, device="cuda", batch_sizes=batches)
        except InputError as error:
            missing = missing or str(error)
            continue
        _print(words, cuda, _measure(cuda, batches), normal)
    if missing is not None:
        print(f"\nno GPU was measured: {missing}")
    return 0


def _fit(words: str) -> bytes:
    """The .onnx bytes of a detector, `NAME[:KEY=VALUE[:..]]`, that knows next to nothing.

    Raises:
        InputError: no such detector or setting, or a library that is missing.
    """
    name, *settings = words.split(":")
    options = TrainOptions(epochs=1, settings=dict(word.split("=", 1) for word in settings))
    if detector_entry(name).kind == "audio":
        sound = make_series("fan-1", train_recordings=8, test_recordings=0, clip_s=2.0)
        return train_detector(name, sound, options)[0].onnx_bytes()
    series = load_series("simulated", entity="pump-1")
    short = replace(series, train=series.train[:ROWS], train_ts=series.train_ts[:ROWS])
    return train_detector(name, short, options)[0].onnx_bytes()


def _measure(graph: Graph, batches: list[int]) -> Iterator[Measured]:
    for batch in batches:
        random = np.random.default_rng(batch)
        windows = random.normal(10.0, 2.0, size=(batch, *graph.sample_shape)).astype(np.float32)
        attributes = np.zeros((batch, graph.attribute_width), dtype=np.float32) if graph.attribute_width else None
        began = time.perf_counter()
        score = graph.run(windows, attributes).score
        first_s = time.perf_counter() - began
        taken: list[float] = []
        until = time.perf_counter() + MEASURED_S
        while len(taken) < FEWEST_RUNS or time.perf_counter() < until:
            began = time.perf_counter()
            graph.run(windows, attributes)
            taken.append(time.perf_counter() - began)
        yield Measured(batch, first_s, statistics.median(taken), score)


def _print(words: str, graph: Graph, found: Iterator[Measured] | list[Measured], normal: list[Measured]) -> None:
    shape = " x ".join(map(str, graph.sample_shape))
    for each, cpu in zip(found, normal, strict=True):
        off = np.max(np.abs(each.score - cpu.score)) / max(1e-12, float(np.max(np.abs(cpu.score))))
        print(
            f"| {words} | {shape} | {graph.device} | {each.batch} | {each.batch / each.median_s:,.0f} | {1e3 * each.median_s:.2f} | "
            f"{1e3 * each.first_s:.1f} | {off:.1g} |",
            flush=True,
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
