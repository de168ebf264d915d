"""Domain adaptation as a detector of the registry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.domain_adaptation import train as module
from wheeltapper.training.detectors.domain_adaptation.train import (
    _from_its_past,
    _from_machines,
    _with_labelled,
    chosen_settings,
    labelled_windows,
)
from wheeltapper.training.fitting.labels import LabelledWindows
from wheeltapper.training.fitting.options import ExtraData, TrainOptions
from wheeltapper.training.fitting.prepared import prepare

OPTIONS = TrainOptions(window=16)


def labelled_machine(seed: int = 1, channels: int = 4) -> SensorSeries:
    rows = normal_rows(900, channels, seed=seed)
    series = make_series(rows[:500], rows[500:], entity=f"machine-{seed}")
    labels = np.zeros(400, dtype=np.uint8)
    labels[200:230] = 1
    return replace(series, test_labels=labels)


def test_without_sources_its_own_past_is_disturbed_and_said_to_be() -> None:
    series = labelled_machine()
    config = chosen_settings(OPTIONS)
    problem = _from_its_past(prepare(series, window=16), config, seed=0)
    source, target = problem.sources[0], problem.target
    assert source.anomalous_share == pytest.approx(0.5, abs=0.01)
    assert (target.labels == -1).all()
    # no row is in both domains
    assert target.order.min() - source.order.max() >= 16
    assert "knows no real fault" in problem.warnings[0]


def test_sources_are_labelled_test_parts_of_other_machines() -> None:
    machines = {f"machine-{seed}": labelled_machine(seed) for seed in (2, 3)}
    options = replace(OPTIONS, extra_data=ExtraData(related=machines.__getitem__))
    config = chosen_settings(options)
    series = labelled_machine()
    problem = _from_machines(prepare(series, window=16), config, options, list(machines))
    assert [source.name for source in problem.sources] == ["made machine-2", "made machine-3"]
    assert all(0 < source.anomalous_share < 0.5 for source in problem.sources)
    # each is scaled by its own train part, and the target, unlabelled, by its own
    np.testing.assert_allclose(problem.scalers[0][1].mean, machines["machine-3"].train.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(problem.scalers[1].mean, series.train.mean(axis=0), rtol=1e-3)
    assert (problem.target.labels == -1).all()


def test_the_target_s_own_test_labels_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def watched(series: SensorSeries, config: object) -> object:
        asked.append(series.entity)
        return labelled_windows(series, config)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "labelled_windows", watched)
    options = replace(OPTIONS, extra_data=ExtraData(related=lambda name: labelled_machine(2)))
    _from_machines(prepare(labelled_machine(1), window=16), chosen_settings(options), options, ["machine-2"])
    assert asked == ["machine-2"]


def test_operators_labels_join_the_target() -> None:
    series = labelled_machine()
    problem = _from_its_past(prepare(series, window=16), chosen_settings(OPTIONS), seed=0)
    judged = LabelledWindows(
        np.zeros((3, 16, 4), np.float32), np.array([0, 1, 1], np.uint8), np.arange(3, dtype=np.int64)
    )
    options = replace(OPTIONS, extra_data=ExtraData(labelled=judged))
    joined = _with_labelled(problem, chosen_settings(options), options)
    assert len(joined.target) == len(problem.target) + 3
    assert joined.target_labels is not None
    assert joined.target_labels[-3:].tolist() == [0, 1, 1]
    assert (joined.target_labels[:-3] == -1).all()
    # a method that learns nothing from them says so
    told = replace(options, settings={"method": "adanorm"})
    assert "learns nothing" in _with_labelled(problem, chosen_settings(told), told).warnings[-1]
    cut = replace(judged, windows=judged.windows[:, :8])
    short = replace(OPTIONS, extra_data=ExtraData(labelled=cut))
    with pytest.raises(InputError, match="set --window 8"):
        _with_labelled(problem, chosen_settings(OPTIONS), short)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "huge"}, "preset=huge: expected one of small, paper"),
        ({"sources": "machine-9"}, "no other machines"),
        ({"method": "target-supervised"}, "no normal window"),
    ],
)
def test_what_cannot_be_done_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        module.train_domain_adaptation(labelled_machine(), replace(OPTIONS, settings=settings))


def test_a_source_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="no labels"):
        labelled_windows(replace(labelled_machine(), test_labels=None), chosen_settings(OPTIONS))


def test_window_that_four_does_not_divide_takes_a_smaller_pool() -> None:
    assert [chosen_settings(TrainOptions(window=window)).pool for window in (16, 18, 21)] == [4, 2, 1]
