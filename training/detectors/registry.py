"""Every detector that can be trained, behind one function: series in, fitted detector and held-out scores out.

A detector is a folder `training/detectors/<d>/` with a `spec.py` that holds `SPEC`; whatever folders there are, are found. What
trains a detector is imported only when it is asked for, so that range bands and PCA need neither torch nor anything else of the
training extra.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, overload

import wheeltapper.training.detectors as folders
from wheeltapper.models.fitted import FittedDetector, FittedSound
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec


def find_detectors() -> dict[str, DetectorSpec[Any]]:
    """Name to spec of every folder beside this file: those of rows, then those of sound, of each kind the default first.

    Raises:
        TypeError: a spec whose name is not that of its folder: the tables would point nowhere.
    """
    found = []
    for module in pkgutil.iter_modules(folders.__path__):
        if not module.ispkg:
            continue
        spec: DetectorSpec[Any] = importlib.import_module(f"{folders.__name__}.{module.name}.spec").SPEC
        if spec.folder != module.name:
            raise TypeError(
                f"training/detectors/{module.name}/spec.py: the name is '{spec.name}', expected the folder's"
            )
        found.append(spec)
    return {spec.name: spec for spec in sorted(found, key=lambda spec: (spec.kind != "sensors", spec.rank, spec.name))}


DETECTORS = find_detectors()


def detectors_of(kind: str) -> dict[str, DetectorSpec[Any]]:
    """Those of `DETECTORS` that take this kind of input: 'sensors' or 'audio'."""
    return {name: spec for name, spec in DETECTORS.items() if spec.kind == kind}


@overload
def train_detector(
    name: str, series: SensorSeries, options: TrainOptions | None = None
) -> tuple[FittedDetector, CalibrationScores]: ...


@overload
def train_detector(
    name: str, series: SoundSeries, options: TrainOptions | None = None
) -> tuple[FittedSound, CalibrationScores]: ...


def train_detector(
    name: str, series: SensorSeries | SoundSeries, options: TrainOptions | None = None
) -> tuple[FittedDetector | FittedSound, CalibrationScores]:
    """Train a detector on a series' train part.

    Raises:
        InputError: no such detector or setting, one of another kind of input than the series, a library that is not installed, or
            a train part that it cannot use.
    """
    spec = detector_entry(name)
    kind = "audio" if isinstance(series, SoundSeries) else "sensors"
    if spec.kind != kind:
        takes = "sound" if spec.kind == "audio" else "rows of sensors"
        holds = "sound" if kind == "audio" else "rows of sensors"
        raise InputError(
            f"{name} takes {takes}, {series.dataset} {series.entity} holds {holds}; choose one of "
            f"{', '.join(detectors_of(kind)) or 'none'}"
        )
    try:
        return spec.load_train()(series, options or TrainOptions())
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "wheeltapper":
            raise
        raise InputError(
            f"{name} needs {error.name}, which is not installed: pip install 'wheeltapper[{spec.extra}]'"
        ) from error


def detector_entry(name: str) -> DetectorSpec[Any]:
    """
    Raises:
        InputError: no such detector.
    """
    if name not in DETECTORS:
        raise InputError(
            f"no detector '{name}'; expected one of {', '.join(DETECTORS)}{did_you_mean(name, ('auto', *DETECTORS))}"
        )
    return DETECTORS[name]
