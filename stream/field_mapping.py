"""A plant's own JSON layout, one row a message, read as a SensorBlock by the `[input]` settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from schemas.clock import MAX_MICROS, MIN_MICROS, micros_from_iso
from schemas.codec.checks import shown
from schemas.errors import DecodeError
from schemas.events import DeadLetterReason as Reason
from schemas.sensor_block import SensorBlock
from stream.settings import InputSettings

MICROS_PER = {"auto": 1, "us": 1, "ms": 1_000, "s": 1_000_000}


class FieldMapping:
    """Finds machine, time and values in a message of JSON."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings

    def block(self, value: bytes, key: bytes | None, timestamp_ms: int) -> SensorBlock:
        """One message to a block of one row, channels named as the message names them.

        Raises:
            DecodeError: with the setting to look at in its detail.
        """
        settings = self._settings
        try:
            message = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise DecodeError(Reason.NOT_DECODABLE, f"not JSON: {error}") from error
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
            micros = timestamp_ms * 1_000
        else:
            micros = micros_of(_find(message, settings.time, Reason.BAD_TIME, "input.time"), settings.time_unit)
        values = _find(message, settings.values, Reason.NOT_DECODABLE, "input.values") if settings.values else message
        if not isinstance(values, dict):
            raise DecodeError(
                Reason.NOT_DECODABLE,
                f"'{settings.values}' holds {type(values).__name__}, expected an object (input.values)",
            )
        beside = {settings.machine.partition(".")[0], settings.time.partition(".")[0]} if not settings.values else set()
        fields = {name: entry for name, entry in values.items() if name not in beside}
        if settings.unknown_channels == "ignore":
            # Fields that nobody asked for may hold anything; those that are asked for are checked by number_of.
            fields = {name: entry for name, entry in fields.items() if entry is None or isinstance(entry, int | float)}
        row = np.array([[number_of(name, entry) for name, entry in fields.items()]], dtype=np.float64)
        return SensorBlock(machine, np.array([micros], dtype=np.int64), tuple(fields), to_float32(row, tuple(fields)))


def micros_of(time: Any, unit: str) -> int:
    """Event time in a setting's unit to microseconds.

    Raises:
        DecodeError: not a time of that unit.
    """
    try:
        if type(time) is str and unit in ("auto", "iso"):
            return micros_from_iso(time)
        if type(time) is int and unit == "ns":
            micros = time // 1_000
        elif type(time) is int and unit != "iso":
            micros = time * MICROS_PER[unit]
        elif type(time) is float and unit in ("s", "ms"):
            micros = round(time * MICROS_PER[unit])
        else:
            raise ValueError(f"{type(time).__name__} does not fit the unit '{unit}' (input.time_unit)")
        if not MIN_MICROS <= micros <= MAX_MICROS:
            raise ValueError("outside of the years 1 to 9999: is the unit right (input.time_unit)?")
    except (ValueError, OverflowError) as error:
        raise DecodeError(Reason.BAD_TIME, f"time is {shown(time)}: {error}") from error
    return micros


def number_of(channel: str, value: Any) -> float:
    """A channel's value as float, null as NaN; DecodeError for anything that is not a number."""
    if value is None:
        return float("nan")
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    raise DecodeError(Reason.NOT_A_NUMBER, f"channel '{channel}' holds {shown(value)}, expected a number or null")


def to_float32(values: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    """[n, C] float64 with NaN for null to float32; DecodeError where a value is infinite or too large."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if np.isinf(narrow).any():
        row, column = np.argwhere(np.isinf(narrow))[0]
        raise DecodeError(
            Reason.NOT_FINITE,
            f"channel '{channels[column]}' holds {values[row, column]}, expected a finite 32-bit number",
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
