"""Where a channel was worst, and how: found for any detector, from the window and the bundle alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from wheeltapper.schemas.bundle.graph import GraphOutput
from wheeltapper.schemas.events import Deviation, WorstRow
from wheeltapper.stream.core.worst_rows import WorstRows, longest_runs, past_means

WINDOW = 48
MINUTE = 60_000_000
PRESSURE, FLOW, VALVE, NOISE = range(4)


@dataclass
class LooksAtLastRows:
    """A graph whose score is the sum of squares of the window's last rows: it does not look at the others."""

    rows: int

    def run(self, windows: np.ndarray) -> GraphOutput:
        squares = windows[:, -self.rows :].astype(np.float64) ** 2
        return GraphOutput(score=squares.sum(axis=(1, 2)), contribution=squares.sum(axis=1))


def normal_windows(count: int = 60, seed: int = 3) -> np.ndarray:
    """[n, W, 4]: a pressure around 6, a flow that follows it, a valve that stays at 1, and noise around 0."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(0, 0.02, (count, WINDOW)), axis=1)
    pressure = 6 + np.clip(steps - steps.mean(axis=1, keepdims=True), -0.4, 0.4) + rng.uniform(-0.3, 0.3, (count, 1))
    flow = 20 * pressure + rng.normal(0, 0.2, pressure.shape)
    columns = (pressure, flow, np.ones_like(pressure), rng.normal(0, 1, pressure.shape))
    return np.stack(columns, axis=2).astype(np.float32)


def finder(rows: int = 16) -> WorstRows:
    reference = normal_windows()
    usual = np.median(reference.reshape(-1, 4), axis=0).astype(np.float32)
    return WorstRows(lambda: reference.reshape(-1, 4), LooksAtLastRows(rows), WINDOW, lambda: usual)  # type: ignore[arg-type]


def find(window: np.ndarray, column: int, *, rows: int = 16, expected: np.ndarray | None = None) -> WorstRow | None:
    """Of one channel; row i of the window is minute i."""
    times = MINUTE * np.arange(len(window))
    (found,) = finder(rows).find(times, window, [column], 0, expected)
    return found


def one_window() -> np.ndarray:
    """A normal one that the reference does not hold."""
    return normal_windows(1, seed=11)[0]


def test_a_value_beyond_its_range_is_found_where_it_was_though_it_is_over() -> None:
    # given a pressure that was far too high eight rows ago, and is normal now
    window = one_window()
    window[-9, PRESSURE] = 9.5
    # when the worst row is asked for: then it is that one, with the usual range
    found = find(window, PRESSURE)
    assert found is not None
    assert (found.kind, found.actual, found.time) == (Deviation.OUT_OF_RANGE, 9.5, MINUTE * (WINDOW - 9))
    assert found.low is not None
    assert found.high is not None
    assert 5 < found.low < 6 < found.high < 7


def test_rows_that_the_detector_does_not_look_at_are_not_blamed() -> None:
    # given two strange pressures: the worse one lies in rows that do not change the score
    window = one_window()
    window[4, PRESSURE], window[-3, PRESSURE] = 30.0, 8.0
    # when the worst row is asked for: then it is the one that the detector saw
    found = find(window, PRESSURE)
    assert found is not None
    assert found.actual == 8.0
    # and of a detector that looks at all rows the other
    found = find(window, PRESSURE, rows=WINDOW)
    assert found is not None
    assert found.actual == 30.0


def test_a_switch_that_never_moved_is_out_of_range_when_it_moves() -> None:
    window = one_window()
    window[-2:, VALVE] = 0
    found = find(window, VALVE)
    assert found is not None
    assert (found.kind, found.actual, found.low, found.high) == (Deviation.OUT_OF_RANGE, 0.0, 1.0, 1.0)


def test_a_channel_that_stands_still_is_stuck_from_its_first_equal_row_on() -> None:
    # given noise that has given the same value for twenty rows
    window = one_window()
    window[-20:, NOISE] = 0.25
    # when the worst row is asked for: then it is the first of them
    found = find(window, NOISE)
    assert found is not None
    assert (found.kind, found.actual, found.time) == (Deviation.STUCK, 0.25, MINUTE * (WINDOW - 20))
    # but a valve that always stands still is not stuck
    assert find(one_window(), VALVE) is None


def test_a_step_within_the_range_is_a_change() -> None:
    # given a pressure and a flow that step together from one end of their range to the other, and stay there
    window = one_window()
    window[:, PRESSURE], window[:, FLOW] = 5.7, 114.0
    window[:, PRESSURE] += np.linspace(0, 0.01, WINDOW)
    window[-5:, PRESSURE], window[-5:, FLOW] = 6.3 + np.linspace(0, 0.01, 5), 126.0
    # when the worst row of the pressure is asked for: then it changed, away from what it was before
    found = find(window, PRESSURE)
    assert found is not None
    assert found.kind is Deviation.CHANGED
    assert found.expected == pytest.approx(5.7, abs=0.05)
    assert found.actual == pytest.approx(6.3, abs=0.05)
    assert found.time >= MINUTE * (WINDOW - 5)


def test_a_channel_that_leaves_its_partner_is_decoupled() -> None:
    # given a flow that slowly leaves the pressure that it follows, within its range
    window = one_window()
    window[:, PRESSURE] = 6.25 + np.linspace(0, 0.01, WINDOW)
    window[:, FLOW] = 125.0 - np.linspace(0, 9, WINDOW) + np.random.default_rng(1).normal(0, 0.1, WINDOW)
    # when its worst row is asked for: then the pressure lets expect more than was measured
    found = find(window, FLOW)
    assert found is not None
    assert found.kind is Deviation.DECOUPLED
    assert found.expected is not None
    assert found.expected - found.actual > 3
    assert found.time > MINUTE * (WINDOW - 8)


def test_a_normal_channel_has_no_worst_row_unless_the_detector_expected_another_value() -> None:
    # given a valve as ever: then there is nothing to say of it
    window = one_window()
    assert find(window, VALVE) is None
    # but a detector that expected something else of the scored row is believed
    found = find(window, VALVE, expected=np.array([6.0, 120.0, 0.0, 0.0]))
    assert found is not None
    assert (found.actual, found.expected, found.time) == (1.0, 0.0, MINUTE * (WINDOW - 1))


def test_missing_values_are_no_evidence() -> None:
    # given a channel that was not measured, and a window that has not begun yet
    window = one_window()
    window[:, PRESSURE] = np.nan
    assert find(window, PRESSURE) is None
    short = one_window()[-3:]
    short[-2, PRESSURE] = 9.5
    found = find(short, PRESSURE)
    assert found is not None
    assert (found.actual, found.time) == (9.5, MINUTE)


@pytest.mark.parametrize("shape", [(1, 4), (1, 1), (2, 1), (5, 3)])
def test_windows_of_any_size_are_looked_at(shape: tuple[int, int]) -> None:
    # given bundles of few rows and channels, with nothing but one strange value
    reference = np.random.default_rng(0).normal(0, 1, (40 * shape[0], shape[1])).astype(np.float32)
    usual = np.zeros(shape[1], dtype=np.float32)
    worst = WorstRows(lambda: reference, LooksAtLastRows(1), shape[0], lambda: usual)  # type: ignore[arg-type]
    window = np.zeros(shape, dtype=np.float32)
    window[-1, 0] = 50
    # when the worst row is asked for: then it is found
    (found,) = worst.find(np.arange(shape[0]), window, [0], 0, None)
    assert found is not None
    assert (found.kind, found.actual, found.time) == (Deviation.OUT_OF_RANGE, 50.0, shape[0] - 1)


def test_a_bundle_without_reference_rows_says_nothing_wrong() -> None:
    # given a bundle that knows no normal window
    worst = WorstRows(
        lambda: np.zeros((0, 2), dtype=np.float32), LooksAtLastRows(1), 3, lambda: np.zeros(2, dtype=np.float32)
    )  # type: ignore[arg-type]
    found = worst.find(np.arange(3), np.zeros((3, 2), dtype=np.float32), [0, 1], 0, None)
    assert found == [None, None]


def test_means_of_the_past_leave_out_what_is_missing() -> None:
    values = np.array([[1.0], [3.0], [np.nan], [5.0], [7.0], [9.0], [9.0], [9.0]])
    # given windows of eight rows, whose past is two: then rows without one have no mean
    assert np.isnan(past_means(values)[:2]).all()
    assert past_means(values)[2:, 0].tolist() == [2, 3, 5, 6, 8, 9]


def test_runs_are_of_equal_measured_values() -> None:
    windows = np.array([[[1.0, np.nan], [1.0, np.nan], [2.0, np.nan]], [[3.0, 1.0], [3.0, 2.0], [3.0, 3.0]]])
    assert longest_runs(windows).tolist() == [3, 1]
