"""The Avro schemas: ours, released earlier ones, and which foreign ones are safe to read with.

`schemas/avro` holds what is written now; `schemas/released/N` is frozen: what version N wrote can be read for good.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from fastavro import parse_schema
from fastavro.read import LOGICAL_READERS
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pydantic import BaseModel

from wheeltapper.schemas.avro_records import JSON_SYMBOLS
from wheeltapper.schemas.codec import checks
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.topics import TOPICS, schema_name_of

SCHEMAS_FOLDER = Path(__file__).resolve().parents[1]

SCHEMA_NAMES: dict[type, str] = {
    spec.model: schema_name_of(spec.model) for spec in TOPICS.values() if spec.model is not None
}
"""File name, without its ending, of each message's schema."""

# A foreign schema may be nested this deep. fastavro recurses in C, where too deep ends the process.
_MAX_DEPTH = 32
_MAX_SCHEMA_BYTES = 64 * 1024
_SIZED = {"boolean", "int", "long", "float", "double", "bytes", "string"}
_MICROSECONDS = "timestamp-micros"
# What a decimal is renamed to, as fastavro's own reader makes slow Decimal objects. A float64 has 17 digits, the largest double 309.
_DECIMAL = "wheeltapper-decimal"
_MOST_DECIMAL_BYTES, _MOST_SCALE = 128, 300


def schema_name(model_type: type[BaseModel]) -> str:
    """The schema file's name of a message type.

    Raises:
        ValueError: the type has none.
    """
    name = SCHEMA_NAMES.get(model_type)
    if name is None:
        known = ", ".join(known_type.__name__ for known_type in SCHEMA_NAMES)
        raise ValueError(f"{model_type.__name__} has no Avro schema; the messages are {known}")
    return name


@cache
def schema_text(name: str) -> bytes:
    """The .avsc file that is written with."""
    return (SCHEMAS_FOLDER / "avro" / f"{name}.avsc").read_bytes()


@cache
def writer_schema(name: str) -> Any:
    """The schema that is written with, for fastavro; times are plain longs in it."""
    return _parsed(schema_text(name))


@cache
def schema_fingerprint(name: str) -> bytes:
    """8 bytes, CRC-64-AVRO of the parsing canonical form, as single-object encoding carries them."""
    return _fingerprint(schema_text(name))


class SpelledSymbols(NamedTuple):
    """A choice with values that Avro cannot spell, as 'no-data': the value of each symbol, and the symbol of each value."""

    value_of: dict[str | None, str]
    symbol_of: dict[str | None, str]


@cache
def spelled_symbols(name: str) -> dict[str, SpelledSymbols]:
    """Field of the message -> how its values are spelled; only of those fields where symbols and values differ."""
    found = {}
    for field in writer_schema(name)["fields"]:
        for branch in field["type"] if isinstance(field["type"], list) else [field["type"]]:
            if isinstance(branch, dict) and JSON_SYMBOLS in branch:
                pairs = list(zip(branch["symbols"], branch[JSON_SYMBOLS], strict=True))
                found[field["name"]] = SpelledSymbols(dict(pairs), {value: symbol for symbol, value in pairs})
    return found


def _fingerprint(text: bytes) -> bytes:
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(orjson.loads(text)), "CRC-64-AVRO"))


def _parsed(text: bytes) -> Any:
    return parse_schema(_without_logical_types(orjson.loads(text), set()))


@cache
def known_writers(name: str) -> dict[bytes, Any]:
    """Fingerprint -> schema for fastavro, of every version of a message: released ones, and the present one."""
    texts = [path.read_bytes() for path in SCHEMAS_FOLDER.glob(f"released/*/{name}.avsc")]
    writers = {_fingerprint(text): _parsed(text) for text in texts}
    writers[schema_fingerprint(name)] = writer_schema(name)
    return writers


@lru_cache(maxsize=64)
def writer_of(name: str, text: bytes) -> Any:
    """The schema that a container carries: one of ours, or a foreign one that is safe to read with.

    Raises:
        DecodeError: not an Avro schema, one that could take unbounded time or depth, or times in another unit.
    """
    if len(text) > _MAX_SCHEMA_BYTES:
        raise DecodeError(
            DeadLetterReason.TOO_LARGE, f"an Avro schema of {len(text)} bytes, at most {_MAX_SCHEMA_BYTES} are read"
        )
    try:
        schema = orjson.loads(text)
        for field in schema["fields"]:
            logical_types: set[str] = set()
            _without_logical_types(field["type"], logical_types)
            if field["name"] in _time_fields(name) and logical_types - {_MICROSECONDS}:
                raise DecodeError(
                    DeadLetterReason.BAD_TIME,
                    f"field {checks.shown(field['name'])} is {checks.shown(logical_types)}, expected {_MICROSECONDS}",
                )
        plain = parse_schema(_without_logical_types(schema, set()))
        if _height(plain, {}) > _MAX_DEPTH:
            raise ValueError(f"nested more than {_MAX_DEPTH} deep")
        known = known_writers(name).get(_fingerprint(orjson.dumps(plain)))
    except DecodeError:
        raise
    except Exception as error:  # fastavro has a dozen kinds; a schema from outside can raise any of them
        raise checks.no_block(f"no readable Avro schema: {type(error).__name__} {checks.shown(str(error))}") from None
    return plain if known is None else known


def foreign_schema(text: str, named: Sequence[str] = ()) -> Any:
    """A schema for fastavro of any record, without logical types: times are numbers then. Decimals are read as floats.

    Args:
        named: texts of the schemas that it refers to, each behind those that it refers to itself.

    Raises:
        ValueError: not an Avro schema, or one that could take unbounded time or depth.
    """
    known: dict[str, Any] = {}
    heights: dict[str, int] = {}
    try:
        for part in (*named, text):
            if len(part) > _MAX_SCHEMA_BYTES:
                raise ValueError(f"{len(part)} characters, at most {_MAX_SCHEMA_BYTES} are read")
            schema = _without_logical_types(orjson.loads(part), set(), decimals=True)
            parsed = parse_schema(schema, named_schemas=known)
            if _height(parsed, heights) > _MAX_DEPTH:
                raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    except Exception as error:  # as in `writer_of`
        raise ValueError(f"{type(error).__name__} {checks.shown(str(error))}") from None
    return parsed


@cache
def _time_fields(name: str) -> set[str]:
    """The fields of a message that are event times, or lists of them."""
    found = set()
    for field in orjson.loads(schema_text(name))["fields"]:
        logical_types: set[str] = set()
        _without_logical_types(field["type"], logical_types)
        if _MICROSECONDS in logical_types:
            found.add(field["name"])
    return found


def _without_logical_types(schema: Any, found: set[str], *, decimals: bool = False) -> Any:
    """A copy without logical types, which go to `found`, and without what fastavro would take for its own marks.

    fastavro turns logical types into datetime, Decimal and UUID objects: slow, and a time out of datetime's range
    would fail where we can say so.

    Args:
        decimals: they stay, for `_decimal`; a decimal without a usable scale is its bytes, as the specification has it.
    """
    if isinstance(schema, list):
        return [_without_logical_types(entry, found, decimals=decimals) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _without_logical_types(entry, found, decimals=decimals)
        for key, entry in schema.items()
        if key != "logicalType" and not re.match("__", key)
    }
    if "logicalType" in schema:
        found.add(str(schema["logicalType"]))
        scale = schema.get("scale", 0) if schema["logicalType"] == "decimal" and decimals else None
        if type(scale) is int and 0 <= scale <= _MOST_SCALE and schema.get("type") in ("bytes", "fixed"):
            kept |= {"logicalType": _DECIMAL, "scale": scale}
    return kept


def _decimal(unscaled: bytes, writer: dict[str, Any], reader: Any = None) -> float:
    """The number nearest to unscaled * 10^-scale, big-endian two's complement.

    Raises:
        ValueError: more bytes than a number of a machine has; OverflowError: beyond float64.
    """
    if len(unscaled) > _MOST_DECIMAL_BYTES:
        raise ValueError(f"a decimal of {len(unscaled)} bytes, at most {_MOST_DECIMAL_BYTES} are read")
    scale: int = writer["scale"]
    return int.from_bytes(unscaled, "big", signed=True) / 10**scale


LOGICAL_READERS[f"bytes-{_DECIMAL}"] = LOGICAL_READERS[f"fixed-{_DECIMAL}"] = _decimal


def _height(schema: Any, heights: dict[str, int]) -> int:
    """How deep a parsed schema nests, once every value in it is sure to take at least a byte of input.

    Reading then takes time in proportion to the message. An array of nulls or of empty records does not: its length
    is a number that costs nothing to claim. Nor does a record that holds itself end anywhere but in the message.

    Raises:
        KeyError: a value of no size, or a record within itself; ValueError: an empty record, union or fixed.
    """
    if isinstance(schema, str):
        return 1 if schema in _SIZED else heights[schema]
    if isinstance(schema, list):
        return 1 + max(_height(branch, heights) for branch in schema if branch != "null")
    kind = schema["type"]
    if kind in ("record", "error"):
        height = 1 + max(_height(field["type"], heights) for field in schema["fields"])
    elif kind in ("array", "map"):
        return 1 + _height(schema["items" if kind == "array" else "values"], heights)
    elif kind == "enum" or (kind == "fixed" and schema["size"] > 0):
        height = 1
    else:
        return _height(kind, heights)
    heights[schema["name"]] = height
    return height
