"""Every detector that can be trained, behind one function: series in, fitted detector and held-out scores out.

A new detector joins by one entry in `DETECTORS` and a function `train(series, options)`; its module is imported only
when it is asked for, so that range bands and PCA need neither torch nor anything else of the training extra.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.labels import LabelledWindows


@dataclass(frozen=True)
class TrainOptions:
    """What every detector may be told; each takes what it has a use for.

    Attributes:
        seed: of everything random.
        epochs: at most that many, for trained networks; None is the detector's own default.
        stride: rows between scored windows in the stream; held-out windows are scored as far apart.
        window: W, rows; None is the detector's own default.
        device: 'cpu', 'cuda' or 'auto', for trained networks.
        threads: onnxruntime's, for scoring held-out windows.
        checkpoint_folder: where an interrupted training goes on from; None starts anew each time.
        progress: show what is going on.
        settings: the detector's own, as text.
        budget_s: seconds that training may take; a detector that is cut says so in its parameters as `cut_by_budget`.
        labelled: windows that a person judged, for detectors that learn from labels.
        related: other series, read on demand, for detectors that learn from other machines: data set's own name of an
            entity to its series.
    """

    seed: int = 0
    epochs: int | None = None
    stride: int = 1
    window: int | None = None
    device: str = "auto"
    threads: int = 1
    checkpoint_folder: Path | None = None
    progress: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    budget_s: float | None = None
    labelled: LabelledWindows | None = None
    related: Callable[[str], SensorSeries] | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a number outside of its range.
        """
        for name, least in (("epochs", 1), ("stride", 1), ("window", 1), ("threads", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}, expected {least} or more")
        if self.budget_s is not None and not self.budget_s > 0:
            raise InputError(f"budget is {self.budget_s} s, expected above 0")


Train = Callable[[SensorSeries, TrainOptions], tuple[FittedDetector, CalibrationScores]]


@dataclass(frozen=True)
class Detector:
    """An entry of the registry.

    Attributes:
        summary: one line for help texts.
        train: 'module:function', imported on use.
        has_epochs: False for detectors that are fitted in one pass.
        extra: the pip extra that it needs.
        seeded: False where the seed changes nothing, so that one run says all.
        learns_from_labels: True where `TrainOptions.labelled` makes a difference.
    """

    summary: str
    train: str
    has_epochs: bool = False
    extra: str = "fit"
    seeded: bool = True
    learns_from_labels: bool = False


DETECTORS = {
    "range-bands": Detector(
        "range bands, the default: fitted in seconds, explains itself",
        "wheeltapper.training.detectors.range_bands.train:train_range_bands",
        seeded=False,
    ),
    "pca": Detector(
        "PCA reconstruction error: the floor that others have to beat",
        "wheeltapper.training.detectors.pca.train:train_pca",
        seeded=False,
    ),
    "l2-norm": Detector(
        "L2 norm of the standardised row: what does not beat it has learnt nothing",
        "wheeltapper.training.detectors.l2_norm.train:train_l2_norm",
        seeded=False,
    ),
    "kmeans-ad": Detector(
        "KMeansAD: distance to the nearest typical window",
        "wheeltapper.training.detectors.kmeans_ad.train:train_kmeans_ad",
    ),
    "isolation-forest": Detector(
        "isolation forest: how few random cuts set the row apart",
        "wheeltapper.training.detectors.isolation_forest.train:train_isolation_forest",
    ),
    "paano": Detector(
        "PaAno: distance of a patch's embedding to a memory of normal ones",
        "wheeltapper.training.detectors.paano.train:train_paano",
        has_epochs=True,
        extra="training",
    ),
    "alora": Detector(
        "ALoRa, a low-rank attention transformer",
        "wheeltapper.training.detectors.alora.train:train_alora",
        has_epochs=True,
        extra="training",
    ),
    "vae-lstm": Detector(
        "VAE-LSTM: codes of short windows, predicted from the codes before",
        "wheeltapper.training.detectors.vae_lstm.train:train_vae_lstm",
        has_epochs=True,
        extra="training",
    ),
    "rl-vae": Detector(
        "RL-VAE: a VAE of normal windows, and a Q-network that learns from few labels",
        "wheeltapper.training.detectors.rl_vae.train:train_rl_vae",
        has_epochs=True,
        extra="training",
        learns_from_labels=True,
    ),
    "domain-adaptation": Detector(
        "DANN, MMD or CORAL: what other machines, or disturbances, teach about this one",
        "wheeltapper.training.detectors.domain_adaptation.train:train_domain_adaptation",
        has_epochs=True,
        extra="training",
        learns_from_labels=True,
    ),
}


def train_detector(
    name: str, series: SensorSeries, options: TrainOptions | None = None
) -> tuple[FittedDetector, CalibrationScores]:
    """Train a detector on a series' train part.

    Raises:
        InputError: no such detector or setting, a library that is not installed, or a train part that it cannot use.
    """
    entry = detector_entry(name)
    module, _, function = entry.train.partition(":")
    try:
        train = cast(Train, getattr(importlib.import_module(module), function))
        return train(series, options or TrainOptions())
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("models", "training", "schemas"):
            raise
        raise InputError(
            f"{name} needs {error.name}, which is not installed: pip install 'wheeltapper[{entry.extra}]'"
        ) from error


def detector_entry(name: str) -> Detector:
    """
    Raises:
        InputError: no such detector.
    """
    if name not in DETECTORS:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), DETECTORS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(f"no detector '{name}'; expected one of {', '.join(DETECTORS)}{hint}")
    return DETECTORS[name]
