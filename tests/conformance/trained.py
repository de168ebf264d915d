"""Every detector fitted once to each kind of machine, for all tests of the battery.

A network's export takes longer than its training here. So one machine serves several tests, and a network is exported on the usual
machine, where graph and torch are proven to agree, and for bundles; on other machines the network itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.models.fitted import FittedDetector, WindowScorer
from wheeltapper.schemas.bundle import Graph
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions

CHANNELS = 9
ROWS = 2000


@dataclass(frozen=True)
class Trained:
    """A fitted detector, what it was fitted to, its held-out scores and what scores windows by it.

    Attributes:
        exported: True where that is its ONNX graph, False where it is the network itself.
    """

    series: SensorSeries
    fitted: FittedDetector
    scores: CalibrationScores
    exported: bool = True

    @cached_property
    def model(self) -> bytes:
        """Its graph, .onnx bytes."""
        return self.fitted.onnx_bytes()

    def graph(self) -> WindowScorer:
        """What scores windows."""
        if self.exported:
            return Graph(self.model, device="cpu")
        from wheeltapper.training.fitting.torch_detector import TorchDetector, TorchScorer

        assert isinstance(self.fitted, TorchDetector)
        return TorchScorer(self.fitted)

    def outcome(self) -> dict[str, bytes]:
        """What another fit must share to be the same detector: weights and constants of a network, else the graph."""
        if not is_network(self.fitted.detector):
            return {"model": self.model}
        from wheeltapper.training.fitting.torch_detector import TorchDetector

        assert isinstance(self.fitted, TorchDetector)
        return {name: value.numpy().tobytes() for name, value in self.fitted.graph.state_dict().items()}


def is_network(name: str) -> bool:
    """True for detectors that torch trains."""
    return DETECTORS[name].extra == "training"


def usual_machine(channels: int = CHANNELS) -> SensorSeries:
    """Nothing special; fewer rows where there are very many channels."""
    return make_series(normal_rows(ROWS if channels < 100 else 600, channels, seed=channels))


def rough_machine() -> SensorSeries:
    """The last channel never moves; one is missing for an hour, another one at the beginning."""
    rows = normal_rows(ROWS, CHANNELS, seed=CHANNELS)
    rows[:, -1] = 5.0
    rows[200:260, 3] = np.nan
    rows[:10, 5] = np.nan
    return make_series(rows)


def published_machine() -> SensorSeries:
    """Scaled by its publisher, with statistics of rows that nobody here has."""
    rows = normal_rows(ROWS, CHANNELS, seed=CHANNELS)
    return make_series((rows - 1.1 * rows.mean(axis=0)) / (0.9 * rows.std(axis=0)))


MACHINES: dict[str, Callable[[], SensorSeries]] = {
    "usual": usual_machine,
    "rough": rough_machine,
    "published": published_machine,
    "1 channel": lambda: usual_machine(1),
    "2 channels": lambda: usual_machine(2),
    "5 channels": lambda: usual_machine(5),
    "6 channels": lambda: usual_machine(6),
    "120 channels": lambda: usual_machine(120),
    "500 channels": lambda: usual_machine(500),
}

_trained: dict[tuple[str, str], Trained] = {}


def trained(name: str, machine: str = "usual", options: TrainOptions | None = None) -> Trained:
    """The detector on that machine, fitted at the first call; options are those of its spec where none are given."""
    if (name, machine) not in _trained:
        _trained[name, machine] = fit(
            name, options or DETECTORS[name].battery, _series(machine), exported=machine == "usual"
        )
    return _trained[name, machine]


def fit(name: str, options: TrainOptions, series: SensorSeries, *, exported: bool = True) -> Trained:
    """A new fit, with one thread so that it gives the same wherever it runs."""
    network = is_network(name)
    by = "graph" if exported or not network else "torch"
    with one_thread_of_torch() if network else threadpool_limits(1):
        fitted, scores = train_detector(name, series, replace(options, device="cpu", held_out_by=by))
    return Trained(series, fitted, scores, exported=exported or not network)


@cache
def _series(machine: str) -> SensorSeries:
    return MACHINES[machine]()


@contextmanager
def one_thread_of_torch() -> Iterator[None]:
    """With several, sums come in another order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
