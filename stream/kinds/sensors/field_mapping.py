"""A plant's own JSON layout, one row a message, read as a SensorBlock by the `[input]` settings."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import nan
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.codec.checks import shown
from wheeltapper.schemas.codec.fields import block_from_fields
from wheeltapper.schemas.codec.json_text import parse_json
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.readings import NumberStyle, ReadingError, TimeStyle, parse_number, parse_time
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.left_out import IgnoredFields
from wheeltapper.stream.settings import InputSettings

# Whole numbers from here to the end of the calendar are microseconds, by their size alone: from 2001-09-09 on.
LEAST_MICROS = 10**15
_RECORD_TIME = TimeStyle("ms")


class FieldMapping:
    """Finds machine, time and values in a message of JSON."""

    def __init__(self, settings: InputSettings, ignored: IgnoredFields | None = None) -> None:
        """
        Args:
            ignored: says which fields are ignored.
        """
        self._settings = settings
        self._times, self._numbers = settings.times, settings.numbers
        self._ignored = ignored or IgnoredFields()
        # In flat messages the fields that hold machine and time are no channels.
        paths = [path for path, other in ((settings.machine, "key"), (settings.time, "record")) if path != other]
        self._beside = set() if settings.values else {path.partition(".")[0] for path in paths}

    def block(
        self, value: bytes, key: bytes | None, timestamp_ms: int, fields_of: Callable[[str], Collection[str]]
    ) -> SensorBlock:
        """One message to a block of one row (or more, of a SensorBlock), channels named as the message names them.

        Args:
            fields_of: names under which a machine's channels may come; what other fields hold is not looked at.

        Raises:
            DecodeError: with the setting to look at in its detail.
        """
        settings = self._settings
        message = parse_json(value)
        if settings.is_native:
            return self._native_block(message, text_of(key), timestamp_ms, fields_of)
        if not isinstance(message, dict):
            raise DecodeError(Reason.NOT_DECODABLE, f"JSON {type(message).__name__}, expected an object")
        if settings.machine == "key":
            machine: Any = text_of(key)
        else:
            machine = _find(message, settings.machine, Reason.NO_MACHINE, "input.machine")
        if type(machine) is int:
            machine = str(machine)
        if not isinstance(machine, str) or not machine:
            raise DecodeError(
                Reason.NO_MACHINE, f"machine is {shown(machine)}, expected a text or whole number (input.machine)"
            )
        if settings.time == "record":
            if timestamp_ms < 0:
                raise DecodeError(Reason.BAD_TIME, "the record has no timestamp (input.time)")
            micros = micros_of(timestamp_ms, _RECORD_TIME)
        else:
            found = _find(message, settings.time, Reason.BAD_TIME, "input.time")
            micros = micros_of(found, self._times, near_of(timestamp_ms))
        values = _find(message, settings.values, Reason.NOT_DECODABLE, "input.values") if settings.values else message
        if not isinstance(values, dict):
            raise DecodeError(
                Reason.NOT_DECODABLE,
                f"'{settings.values}' holds {type(values).__name__}, expected an object (input.values)",
            )
        fields = {name: entry for name, entry in values.items() if name not in self._beside}
        known = fields_of(machine)
        if settings.unknown_channels == "ignore":
            self._ignored.see(machine, list(fields), known)
            fields = {name: entry for name, entry in fields.items() if name in known}
        style = self._numbers
        numbers = [number_of(name, entry, style) if name in known else nan for name, entry in fields.items()]
        row = np.array([numbers], dtype=np.float64)
        return SensorBlock(machine, np.array([micros], dtype=np.int64), tuple(fields), to_float32(row, tuple(fields)))

    def _native_block(
        self, message: Any, key: str | None, timestamp_ms: int, fields_of: Callable[[str], Collection[str]]
    ) -> SensorBlock:
        """A SensorBlock's own form; of a row the fields that nobody asked for, where they are to be ignored, may hold anything."""
        settings, style = self._settings, self._numbers
        if isinstance(message, dict):
            ts, values = message.get("ts"), message.get("values")
            if isinstance(values, dict) and settings.unknown_channels == "ignore":
                machine = message.get("machine") or key
                if isinstance(machine, str):
                    known = fields_of(machine)
                    self._ignored.see(machine, list(values), known)
                    message["values"] = {name: entry for name, entry in values.items() if name in known}
            if style.texts:
                message["values"] = _numbers_in(message.get("values"), message.get("channels"), style)
            message["ts"] = self._micros_in(ts, near_of(timestamp_ms))
        try:
            return block_from_fields(message, key)
        except DecodeError as error:
            if error.reason == Reason.NOT_A_NUMBER:
                raise DecodeError(Reason.NOT_A_NUMBER, f"{error.detail} (input.quoted_numbers)") from None
            raise

    def _micros_in(self, ts: Any, near: int | None) -> Any:
        """A message's time or times in microseconds."""
        style = self._times
        if not isinstance(ts, list):
            return micros_of(ts, style, near)
        if style.unit == "auto" and set(map(type, ts)) == {int} and min(ts) >= LEAST_MICROS and max(ts) <= MAX_MICROS:
            return ts
        return [micros_of(time, style, near) for time in ts]


def _numbers_in(values: Any, channels: Any, style: NumberStyle) -> Any:
    """Texts among the values of a row or of the rows of a block, as numbers."""
    if isinstance(values, dict):
        return {
            name: number_of(name, entry, style) if isinstance(entry, str) else entry for name, entry in values.items()
        }
    if not isinstance(values, list) or not isinstance(channels, list):
        return values
    return [
        [
            number_of(str(name), entry, style) if isinstance(entry, str) else entry
            for name, entry in zip(channels, row, strict=True)
        ]
        if isinstance(row, list) and len(row) == len(channels)
        else row
        for row in values
    ]


def micros_of(time: Any, style: TimeStyle, near: int | None = None) -> int:
    """Event time as the settings have it, to microseconds.

    Args:
        near: as of `parse_time`: the record's own time.

    Raises:
        DecodeError: not a time of that style.
    """
    try:
        return parse_time(time, style, near)
    except ReadingError as error:
        raise DecodeError(
            Reason.BAD_TIME, f"time is {shown(time)}, expected {error.expected} (input.time_unit, input.time_format)"
        ) from None


def near_of(timestamp_ms: int) -> int | None:
    """A record's own time in microseconds; None where it has none."""
    return timestamp_ms * 1_000 if timestamp_ms >= 0 else None


def number_of(channel: str, value: Any, style: NumberStyle) -> float:
    """A channel's value as float, NaN for what is missing; DecodeError for anything that is not a number."""
    try:
        return parse_number(value, style)
    except ReadingError:
        hint = " (input.quoted_numbers, input.missing_words)" if isinstance(value, str) else ""
        raise DecodeError(
            Reason.NOT_A_NUMBER, f"channel {shown(channel)} holds {shown(value)}, expected a number or null{hint}"
        ) from None


def to_float32(values: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    """[n, C] float64 with NaN for null to float32; DecodeError where a value is infinite or too large."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if np.isinf(narrow).any():
        row, column = np.argwhere(np.isinf(narrow))[0]
        raise DecodeError(
            Reason.NOT_FINITE,
            f"channel {shown(channels[column])} holds {values[row, column]}, expected a finite 32-bit number",
        )
    return narrow


def text_of(key: bytes | None) -> str | None:
    """A record's key as text; None where there is none or it is not UTF-8."""
    try:
        return key.decode() if key else None
    except UnicodeDecodeError:
        return None


def _find(message: Any, path: str, reason: Reason, setting: str) -> Any:
    found = message
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            raise DecodeError(reason, f"the message has no field '{path}' ({setting})")
        found = found[name]
    return found
