"""A plant's own JSON layout, one row a message, read as a SensorBlock by the `[input]` settings."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import nan
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.codec.checks import shown
from wheeltapper.schemas.codec.fields import block_from_fields
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.readings import NumberStyle, ReadingError, TimeStyle, parse_number, parse_time
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.left_out import IgnoredFields
from wheeltapper.stream.paths import MISSING, Found, Places, Side
from wheeltapper.stream.records import key_text
from wheeltapper.stream.settings import InputSettings

# Whole numbers from here to the end of the calendar are microseconds, by their size alone: from 2001-09-09 on.
LEAST_MICROS = 10**15
RECORD_TIME = TimeStyle("ms")
_MOST_GROUPS = 8
"""Groups within each other whose fields are channels."""


class FieldMapping:
    """Finds machine, time and values in a message of JSON, or in the fields of one in Avro."""

    def __init__(self, settings: InputSettings, ignored: IgnoredFields | None = None) -> None:
        """
        Args:
            ignored: says which fields are ignored.

        Raises:
            InputError: paths that cannot be read, or do not fit each other.
        """
        self._settings = settings
        self._times, self._numbers = settings.times, settings.numbers
        self._ignored = ignored or IgnoredFields()
        self._places = Places(settings.values)
        self._machine = self._side(settings.machine, "key", "input.machine")
        self._time = self._side(settings.time, "record", "input.time")

    def _side(self, path: str, special: str, setting: str) -> Side | None:
        """None: it is not in the message. In flat rows the fields that hold machine and time are no channels."""
        if path == special:
            return None
        try:
            return self._places.beside(path)
        except ValueError as error:
            raise InputError(f"setting {setting}: {error}") from error

    def blocks(
        self, message: Any, key: bytes | None, timestamp_ms: int, fields_of: Callable[[str], Collection[str]]
    ) -> list[SensorBlock]:
        """One message to its rows, channels named as the message names them.

        Args:
            fields_of: names under which a machine's channels may come; what other fields hold is not looked at.

        Raises:
            DecodeError: with the setting to look at in its detail.
        """
        settings = self._settings
        if settings.is_native:
            return [self._native_block(message, key_text(key), timestamp_ms, fields_of)]
        if not isinstance(message, dict) and not self._places.begins_in_list:
            raise DecodeError(Reason.NOT_DECODABLE, f"JSON {type(message).__name__}, expected an object")
        blocks = [self._row(found, key, timestamp_ms, fields_of) for found in self._places.find(message)]
        if not blocks and not self._places.is_empty(message):
            raise DecodeError(Reason.NOT_DECODABLE, f"the message has no field '{settings.values}' (input.values)")
        return blocks

    def _row(
        self, found: Found, key: bytes | None, timestamp_ms: int, fields_of: Callable[[str], Collection[str]]
    ) -> SensorBlock:
        settings = self._settings
        machine: Any = key_text(key) if self._machine is None else self._machine.of(found)
        if machine is MISSING:
            raise DecodeError(Reason.NO_MACHINE, f"the message has no field '{settings.machine}' (input.machine)")
        if type(machine) is int:
            machine = str(machine)
        if not isinstance(machine, str) or not machine:
            raise DecodeError(
                Reason.NO_MACHINE, f"machine is {shown(machine)}, expected a text or whole number (input.machine)"
            )
        if self._time is None:
            if timestamp_ms < 0:
                raise DecodeError(Reason.BAD_TIME, "the record has no timestamp (input.time)")
            micros = micros_of(timestamp_ms, RECORD_TIME)
        else:
            time = self._time.of(found)
            if time is MISSING:
                raise DecodeError(Reason.BAD_TIME, f"the message has no field '{settings.time}' (input.time)")
            micros = micros_of(time, self._times, near_of(timestamp_ms))
        if not isinstance(found.value, dict):
            raise DecodeError(
                Reason.NOT_DECODABLE,
                f"'{settings.values}' holds {type(found.value).__name__}, expected an object (input.values)",
            )
        known = fields_of(machine)
        beside = self._places.beside_channels
        fields: dict[str, Any] = {}
        for name, entry in found.value.items():
            if name in beside:
                continue
            if isinstance(entry, dict) and name not in known:
                _unfold(name, entry, fields, _MOST_GROUPS)
            else:
                fields[name] = entry
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


def _unfold(group: str, entries: dict[str, Any], fields: dict[str, Any], depth: int) -> None:
    """Fields of a group, named `group.field`."""
    for name, entry in entries.items():
        if isinstance(entry, dict) and depth:
            _unfold(f"{group}.{name}", entry, fields, depth - 1)
        else:
            fields[f"{group}.{name}"] = entry


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
