"""Training as the command line asks for it, labels of an operator, and learning curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows, windows_of
from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.detectors.rl_vae.sources import choose_pool, to_z
from wheeltapper.training.detectors.rl_vae.train import train_vae
from wheeltapper.training.fitting.labels import LabelledWindows
from wheeltapper.training.fitting.options import ExtraData, TrainOptions
from wheeltapper.training.fitting.trainer import TrainerOptions
from wheeltapper.training.lab.rl_vae_learning_curve import (
    METHODS,
    Split,
    learning_curve,
    means,
    recall_at_alarms,
    recalls,
)

SETTINGS = {
    "hidden": "16",
    "q_hidden": "4",
    "episodes": "2",
    "gradient_steps": "3",
    "walkers": "32",
    "pool_limit": "200",
}
OPTIONS = TrainOptions(window=8, epochs=1, settings={**SETTINGS, "windows_per_epoch": "256"})
CONFIG = RlVaeConfig(window=8, hidden=16, q_hidden=4, episodes=2, gradient_steps=3, walkers=32, pool_limit=200)
SMALL = TrainerOptions(epochs=1, learning_rate=1e-3, windows_per_epoch=512, progress=False)


def machine(rows: int = 900) -> SensorSeries:
    return make_series(normal_rows(rows, 3, seed=5))


def labelled_machine() -> SensorSeries:
    """The test part goes on like the train part; in it, eight faults of 10 rows in one channel each."""
    rows = normal_rows(2000, 3, seed=5)
    test, labels = rows[900:].copy(), np.zeros(1100, dtype=np.uint8)
    for number, start in enumerate(range(60, 1100, 130)):
        test[start : start + 10, number % 3] += 3 * np.ptp(rows[:, number % 3])
        labels[start : start + 10] = 1
    return replace(make_series(rows[:900], test), test_labels=labels)


def operator(count: int, labels: list[int], window: int = 8, channels: int = 3) -> LabelledWindows:
    windows = np.resize(windows_of(normal_rows(200, channels, seed=5), window), (count, window, channels))
    return LabelledWindows(windows, np.array(labels, dtype=np.uint8), np.arange(count) * 60_000_000)


@pytest.mark.export
def test_trains_without_any_label_and_says_so() -> None:
    fitted, scores = train_detector("rl-vae", machine(), OPTIONS)
    assert any("no labels were given" in warning for warning in fitted.warnings)
    assert fitted.parameters["cut_by_budget"] is False
    assert fitted.parameters["labels_bought"] == fitted.parameters["labels_known"] > 0
    assert len(scores.score) > 100


def test_budget_cuts_every_stage_and_is_reported() -> None:
    # An export has nothing to do with it.
    settings = {**OPTIONS.settings, "episodes": "50"}
    options = replace(OPTIONS, epochs=50, budget_s=0.01, settings=settings, held_out_by="torch")
    fitted, _ = train_detector("rl-vae", machine(), options)
    assert fitted.parameters["cut_by_budget"] is True
    assert fitted.parameters["epochs"] < 50
    assert len(fitted.parameters["epsilon_by_episode"]) < 50


def test_an_operators_labels_are_used_and_nothing_is_bought() -> None:
    vae = train_vae(machine(), CONFIG, SMALL)
    pool, warnings = choose_pool(vae.prepared, CONFIG, operator(6, [0, 1, 0, 1, 1, 0]), seed=0)
    assert pool.known.tolist() == [0, 1, 0, 1, 1, 0]
    assert pool.left == 0
    assert warnings == ()


def test_labels_of_one_class_are_completed_by_made_up_faults() -> None:
    vae = train_vae(machine(), CONFIG, SMALL)
    pool, warnings = choose_pool(vae.prepared, CONFIG, operator(4, [0, 0, 0, 0]), seed=0)
    assert pool.known[:4].tolist() == [0, 0, 0, 0]
    assert "anomalous" in warnings[0]
    # what is bought beyond the operator's windows has the made-up pool's labels
    pool.buy(np.array([4, 5, 6, 7]))
    assert pool.known[4:8].tolist() == [0, 1, 0, 1]


def test_labelled_windows_longer_than_the_detectors_are_cut_to_their_end() -> None:
    vae = train_vae(machine(), CONFIG, SMALL)
    labelled = operator(2, [0, 1], window=12)
    pool, _ = choose_pool(vae.prepared, CONFIG, labelled, seed=0)
    np.testing.assert_allclose(pool.bank.take(np.array([1]))[0], to_z(vae.prepared, labelled.windows[1, -8:]))


@pytest.mark.parametrize(("window", "channels"), [(5, 3), (8, 4)])
def test_labelled_windows_of_another_machine_are_refused(window: int, channels: int) -> None:
    options = replace(OPTIONS, extra_data=ExtraData(labelled=operator(2, [0, 1], window, channels)))
    with pytest.raises(InputError, match=rf"labelled windows are \[2, {window}, {channels}\]"):
        train_detector("rl-vae", machine(), options)


def test_standards_come_from_the_train_part_alone() -> None:
    # Bug 10: scaling that is fitted on the judged series knows the future. Given two test parts, one of them wild
    series = labelled_machine()
    wild = replace(series, test=series.test * 1000)
    # then scaling and networks are the same
    first, second = train_vae(series, CONFIG, SMALL), train_vae(wild, CONFIG, SMALL)
    np.testing.assert_array_equal(first.prepared.mean, second.prepared.mean)
    np.testing.assert_array_equal(first.prepared.scale, second.prepared.scale)
    for one, other in zip(first.vae.parameters(), second.vae.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())


def test_pool_and_judged_rows_are_disjoint_in_time() -> None:
    # Bug 5: the authors train on the folder that they judge on.
    split = Split.of(1000, 25)
    assert (split.pool, split.judged) == (500, 525)
    # the first judged window begins after the last row that was for sale
    assert split.judged >= split.pool
    with pytest.raises(InputError, match="at least 250"):
        Split.of(200, 25)


def test_labels_of_the_judged_half_change_nothing_but_the_judgement() -> None:
    # Given two machines that differ in labels after the pool only
    series = labelled_machine()
    assert series.test_labels is not None
    other = series.test_labels.copy()
    other[Split.of(1100, 8).judged :] = 0
    other[-30:-10] = 1
    found = [
        list(learning_curve(one, shares=(0.1,), config=CONFIG, trainer=SMALL))
        for one in (series, replace(series, test_labels=other))
    ]
    # then both buy the same, and it is within budget
    for first, second in zip(*found, strict=True):
        assert (first.labels, first.anomalies) == (second.labels, second.anomalies)
        assert first.labels == 54  # 10 % of the 543 windows of the pool
        assert first.auc_pr != second.auc_pr
    assert [one.method for one in found[0]] == list(METHODS)
    # and faults of that size rank high
    assert all(one.auc_pr > 0.5 for one in found[0] if one.method in ("rl-vae", "vae"))
    table = means(found[0])
    assert table["vae", 0.1]["auc_pr"] == pytest.approx(found[0][1].auc_pr)


def test_recalls_by_hand() -> None:
    labels = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    flags = np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    assert recalls(flags, labels) == (0.25, 0.5)


def test_recall_at_equal_alarms_stops_where_false_alarms_begin() -> None:
    # Given a day of rows: one fault that scores 9, one that scores 5, a false alarm of 7, and nothing else
    scores, labels = np.zeros(1440), np.zeros(1440, dtype=np.uint8)
    scores += np.linspace(0, 0.01, 1440)
    for start, height, label in ((100, 9.0, 1), (500, 7.0, 0), (900, 5.0, 1)):
        scores[start : start + 20] = height
        labels[start : start + 20] = label
    # then one false alarm a day lets both be found, and none a day only the first
    assert recall_at_alarms(labels, scores, 0.0, 60.0, per_day=1.0) == (1.0, 1.0)
    assert recall_at_alarms(labels, scores, 0.0, 60.0, per_day=0.5) == (0.5, 0.5)
