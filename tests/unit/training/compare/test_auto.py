"""Which detector is trained when nobody says, and that every choice can be trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.training.detectors.auto import RULES, SeriesFacts, choose
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.options import TrainOptions

MANY = SeriesFacts(channels=38, train_rows=20_000, sampling_interval_s=60.0)


@pytest.mark.parametrize(
    ("facts", "detector", "settings"),
    [
        (MANY, "range-bands", {}),
        (replace(MANY, channels=8), "range-bands", {"preset": "sustained"}),
        (replace(MANY, channels=1), "kmeans-ad", {}),
        (replace(MANY, channels=1, kind="cloud services"), "kmeans-ad", {}),
        (replace(MANY, channels=1, kind="spacecraft telemetry"), "log-mean", {}),
        (replace(MANY, channels=8, kind="spacecraft telemetry"), "log-mean", {}),
        (replace(MANY, channels=8, kind="spacecraft telemetry", train_rows=300), "kmeans-ad", {}),
        (replace(MANY, kind="water plant"), "log-mean", {}),
        (replace(MANY, channels=8, kind="servers"), "range-bands", {}),
        (replace(MANY, kind="process plant"), "pca", {}),
        (replace(MANY, kind="water plant", train_rows=300), "pca", {}),
        (replace(MANY, kind="water plant", channels=3), "range-bands", {"preset": "sustained"}),
        (replace(MANY, train_rows=300), "kmeans-ad", {}),
        (replace(MANY, train_rows=150), "range-bands", {"window": "60", "scored_rows": "20"}),
    ],
)
def test_the_kind_of_data_decides(facts: SeriesFacts, detector: str, settings: dict[str, str]) -> None:
    choice = choose(facts)
    assert (choice.detector, dict(choice.settings)) == (detector, settings)
    assert f"{facts.channels} channel" in choice.reason
    assert choice.reason.startswith(facts.kind) == (facts.kind != "any")
    assert str(facts.train_rows) in choice.reason


def test_every_rule_names_a_detector_and_a_reason() -> None:
    assert all(rule.detector in DETECTORS and rule.reason for rule in RULES)


def test_the_last_rule_fits_everything() -> None:
    assert RULES[-1].applies(SeriesFacts(0, 0, 0.0))


def test_constant_channels_do_not_count() -> None:
    rows = normal_rows(2000, 20)
    rows[:, 1:] = 4.0
    assert SeriesFacts.of(make_series(rows)) == SeriesFacts(1, 2000, 60.0)
    assert choose(make_series(rows)).detector == "kmeans-ad"


@pytest.mark.parametrize("rows", [60, 160, 480])
def test_what_is_chosen_for_little_history_can_be_trained(rows: int) -> None:
    series = make_series(np.abs(normal_rows(rows, 3)))
    choice = choose(series)
    fitted, scores = train_detector(choice.detector, series, TrainOptions(settings=choice.settings))
    assert fitted.detector == choice.detector
    assert len(scores.score) > 0


def test_a_person_may_know_the_kind_better_than_the_name_does() -> None:
    series = make_series(normal_rows(2000, 20))
    assert choose(series).detector == "range-bands"
    assert choose(series, "process plant").detector == "pca"
