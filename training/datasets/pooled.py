"""Machines of a kind as one series, so that one detector is fitted on the normal of all of them.

Each machine's train part is cut into as many pieces as held-out scores are made of blocks, and the pieces are laid behind each other,
first all machines' first ones: every block, and a network's held-out last part, then holds rows of every machine. A piece is moved
by whole weeks, so that hours and weekdays stay what they were, and a hole stands before it: no window reaches over a seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.series import SensorSeries

PIECES = 5
WEEK_US = 7 * 86_400 * 1_000_000
# Sampling intervals of two machines of a kind may differ by rounding alone.
_SAME_INTERVAL = 1e-3


def pool(series: Sequence[SensorSeries], name: str) -> SensorSeries:
    """One series whose train part holds the rows of all, columns in the order of the first; it has no test part.

    Args:
        name: the entity of the pool.

    Raises:
        InputError: none at all, or machines whose channels, units or intervals differ.
    """
    if not series:
        raise InputError("no machine to pool; choose some with --entity")
    first = series[0]
    alike = [_like(first, one) for one in series]
    pieces = [
        (one.train[rows], one.train_ts[rows])
        for number in range(PIECES)
        for one in alike
        if len(rows := _piece(len(one.train), number))
    ]
    values, times, end = [], [], None
    for piece, stamps in pieces:
        # At least a week of hole; whole weeks from where the piece was.
        weeks = 0 if end is None else (end - int(stamps[0])) // WEEK_US + 2
        moved = stamps + weeks * WEEK_US
        end = int(moved[-1])
        values.append(piece)
        times.append(moved)
    return replace(
        first,
        entity=name,
        train=np.concatenate(values),
        train_ts=np.concatenate(times),
        test=first.test[:0],
        test_ts=first.test_ts[:0],
        test_labels=None,
        segments=(),
    )


def _piece(rows: int, number: int) -> np.ndarray:
    """Row numbers of one of a machine's `PIECES` pieces."""
    return np.arange(rows * number // PIECES, rows * (number + 1) // PIECES)


def _like(first: SensorSeries, other: SensorSeries) -> SensorSeries:
    """The other machine with the first one's columns."""
    missing = [name for name in first.channels if name not in other.channels]
    more = [name for name in other.channels if name not in first.channels]
    if missing or more:
        which = f"lacks {first_names(missing)}" if missing else f"also has {first_names(more)}"
        raise InputError(
            f"{other.entity} cannot be pooled with {first.entity}: it {which}; pool machines with the same channels, by --entity"
        )
    columns = [other.channels.index(name) for name in first.channels]
    for name, column in zip(first.channels, columns, strict=True):
        units = first.units[first.channels.index(name)], other.units[column]
        if units[0] != units[1]:
            raise InputError(
                f"{other.entity} cannot be pooled with {first.entity}: '{name}' is in '{units[1]}', expected '{units[0]}'; "
                "convert it, or correct the description"
            )
    if abs(other.sampling_interval_s - first.sampling_interval_s) > _SAME_INTERVAL * first.sampling_interval_s:
        raise InputError(
            f"{other.entity} cannot be pooled with {first.entity}: it has a row every {other.sampling_interval_s:g} s, expected "
            f"{first.sampling_interval_s:g} s; pool machines of one rate, by --entity"
        )
    return replace(other, channels=first.channels, units=first.units, train=other.train[:, columns])
