"""A plant's own JSON layout, one row a message, read as a SensorBlock by the `[input]` settings."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import nan
from typing import Any

import numpy as np
import orjson

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS, micros_from_iso
from wheeltapper.schemas.codec import MAX_PARSED_BYTES
from wheeltapper.schemas.codec.checks import shown
from wheeltapper.schemas.codec.encoding import BYTE_ORDER_MARK, WIRE_MAGIC, WIRE_PREFIX_BYTES
from wheeltapper.schemas.codec.fields import block_from_fields
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.settings import InputSettings

MICROS_PER = {"auto": 1, "us": 1, "ms": 1_000, "s": 1_000_000}


class FieldMapping:
    """Finds machine, time and values in a message of JSON."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
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
        message = _parse(value)
        if settings.is_native:
            return _native_block(message, text_of(key), fields_of)
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
            micros = micros_of(timestamp_ms, "ms")
        else:
            micros = micros_of(_find(message, settings.time, Reason.BAD_TIME, "input.time"), settings.time_unit)
        values = _find(message, settings.values, Reason.NOT_DECODABLE, "input.values") if settings.values else message
        if not isinstance(values, dict):
            raise DecodeError(
                Reason.NOT_DECODABLE,
                f"'{settings.values}' holds {type(values).__name__}, expected an object (input.values)",
            )
        fields = {name: entry for name, entry in values.items() if name not in self._beside}
        known = fields_of(machine)
        if settings.unknown_channels == "ignore":
            fields = {name: entry for name, entry in fields.items() if name in known}
        numbers = [number_of(name, entry) if name in known else nan for name, entry in fields.items()]
        row = np.array([numbers], dtype=np.float64)
        return SensorBlock(machine, np.array([micros], dtype=np.int64), tuple(fields), to_float32(row, tuple(fields)))


def _native_block(message: Any, key: str | None, fields_of: Callable[[str], Collection[str]]) -> SensorBlock:
    """A SensorBlock's own form, a row of it without the fields that nobody asked for: those may hold anything."""
    if isinstance(message, dict) and isinstance(message.get("values"), dict):
        machine = message.get("machine") or key
        if isinstance(machine, str):
            known = fields_of(machine)
            message["values"] = {name: entry for name, entry in message["values"].items() if name in known}
    return block_from_fields(message, key)


def _parse(value: bytes) -> Any:
    """JSON, also behind the prefix of a schema registry's serializer or a byte-order mark."""
    if len(value) > MAX_PARSED_BYTES:
        raise DecodeError(Reason.TOO_LARGE, f"{len(value)} bytes of JSON, at most {MAX_PARSED_BYTES} are read")
    if value[0] == WIRE_MAGIC:
        value = value[WIRE_PREFIX_BYTES:]
    try:
        return orjson.loads(value.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        reason = Reason.NOT_FINITE if "infinity" in str(error) else Reason.NOT_DECODABLE  # 1e999
        raise DecodeError(reason, f"not JSON: {error}") from error


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
    raise DecodeError(Reason.NOT_A_NUMBER, f"channel {shown(channel)} holds {shown(value)}, expected a number or null")


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
