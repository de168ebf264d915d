"""Rows of an entity chosen by number or time: `0..5000`, `2024-01-01..2024-02-01`, `5000..`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wheeltapper.schemas.clock import iso_from_micros, micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.series import SensorSeries

SEPARATOR = ".."


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows from `first` up to `stop`, which is not among them; None: to that end of the rows.

    Attributes:
        by_time: both are event times (us), else row numbers from 0.
        text: as it was written.
    """

    first: int | None
    stop: int | None
    by_time: bool
    text: str

    def mask(self, times: np.ndarray) -> np.ndarray:
        """[T] bool: which of rows with these times (us) are in it."""
        places = times if self.by_time else np.arange(len(times))
        inside = np.ones(len(times), dtype=bool)
        if self.first is not None:
            inside &= places >= self.first
        if self.stop is not None:
            inside &= places < self.stop
        return inside


def parse_range(text: str) -> RowRange:
    """
    Raises:
        InputError: neither numbers nor times, or nothing lies between them.
    """
    first_text, separator, stop_text = (part.strip() for part in text.partition(SEPARATOR))
    wanted = f"--rows {text}: expected FIRST..STOP, row numbers from 0 or times, e.g. 0..5000 or 2024-01-01..2024-02-01"
    if not separator or not (first_text or stop_text):
        raise InputError(wanted)
    by_number = [re.fullmatch(r"\d+", part) is not None for part in (first_text, stop_text) if part]
    if all(by_number):
        first, stop = (int(part) if part else None for part in (first_text, stop_text))
    else:
        try:
            first, stop = (micros_from_iso(part) if part else None for part in (first_text, stop_text))
        except ValueError as error:
            raise InputError(wanted) from error
    if first is not None and stop is not None and first >= stop:
        raise InputError(
            f"--rows {text}: nothing lies between {first_text} and {stop_text}; give the earlier one first"
        )
    return RowRange(first, stop, not all(by_number), text)


def train_on(series: SensorSeries, ranges: Sequence[RowRange]) -> SensorSeries:
    """The series with the chosen rows as its train part. Rows are counted from the train part's first to the test part's last.

    Raises:
        InputError: a range without a row, or times of a series that has none.
    """
    values, times, _ = _all_rows(series)
    chosen = _chosen(series, times, ranges)
    return replace(series, train=values[chosen], train_ts=times[chosen])


def test_on(series: SensorSeries, ranges: Sequence[RowRange]) -> SensorSeries:
    """The series with the chosen rows as its test part; arguments and errors as `train_on`."""
    values, times, labels = _all_rows(series)
    chosen = _chosen(series, times, ranges)
    if labels is None:
        return replace(series, test=values[chosen], test_ts=times[chosen], test_labels=None, segments=())
    # Of each row, how many chosen ones are before it: its place among them.
    places = np.concatenate([[0], np.cumsum(chosen)])[len(series.train) :]
    told = (
        replace(segment, start=int(places[segment.start]), stop=int(places[segment.stop]))
        for segment in series.segments
    )
    kept = labels[chosen]
    return replace(
        series, test=values[chosen], test_ts=times[chosen], test_labels=kept, segments=segments_of(kept, told)
    )


def without_spans(series: SensorSeries, spans: Sequence[tuple[int, int]]) -> SensorSeries:
    """The series without the train rows whose times (us) lie in a span, both ends in it."""
    inside = np.zeros(len(series.train_ts), dtype=bool)
    for first, last in spans:
        inside |= (series.train_ts >= first) & (series.train_ts <= last)
    return replace(series, train=series.train[~inside], train_ts=series.train_ts[~inside])


def _all_rows(series: SensorSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Values [T, C], times [T] and labels [T] or None of train and test part together.

    Raises:
        InputError: the parts do not follow each other in time, so that their rows cannot be counted through.
    """
    if len(series.train_ts) and len(series.test_ts) and series.test_ts[0] <= series.train_ts[-1]:
        raise InputError(
            f"{series.dataset} {series.entity}: the test part begins at {iso_from_micros(int(series.test_ts[0]))}, before the "
            "train part ends, so that --rows cannot count through both; leave --rows out"
        )
    labels = None
    if series.test_labels is not None:
        labels = np.concatenate([np.zeros(len(series.train), np.uint8), series.test_labels])
    return (
        np.concatenate([series.train, series.test]),
        np.concatenate([series.train_ts, series.test_ts]),
        labels,
    )


def _chosen(series: SensorSeries, times: np.ndarray, ranges: Sequence[RowRange]) -> np.ndarray:
    """[T] bool."""
    chosen = np.zeros(len(times), dtype=bool)
    for each in ranges:
        if each.by_time and series.made_up_clock:
            raise InputError(
                f"--rows {each.text}: {series.dataset} {series.entity} has no times of its own; choose rows by number"
            )
        inside = each.mask(times)
        if not inside.any():
            first, last = iso_from_micros(int(times[0])), iso_from_micros(int(times[-1]))
            raise InputError(
                f"--rows {each.text}: none of the {len(times)} rows of {series.dataset} {series.entity} lies there; they are of "
                f"{first} to {last}"
            )
        chosen |= inside
    return chosen
