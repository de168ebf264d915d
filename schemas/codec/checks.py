"""What every decoder holds its result to: limits, names, event times, finite values."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS, micros_from_iso
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.limits import MAX_CHANNELS, MAX_NAME_LENGTH, MAX_ROWS, MAX_VALUES

# Only tuples up to this width are remembered: bounds what made-up channel names can fill the cache with.
_MAX_CACHED_WIDTH = 1_024


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def no_block(detail: str) -> DecodeError:
    """The error for bytes or structure that no SensorBlock has."""
    return DecodeError(DeadLetterReason.NOT_DECODABLE, detail)


def shown(found: object) -> str:
    """A found value for an error text, cut to a length that fits one line, whatever its size and depth."""
    text = _SHORT.repr(found)
    return text if len(text) <= 80 else text[:77] + "..."


def checked_machine(machine: Any, fallback: str | None) -> str:
    """The message's machine, or the fallback where it has none."""
    if machine is None or machine == "":
        machine = fallback
    if not isinstance(machine, str) or not machine:
        raise DecodeError(
            DeadLetterReason.NO_MACHINE, f"machine is {shown(machine)}, expected a text in the message or its key"
        )
    if len(machine) > MAX_NAME_LENGTH:
        raise DecodeError(
            DeadLetterReason.TOO_LARGE, f"machine has {len(machine)} characters, at most {MAX_NAME_LENGTH} are read"
        )
    return machine


def checked_channels(names: tuple[Any, ...]) -> tuple[str, ...]:
    """Distinct, non-empty texts; the same tuple object for the same names while it is remembered."""
    if len(names) <= _MAX_CACHED_WIDTH:
        try:
            return _remembered_channels(names)
        except TypeError:  # a list or an object among the names cannot be remembered, only refused
            pass
    return _check_channels(names)


def _check_channels(names: tuple[Any, ...]) -> tuple[str, ...]:
    if not names:
        raise DecodeError(DeadLetterReason.WRONG_WIDTH, "no channels, expected at least one")
    check_width(len(names))
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise no_block(f"channel name {shown(name)}, expected a text that is not empty")
        if len(name) > MAX_NAME_LENGTH:
            raise DecodeError(
                DeadLetterReason.TOO_LARGE,
                f"a channel name has {len(name)} characters, at most {MAX_NAME_LENGTH} are read",
            )
        if name in seen:
            raise DecodeError(DeadLetterReason.WRONG_WIDTH, f"channel {shown(name)} appears more than once")
        seen.add(name)
    return names


_remembered_channels = lru_cache(maxsize=256)(_check_channels)


def check_width(width: int) -> None:
    """At most MAX_CHANNELS."""
    if width > MAX_CHANNELS:
        raise DecodeError(DeadLetterReason.TOO_LARGE, f"{width} channels, at most {MAX_CHANNELS} are read")


def check_size(rows: int, width: int) -> None:
    """At least one row, at most MAX_ROWS and MAX_VALUES; called before memory is taken for them."""
    if rows < 1:
        raise no_block("no rows, expected at least one")
    if rows > MAX_ROWS or rows * width > MAX_VALUES:
        raise DecodeError(
            DeadLetterReason.TOO_LARGE,
            f"{rows} rows of {width} channels, at most {MAX_ROWS} rows and {MAX_VALUES} values are read",
        )


def checked_time(ts: Any) -> int:
    """One event time: integer microseconds or ISO 8601."""
    if isinstance(ts, str):
        try:
            return micros_from_iso(ts)
        except ValueError:
            raise DecodeError(DeadLetterReason.BAD_TIME, f"ts is {shown(ts)}, expected ISO 8601") from None
    if type(ts) is not int:  # a bool is an int too, and no time
        raise DecodeError(
            DeadLetterReason.BAD_TIME, f"ts is {shown(ts)}, expected integer microseconds or ISO 8601 text"
        )
    if not MIN_MICROS <= ts <= MAX_MICROS:
        raise _out_of_range(ts)
    return ts


def checked_times(ts: Sequence[Any]) -> np.ndarray:
    """[n] int64 of event times, each as `checked_time` takes it."""
    if set(map(type, ts)) == {int}:
        try:
            return checked_micros(np.array(ts, dtype=np.int64))
        except OverflowError:
            pass  # beyond 64 bits: the loop names it
    return np.array([checked_time(entry) for entry in ts], dtype=np.int64)


def checked_micros(ts: np.ndarray) -> np.ndarray:
    """[n] int64, n >= 1, as it is where every entry is within MIN_MICROS .. MAX_MICROS."""
    if ts.min() < MIN_MICROS or ts.max() > MAX_MICROS:
        outside = ts[(ts < MIN_MICROS) | (ts > MAX_MICROS)]
        raise _out_of_range(int(outside[0]))
    return ts


def _out_of_range(ts: int) -> DecodeError:
    return DecodeError(
        DeadLetterReason.BAD_TIME, f"ts is {ts}, outside of the years 1 to 9999; expected microseconds since 1970 UTC"
    )


def check_finite(values: np.ndarray, channels: tuple[str, ...]) -> None:
    """No infinite value in [n, C] float32; NaN is a missing one."""
    infinite = np.isinf(values)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise DecodeError(
            DeadLetterReason.NOT_FINITE,
            f"channel {shown(channels[column])} is infinite in row {row}; a missing value is NaN or null",
        )
