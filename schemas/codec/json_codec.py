"""JSON: one row or a block of rows, for whoever has nothing better.

    {"machine": "pump-7", "ts": "2026-11-05T08:00:00Z", "values": {"flow": 12.5, "pressure": null}}
    {"machine": "pump-7", "ts": [..], "channels": ["flow", "pressure"], "values": [[12.5, null], ..]}

`ts` is ISO 8601 or integer microseconds; a missing value is null, or the bare word NaN. Unknown fields are ignored; of a field that appears twice the last counts.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError

from wheeltapper.schemas.codec import checks
from wheeltapper.schemas.codec.fields import block_from_fields
from wheeltapper.schemas.codec.json_text import parse_json, plain_json
from wheeltapper.schemas.sensor_block import SensorBlock

M = TypeVar("M", bound=BaseModel)

# float32 written with its own shortest digits is read back exactly through float64 if its magnitude is in this range:
# it has at most 9 digits, so at most 12 after the point, and is then never nearer to the middle between two float32
# than one float64 step; above, every such number is a float64. Outside, e.g. 7.038531e-26 comes back as its neighbour.
_SHORT_DIGITS_MIN = 1e-4
_SHORT_DIGITS_MAX = 2.0**53


def decode_sensor_block(value: bytes, machine: str | None = None) -> SensorBlock:
    """Read a row or a block.

    Args:
        machine: stands in where the message names none.

    Raises:
        DecodeError.
    """
    return block_from_fields(parse_json(value), machine)


def encode_sensor_block(block: SensorBlock) -> bytes:
    """Write a block: times as integer microseconds, values with float32's shortest digits, NaN as null.

    Where a reader that parses float64 and rounds to float32 would not get the same value back, as most JSON readers
    do, the values are written with the digits of float64 instead.
    """
    values = np.ascontiguousarray(block.values, dtype=np.float32)
    text = _encode(block, values)
    magnitude = np.abs(values)
    doubtful = ((magnitude < _SHORT_DIGITS_MIN) & (magnitude > 0)) | (magnitude > _SHORT_DIGITS_MAX)
    if doubtful.any() and not np.array_equal(decode_sensor_block(text).values, values, equal_nan=True):
        text = _encode(block, values.astype(np.float64))
    return text


def _encode(block: SensorBlock, values: np.ndarray) -> bytes:
    if len(block.ts) == 1:
        row = dict(zip(block.channels, values[0], strict=True))
        message = {"machine": block.machine, "ts": int(block.ts[0]), "values": row}
    else:
        times = np.ascontiguousarray(block.ts, dtype=np.int64)
        message = {"machine": block.machine, "ts": times, "channels": block.channels, "values": values}
    return orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)


def decode_message(model_type: type[M], value: bytes) -> M:
    """Read one of the models of `wheeltapper.schemas.events`.

    Raises:
        DecodeError.
    """
    try:
        return model_type.model_validate_json(plain_json(value), strict=True)
    except ValidationError as error:
        raise checks.no_block(f"no {model_type.__name__}: {first_complaint(error)}") from None


def first_complaint(error: ValidationError) -> str:
    """The first of a validation's complaints, in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    found = "" if first["type"] in ("json_invalid", "missing") else f", got {checks.shown(first['input'])}"
    return f"{place + ': ' if place else ''}{first['msg']}{found}"


def encode_message(message: BaseModel) -> bytes:
    """Write one of the models of `wheeltapper.schemas.events`."""
    return orjson.dumps(message.model_dump())
