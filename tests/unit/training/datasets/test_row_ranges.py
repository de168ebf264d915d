"""Rows of an entity by number or time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.row_ranges import parse_range, test_on, train_on, without_spans
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries

test_on.__test__ = False  # type: ignore[attr-defined]

DAY = 86_400_000_000
START = micros_from_iso("2024-01-01T00:00:00Z")


def series_of(train: int = 10, test: int = 10) -> SensorSeries:
    """A row a day; the value is the row's number, counted through."""
    times = START + DAY * np.arange(train + test, dtype=np.int64)
    values = np.arange(train + test, dtype=np.float32)[:, None]
    labels = np.zeros(test, np.uint8)
    labels[4:6] = 1
    return SensorSeries(
        "csv", "pump-1", ("flow",), ("m3/h",), 86_400.0, values[:train], times[:train], values[train:], times[train:],
        labels, (LabelledSegment(4, 6, (0,), "leak"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["3..6"], [3, 4, 5]),
        (["..2", "18.."], [0, 1, 18, 19]),
        (["2024-01-02..2024-01-04"], [1, 2]),
        (["2024-01-19T12:00.."], [19]),
        (["0..3", "2024-01-02..2024-01-05"], [0, 1, 2, 3]),
        (["8..12"], [8, 9, 10, 11]),
    ],
)
def test_train_rows_are_chosen_through_both_parts(texts: list[str], rows: list[int]) -> None:
    chosen = train_on(series_of(), [parse_range(text) for text in texts])
    assert chosen.train[:, 0].tolist() == rows
    assert chosen.train_ts.tolist() == [START + DAY * row for row in rows]


def test_a_test_part_keeps_its_labels_and_what_is_known_of_them() -> None:
    # given labelled rows 14 and 15, when rows 9..15 become the test part
    chosen = test_on(series_of(), [parse_range("9..15")])
    # then the one that is among them is labelled, with its channels and kind
    assert chosen.test[:, 0].tolist() == [9, 10, 11, 12, 13, 14]
    assert chosen.test_labels is not None
    assert chosen.test_labels.tolist() == [0, 0, 0, 0, 0, 1]
    assert chosen.segments == (LabelledSegment(5, 6, (0,), "leak"),)


def test_rows_under_spans_are_left_out_both_ends_included() -> None:
    left = without_spans(series_of(), [(START + 2 * DAY, START + 4 * DAY), (START + 9 * DAY, START + 99 * DAY)])
    assert left.train[:, 0].tolist() == [0, 1, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "text", ["5", "..", "a..b", "6..3", "3..3", "2024-02-01..2024-01-01", "-1..4", "1..2024-01-01"]
)
def test_a_range_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--rows .*(FIRST\.\.STOP|nothing lies between)"):
        parse_range(text)


def test_ranges_without_rows_are_named_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"none of the 20 rows .* 2024-01-01T00:00:00Z to 2024-01-20T00:00:00Z"):
        train_on(series_of(), [parse_range("2030-01-01..")])


def test_times_choose_nothing_where_the_clock_is_made_up() -> None:
    with pytest.raises(InputError, match="has no times of its own; choose rows by number"):
        train_on(replace(series_of(), made_up_clock=True), [parse_range("2024-01-02..")])


def test_parts_that_overlap_cannot_be_counted_through() -> None:
    series = series_of()
    with pytest.raises(InputError, match="before the train part ends"):
        train_on(replace(series, test_ts=series.test_ts - 15 * DAY), [parse_range("0..5")])
