from __future__ import annotations

import numpy as np
import pytest
from wheeltapper.stream.alerts import AlertLifecycle, RuleState

from wheeltapper.stream.settings import ThresholdSettings
from wheeltapper.training.judging.metrics.alarms import alarm_metrics, alarm_spans


def scores_of(rows: int, **levels: tuple[int, int, float]) -> np.ndarray:
    values = np.full(rows, 0.1)
    for start, stop, level in levels.values():
        values[start:stop] = level
    return values


def test_an_alarm_lasts_until_ten_rows_below_the_clear_level() -> None:
    # Above the level at 10..12, then between clear level and level, then 9 quiet rows, then loud again: one alarm.
    scores = scores_of(60, high=(10, 12, 1.2), middle=(12, 20, 0.9), again=(29, 30, 1.0))
    assert alarm_spans(scores) == [(10, 30)]
    # One quiet row more, and the alarm has cleared in between.
    scores = scores_of(60, high=(10, 12, 1.2), middle=(12, 20, 0.9), again=(30, 31, 1.0))
    assert alarm_spans(scores) == [(10, 20), (30, 31)]
    # Loud without reaching the level: no alarm. Still on at the end: it lasts to the last loud row.
    assert alarm_spans(scores_of(60, loud=(10, 40, 0.99))) == []
    assert alarm_spans(scores_of(60, late=(55, 60, 2.0))) == [(55, 60)]


@pytest.mark.parametrize("seed", range(20))
def test_alarms_are_the_streams_alerts(seed: int) -> None:
    # given scores that cross both levels again and again
    rng = np.random.default_rng(seed)
    scores = np.abs(np.cumsum(rng.normal(0, 0.25, 800)) % 2.4 - 1.2) * rng.choice(
        [0.3, 1.0, 1.3], 800, p=[0.5, 0.3, 0.2]
    )
    # when the stream's own rule goes over them, row by row
    lifecycle, state = AlertLifecycle(ThresholdSettings()), RuleState()
    opened, cleared = [], []
    for row, score in enumerate(scores.tolist()):
        step = lifecycle.step(state, score, row, 1.0)
        if step == "opened":
            opened.append(row)
        elif step == "cleared":
            cleared.append(row)
            lifecycle.end(state)
    # then the same alarms begin at the same rows, and end ten quiet rows before the stream clears them
    spans = alarm_spans(scores)
    assert [start for start, _ in spans] == opened
    assert [stop + 9 for _, stop in spans][: len(cleared)] == cleared


def test_recall_delay_and_false_alarms_by_hand() -> None:
    labels = np.zeros(1440, dtype=np.uint8)
    labels[100:120] = labels[300:310] = labels[500:560] = 1
    scores = scores_of(
        1440,
        late=(106, 108, 1.5),  # found after 6 rows
        already=(290, 302, 1.5),  # on before the segment begins: delay 0, and no false alarm
        false=(700, 701, 3.0),
        other=(900, 910, 3.0),
    )
    metrics = alarm_metrics(labels, scores, sampling_interval_s=60.0)
    assert (metrics.events, metrics.found, metrics.recall) == (3, 2, pytest.approx(2 / 3))
    assert metrics.delay_s == pytest.approx(3 * 60.0)  # the median of 6 min and 0
    assert (metrics.alarms, metrics.false_alarms) == (4, 2)
    assert metrics.false_alarms_per_day == pytest.approx(2.0)


def test_without_labels_every_alarm_is_false() -> None:
    metrics = alarm_metrics(np.zeros(1440, np.uint8), scores_of(1440, one=(5, 9, 2.0)), 30.0)
    assert metrics.recall is None
    assert metrics.delay_s is None
    assert metrics.false_alarms_per_day == pytest.approx(2.0)  # one in half a day


def test_nothing_found() -> None:
    labels = np.zeros(50, np.uint8)
    labels[10:20] = 1
    metrics = alarm_metrics(labels, np.zeros(50), 1.0)
    assert (metrics.recall, metrics.delay_s, metrics.alarms) == (0.0, None, 0)
