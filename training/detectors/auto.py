"""Which detector to train when nobody says: a list of rules, read from the top, the first that fits decides.

The rules use what is known before training: how many channels move and how much history there is. What they rest on are
measured comparisons (`wheeltapper compare`, docs/results.md); whoever changes a rule changes its reason with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from wheeltapper.models.range_bands.settings import RangeBandSettings
from wheeltapper.models.training_rows import moving_channels
from wheeltapper.training.datasets.registry import DATASETS, dataset_info
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.calibration import BLOCKS

# What stands in a detector's place on the command line.
AUTO = "auto"
ANY_KIND = "any"
# Up to so many channels there is little to compare a channel with, and the process is often one whose faults stay.
FEW_CHANNELS = 12
# Kinds whose channels obey one physics and whose faults last.
PLANTS = frozenset({"process plant", "water plant", "control system"})
COUPLED_CHANNELS = 12
# Its window is at most 64 rows, and every cross-fit needs twice that.
LEAST_ROWS_OF_KMEANS = 160
# Range bands with their default window need twice the window, in four fifths of the rows.
_WINDOW = RangeBandSettings().window
_ROWS_OF_DEFAULT_WINDOW = -(-2 * _WINDOW * BLOCKS // (BLOCKS - 1))
_SHORTEST_WINDOW = 6


@dataclass(frozen=True)
class SeriesFacts:
    """What the rules may look at.

    Attributes:
        channels: those that move in the train part; constant ones say nothing about a kind of data.
        train_rows: rows to learn from.
        sampling_interval_s: seconds between rows.
        kind: of data, where the data set is known ('servers', 'process plant', ..; see `wheeltapper.training.datasets.catalogue`).
    """

    channels: int
    train_rows: int
    sampling_interval_s: float
    kind: str = ANY_KIND

    @classmethod
    def of(cls, series: SensorSeries) -> SeriesFacts:
        moving = int(np.count_nonzero(moving_channels(series.train)))
        return cls(moving, len(series.train), float(series.sampling_interval_s), kind_of(series.dataset))


KINDS = tuple(sorted({ANY_KIND, *(dataset_info(name).kind for name in DATASETS)}))
"""Kinds of data that a person may name."""


def kind_of(dataset: str) -> str:
    """The kind of data of a data set by name; 'any' where nobody knows."""
    return dataset_info(dataset).kind if dataset in DATASETS else ANY_KIND


@dataclass(frozen=True)
class Choice:
    """
    Attributes:
        detector: a name of the registry.
        settings: as `--set` takes them.
        reason: one sentence for the person who asked.
    """

    detector: str
    settings: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def text(self) -> str:
        """'range-bands preset=sustained'."""
        return " ".join([self.detector, *(f"{key}={value}" for key, value in self.settings.items())])


@dataclass(frozen=True)
class Rule:
    """
    Attributes:
        applies: whether it fits.
        detector, settings: what it chooses; settings may depend on the facts.
        reason: why, after the facts in words.
    """

    applies: Callable[[SeriesFacts], bool]
    detector: str
    reason: str
    settings: Callable[[SeriesFacts], Mapping[str, str]] = lambda facts: {}


def _shorter_window(facts: SeriesFacts) -> Mapping[str, str]:
    """The longest window that the history allows, a third of it scored, as the default's."""
    window = max(_SHORTEST_WINDOW, facts.train_rows * (BLOCKS - 1) // BLOCKS // 2)
    return {"window": str(window), "scored_rows": str(max(1, window // 3))}


RULES: tuple[Rule, ...] = (
    Rule(
        lambda facts: (
            facts.kind == "water plant"
            and facts.channels >= COUPLED_CHANNELS
            and facts.train_rows >= _ROWS_OF_DEFAULT_WINDOW
        ),
        "log-mean",
        "the mean of log scores of range bands, PCA error and KMeansAD was ahead of each of them in comparison",
    ),
    Rule(
        lambda facts: facts.kind in PLANTS and facts.channels >= COUPLED_CHANNELS,
        "pca",
        "in a plant the channels are coupled by physics, faults break the coupling and stay, and PCA error found most of them "
        "in comparison",
    ),
    Rule(
        lambda facts: facts.train_rows < _ROWS_OF_DEFAULT_WINDOW and facts.train_rows >= LEAST_ROWS_OF_KMEANS,
        "kmeans-ad",
        f"too short for range bands and their window of {_WINDOW} rows; KMeansAD compares shorter ones",
    ),
    Rule(
        lambda facts: facts.train_rows < _ROWS_OF_DEFAULT_WINDOW,
        "range-bands",
        f"too short for the default window of {_WINDOW} rows, so range bands look at as many as the history allows",
        _shorter_window,
    ),
    Rule(
        lambda facts: facts.kind == "spacecraft telemetry",
        "log-mean",
        "one measured channel among commands: the mean of log scores of range bands, PCA error and KMeansAD was ahead of each of "
        "them in comparison",
    ),
    Rule(
        lambda facts: facts.channels <= 1,
        "kmeans-ad",
        "a fault of a single channel is more often a strange shape than a value out of range, and KMeansAD compares shapes",
    ),
    Rule(
        lambda facts: facts.channels < FEW_CHANNELS and facts.kind != "servers",
        "range-bands",
        f"with fewer than {FEW_CHANNELS} channels faults tend to last, so an excess counts on after it is no longer new",
        lambda facts: {"preset": "sustained"},
    ),
    Rule(
        lambda facts: True,
        "range-bands",
        "with many channels range bands found most faults in comparison, in seconds of training, and name the channel",
    ),
)


def choose(facts: SeriesFacts | SensorSeries, kind: str | None = None) -> Choice:
    """The detector for a series and its settings, by the first rule that fits.

    Args:
        kind: of data, where a person knows it better than the data set's name does.
    """
    if isinstance(facts, SensorSeries):
        facts = SeriesFacts.of(facts)
    if kind is not None:
        facts = replace(facts, kind=kind)
    rule = next(rule for rule in RULES if rule.applies(facts) and rule.detector in DETECTORS)
    channels = "1 channel that moves" if facts.channels == 1 else f"{facts.channels} channels that move"
    known = "" if facts.kind == ANY_KIND else f"{facts.kind}, "
    return Choice(
        rule.detector, rule.settings(facts), f"{known}{channels}, {facts.train_rows} rows to learn from: {rule.reason}"
    )
