"""Bytes of JSON to Python objects, whoever wrote them: behind a byte-order mark or a registry's prefix, in UTF-16, with the bare word NaN."""

from __future__ import annotations

import re
from typing import Any

import orjson

from wheeltapper.schemas.codec.encoding import BYTE_ORDER_MARK, UTF16_MARKS, WIRE_MAGIC, WIRE_PREFIX_BYTES
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.limits import MAX_PARSED_BYTES

# Python's json.dumps writes a missing value as NaN, which JSON does not have. Texts are matched first, so that what is inside of
# them stays; possessive, so that no input takes more than one pass.
_TEXT_OR_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|(?<![\w.+-])NaN(?![\w.+-])', re.DOTALL)
_TEXT_OR_INFINITY = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?(?<![\w.+])Infinity(?![\w.+-])', re.DOTALL)


def parse_json(value: bytes) -> Any:
    """A message's fields; of a field that appears twice the last counts, and NaN is null.

    Raises:
        DecodeError: too large, not JSON, or with a number beyond float64.
    """
    if len(value) > MAX_PARSED_BYTES:
        raise DecodeError(
            DeadLetterReason.TOO_LARGE,
            f"{len(value)} bytes of JSON, at most {MAX_PARSED_BYTES} are read; send Arrow or smaller blocks",
        )
    value = plain_json(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as refused:
        error = refused
    if b"NaN" in value:
        try:
            return orjson.loads(_TEXT_OR_NAN.sub(lambda found: b"null" if found[0] == b"NaN" else found[0], value))
        except orjson.JSONDecodeError as refused:
            error = refused
    if "infinity" in str(error):  # orjson on 1e999
        raise DecodeError(DeadLetterReason.NOT_FINITE, f"a number beyond float64: {error}")
    hint = ""
    if b"Infinity" in value and any(not found.startswith(b'"') for found in _TEXT_OR_INFINITY.findall(value)):
        hint = "; Infinity is no value: send null where there is none"
    raise DecodeError(DeadLetterReason.NOT_DECODABLE, f"not JSON: {error}{hint}")


def plain_json(value: bytes) -> bytes:
    """Without the prefix of a schema registry's JSON serializer or a byte-order mark; in UTF-8.

    Raises:
        DecodeError: its mark says UTF-16, and it is not.
    """
    if value[:1] == bytes([WIRE_MAGIC]):
        value = value[WIRE_PREFIX_BYTES:]
    if value.startswith(UTF16_MARKS):
        try:
            return value.decode("utf-16").encode()
        except UnicodeError:  # lone surrogates do not fit UTF-8 either
            raise DecodeError(
                DeadLetterReason.NOT_DECODABLE, "starts with the mark of UTF-16, but is not UTF-16"
            ) from None
    return value.removeprefix(BYTE_ORDER_MARK)
