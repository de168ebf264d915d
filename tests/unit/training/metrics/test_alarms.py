from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.training.judging.metrics.alarms import AlarmRows, alarm_metrics


def at_once(start: int, stop: int) -> AlarmRows:
    """An alarm that opens with its first row."""
    return AlarmRows(start, start, stop)


def test_recall_delay_and_false_alarms_by_hand() -> None:
    labels = np.zeros(1440, dtype=np.uint8)
    labels[100:120] = labels[300:310] = labels[500:560] = 1
    alarms = [
        at_once(106, 108),  # found after 6 rows
        at_once(290, 302),  # on before the segment begins: delay 0, and no false alarm
        at_once(700, 701),  # false
        at_once(900, 910),  # false
    ]
    metrics = alarm_metrics(labels, alarms, sampling_interval_s=60.0)
    assert (metrics.events, metrics.found, metrics.recall) == (3, 2, pytest.approx(2 / 3))
    assert metrics.delay_s == pytest.approx(3 * 60.0)  # the median of 6 min and 0
    assert (metrics.alarms, metrics.false_alarms) == (4, 2)
    assert metrics.false_alarms_per_day == pytest.approx(2.0)


def test_the_first_alarm_of_a_segment_says_the_delay() -> None:
    # given a segment that three alarms meet
    labels = np.zeros(200, dtype=np.uint8)
    labels[100:160] = 1
    # when they are judged, then it was found once, with the first of them, and none is false
    metrics = alarm_metrics(labels, [at_once(110, 115), at_once(130, 140), at_once(158, 180)], 1.0)
    assert (metrics.found, metrics.delay_s, metrics.false_alarms) == (1, 10.0, 0)


def test_an_alarm_that_opens_late_is_late_but_not_false() -> None:
    # given a rule that opens with the third window in a row, eight rows apart, and a fault of twelve rows
    labels = np.zeros(200, dtype=np.uint8)
    labels[100:112] = 1
    # when its alarm dates from the fault, but opens behind it
    metrics = alarm_metrics(labels, [AlarmRows(104, 120, 128)], 1.0)
    # then the fault is found, and the delay is until somebody could hear of it
    assert (metrics.found, metrics.false_alarms, metrics.delay_s) == (1, 0, 20.0)


def test_alarms_that_end_where_a_segment_begins_are_false() -> None:
    labels = np.zeros(100, dtype=np.uint8)
    labels[50:60] = 1
    metrics = alarm_metrics(labels, [at_once(40, 50), at_once(60, 65)], 1.0)
    assert (metrics.found, metrics.false_alarms) == (0, 2)


def test_without_labels_every_alarm_is_false() -> None:
    metrics = alarm_metrics(np.zeros(1440, np.uint8), [at_once(5, 9)], 30.0)
    assert metrics.recall is None
    assert metrics.delay_s is None
    assert metrics.false_alarms_per_day == pytest.approx(2.0)  # one in half a day


def test_nothing_found() -> None:
    labels = np.zeros(50, np.uint8)
    labels[10:20] = 1
    metrics = alarm_metrics(labels, [], 1.0)
    assert (metrics.recall, metrics.delay_s, metrics.alarms) == (0.0, None, 0)
