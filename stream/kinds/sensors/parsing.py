"""Messages of any layout to Python objects: JSON, and Avro records whose schema a registry knows."""

from __future__ import annotations

from typing import Any

from wheeltapper.schemas.codec import CONTENT_TYPES, sniff_encoding
from wheeltapper.schemas.codec.json_text import parse_json
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.records import Headers


class MessageParser:
    """Reads the fields of messages that are not SensorBlocks."""

    def __init__(self, registry: SchemaRegistry, max_message_bytes: int) -> None:
        self._registry = registry
        self._max_bytes = max_message_bytes

    def checked(self, value: bytes | None) -> bytes:
        """The value where there is one, of at most the size that is read.

        Raises:
            DecodeError.
        """
        if not value:
            raise DecodeError(Reason.NOT_DECODABLE, "the message has no value, expected one")
        if len(value) > self._max_bytes:
            raise DecodeError(
                Reason.TOO_LARGE, f"{len(value)} bytes, at most {self._max_bytes} are read (input.max_message_bytes)"
            )
        return value

    def registered(self, value: bytes, headers: Headers | None) -> tuple[bool, Any]:
        """(whether the message names a schema of the registry, its fields).

        Raises:
            DecodeError: it cannot be read by that schema. InputError: the registry does not answer.
        """
        found = self._registry.split(value, headers)
        if found is None:
            return False, None
        writer, datum = found
        return True, parse_json(datum) if writer.avro is None else self._registry.read(writer, datum)

    def parse(self, value: bytes | None, headers: Headers | None) -> Any:
        """A message's fields.

        Raises:
            DecodeError: neither JSON nor of a schema of the registry. InputError: the registry does not answer.
        """
        checked = self.checked(value)
        named, fields = self.registered(checked, headers)
        if named:
            return fields
        encoding = sniff_encoding(checked, content_type_of(headers))
        if encoding != "json":
            raise DecodeError(
                Reason.NOT_DECODABLE,
                f"a message in {CONTENT_TYPES[encoding]}, expected JSON, or an Avro record whose schema is in a registry "
                "(section [registry])",
            )
        return parse_json(checked)


def content_type_of(headers: Headers | None) -> str | None:
    """What the header `content-type` says."""
    for key, value in headers or ():
        if key == "content-type" and value is not None:
            return value.decode("utf-8", "replace").strip().lower()
    return None
