"""Every detector fitted once to each kind of machine, for all tests of the battery.

A network's export takes longer than its training here. So one machine serves several tests, and a network that comes out
the same to the last bit is not exported again.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_limits

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.bundle import Graph
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import DETECTORS, TrainOptions, train_detector
from wheeltapper.training.fitting.calibration import CalibrationScores

CHANNELS = 9
ROWS = 2000


@dataclass(frozen=True)
class Trained:
    """A fitted detector, what it was fitted to, its held-out scores and its graph."""

    series: SensorSeries
    fitted: FittedDetector
    scores: CalibrationScores
    model: bytes

    def graph(self) -> Graph:
        return Graph(self.model, device="cpu")


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
    "500 channels": lambda: usual_machine(500),
}

_trained: dict[tuple[str, str], Trained] = {}


def trained(name: str, options: TrainOptions, machine: str = "usual") -> Trained:
    """The detector on that machine, fitted at the first call."""
    if (name, machine) not in _trained:
        _trained[name, machine] = fit(name, options, _series(machine))
    return _trained[name, machine]


def fit(name: str, options: TrainOptions, series: SensorSeries) -> Trained:
    """A new fit, with one thread so that it gives the same wherever it runs."""
    with _one_export_of_equal_networks() if is_network(name) else threadpool_limits(1):
        fitted, scores = train_detector(name, series, replace(options, device="cpu"))
        return Trained(series, fitted, scores, fitted.onnx_bytes())


@cache
def _series(machine: str) -> SensorSeries:
    return MACHINES[machine]()


_exports: dict[str, tuple[bytes, dict[str, float] | None]] = {}


@contextmanager
def _one_export_of_equal_networks() -> Iterator[None]:
    """Equal means: the same TorchScript, which holds weights and constants."""
    import torch

    from wheeltapper.training.fitting.torch_detector import TorchDetector

    export = TorchDetector.onnx_bytes

    def onnx_bytes(detector: TorchDetector) -> bytes:
        if detector._onnx is None:
            key = _fingerprint(detector.torchscript_bytes() or b"")
            if key not in _exports:
                _exports[key] = (export(detector), detector.parity)
            detector._onnx, detector.parity = _exports[key]
        return export(detector)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with mock.patch.object(TorchDetector, "onnx_bytes", onnx_bytes):
            yield
    finally:
        torch.set_num_threads(threads)


def _fingerprint(torchscript: bytes) -> str:
    """Of code, weights and constants, without the numbers that torch gives to classes of one name."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(BytesIO(torchscript)) as archive:
        for entry in archive.infolist():
            if "/code/" in entry.filename or "/constants/" in entry.filename or "/data/" in entry.filename:
                digest.update(re.sub(rb"\.?___torch_mangle_\d+", b"", archive.read(entry)))
    return digest.hexdigest()
