"""From parsed fields to a SensorBlock: what JSON and foreign Avro have in common once they are Python objects."""

from __future__ import annotations

import struct
from collections.abc import Collection
from functools import lru_cache
from math import isfinite, nan
from typing import Any

import numpy as np

from wheeltapper.schemas.codec import checks
from wheeltapper.schemas.codec.checks import no_block, shown
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.sensor_block import SensorBlock


def block_from_fields(message: Any, machine: str | None) -> SensorBlock:
    """One row (`ts` a time, `values` channel -> number) or a block (`ts`, `channels`, `values` lists).

    Infinite values pass where the encoding can hold them: the caller checks.

    Raises:
        DecodeError.
    """
    if type(message) is not dict:
        raise no_block(f"{shown_type(message)}, expected an object with machine, ts and values")
    named = checks.checked_machine(message.get("machine"), machine)
    ts, values = message.get("ts"), message.get("values")
    if type(ts) is list:
        return _block(named, ts, message.get("channels"), values)
    moment = checks.checked_time(ts)
    if type(values) is not dict:
        raise no_block(f"values is {shown_type(values)}, expected an object {{channel: number or null}}")
    channels = checks.checked_channels(tuple(values))
    numbers = np.frombuffer(bytearray(_row_values(values.values(), channels)), dtype=np.float32)
    return SensorBlock(named, np.array([moment], dtype=np.int64), channels, numbers.reshape(1, -1))


def _block(machine: str, ts: list[Any], channels: Any, values: Any) -> SensorBlock:
    if type(channels) is not list or type(values) is not list:
        raise no_block(
            f"ts is a list, channels is {shown_type(channels)} and values is {shown_type(values)}; expected lists"
        )
    names = checks.checked_channels(tuple(channels))
    checks.check_size(len(ts), len(names))
    times = checks.checked_times(ts)
    return SensorBlock(machine, times, names, block_values(values, len(ts), names))


_SHOWN_TYPES = {
    dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number",
    type(None): "missing or null",
}  # fmt: skip


def shown_type(found: object) -> str:
    """A parsed value's kind, for an error text."""
    return _SHOWN_TYPES.get(type(found), type(found).__name__)


@lru_cache(maxsize=256)
def _row_packer(width: int) -> struct.Struct:
    return struct.Struct(f"={width}f")


def _row_values(row: Collection[Any], channels: tuple[str, ...]) -> bytes:
    """One row of numbers and nulls as float32 bytes, machine order.

    struct takes what is a number (true and false as 1 and 0) and nothing else, and refuses what float32 cannot hold;
    numpy would read the text "1.5" as a number and make an infinity of 1e39 without a word.

    Args:
        row: as many values as channels.
    """
    try:
        return _row_packer(len(channels)).pack(*row)
    except (struct.error, OverflowError, TypeError):
        return _row_packer(len(channels)).pack(
            *(_number(channel, value) for channel, value in zip(channels, row, strict=True))
        )


def _number(channel: str, value: Any) -> float:
    if value is None:
        return nan
    if not isinstance(value, (int, float)):
        raise DecodeError(
            DeadLetterReason.NOT_A_NUMBER, f"channel {shown(channel)} is {shown(value)}, expected a number or null"
        )
    try:
        number = float(value)
        if isfinite(number):
            struct.pack("=f", number)
    except OverflowError:
        raise DecodeError(
            DeadLetterReason.NOT_FINITE, f"channel {shown(channel)} is {shown(value)}, beyond what float32 holds"
        ) from None
    return number


def block_values(rows: list[Any], count: int, channels: tuple[str, ...]) -> np.ndarray:
    """Lists of numbers and nulls as [n, C] float32.

    Args:
        rows: lists, one a row, each as wide as `channels`.
        count: how many rows the block's times say it has.
    """
    width = len(channels)
    if len(rows) != count:
        raise DecodeError(DeadLetterReason.WRONG_WIDTH, f"{len(rows)} rows of values for {count} times")
    checks.check_size(count, width)
    if set(map(type, rows)) != {list}:
        raise no_block("values hold something else than lists, expected one list a row")
    if set(map(len, rows)) != {width}:
        index, row = next((index, row) for index, row in enumerate(rows) if len(row) != width)
        raise DecodeError(DeadLetterReason.WRONG_WIDTH, f"row {index} has {len(row)} values for {width} channels")
    packed = b"".join([_row_values(row, channels) for row in rows])
    return np.frombuffer(bytearray(packed), dtype=np.float32).reshape(count, width)
