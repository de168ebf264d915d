"""Schemas by the ids that messages carry, from a schema registry; and the messages that were written by them.

A message of a registry's serializer begins with a zero byte and its schema's number (4 bytes), or has its schema's GUID or number
in the header `__value_schema_id`. It is read by the very schema that it was written with, whatever fields that has.
"""

from __future__ import annotations

import re
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import structlog

from wheeltapper.schemas.codec.avro_codec import check_parsable, read_all
from wheeltapper.schemas.codec.avro_schemas import foreign_schema
from wheeltapper.schemas.codec.checks import shown
from wheeltapper.schemas.codec.encoding import WIRE_MAGIC, WIRE_PREFIX_BYTES
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.stream.records import Headers
from wheeltapper.stream.settings.registry import RegistrySettings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

log = structlog.get_logger(__name__)

SCHEMA_HEADER = "__value_schema_id"
_GUID_MAGIC = 1
_GUID_BYTES = 16
_MOST_REFERENCES = 256

FORGET_UNKNOWN_S = 60.0
"""An id that the registry does not know is asked for again after this: made-up ids must not cost a request each."""
_PAUSE_S = 0.5

SchemaName: TypeAlias = int | str
"""A schema's number, or its GUID."""


@dataclass(frozen=True, slots=True)
class _Writer:
    """A schema as far as it can be read with.

    Attributes:
        avro: for fastavro; None of a JSON schema.
        fault: why messages of it cannot be read; '' where they can.
        until: monotonic time (s) at which it is asked for again; None: never, as schemas do not change.
    """

    avro: Any = None
    fault: str = ""
    until: float | None = None


class SchemaRegistry:
    """Finds schemas, and keeps them. Without an url it leaves messages alone."""

    def __init__(self, settings: RegistrySettings) -> None:
        """
        Raises:
            InputError: the client is not installed, or does not take the settings.
        """
        self._settings = settings
        self._url = re.sub(r"//[^/@]*@", "//", settings.url or "")
        """Without a password."""
        self._writers: OrderedDict[SchemaName, _Writer] = OrderedDict()
        self._client = None if settings.url is None else _open_client(settings)
        if self._client is not None:
            weakref.finalize(self, self._client.close)  # a worker's session that ends leaves no connection open

    def split(self, value: bytes, headers: Headers | None) -> tuple[_Writer, bytes] | None:
        """A message's schema and its datum; None where it names no schema, or no registry is set.

        Raises:
            DecodeError: no such schema, or one that cannot be read with.
            InputError: the registry does not answer, or refuses this client.
        """
        if self._client is None:
            return None
        name, datum = _schema_name(value, headers)
        if name is None:
            return None
        writer = self._writers.get(name)
        if writer is None or (writer.until is not None and writer.until < time.monotonic()):
            writer = self._writers[name] = self._ask(name)
            if len(self._writers) > self._settings.cached_schemas:
                self._writers.popitem(last=False)
        if writer.fault:
            raise DecodeError(Reason.NOT_DECODABLE, f"schema {name} {writer.fault}")
        return writer, datum

    def read(self, writer: _Writer, datum: bytes) -> Any:
        """The fields of an Avro datum, as JSON would have them.

        Raises:
            DecodeError.
        """
        check_parsable(datum)
        return read_all(datum, writer.avro)

    def _ask(self, name: SchemaName) -> _Writer:
        """The schema from the registry, which is waited for."""
        deadline = time.monotonic() + self._settings.timeout_s
        while True:
            try:
                return self._writer(name)
            except Exception as error:  # the HTTP client's many, and the registry's own
                status = getattr(error, "http_status_code", None)
                if status == 404:
                    until = time.monotonic() + FORGET_UNKNOWN_S
                    return _Writer(fault=f"is not in the registry at {self._url}: {error}", until=until)
                if status in (401, 403):
                    raise InputError(
                        f"registry.url {self._url} refuses this user ({error}): check registry.username and "
                        "registry.password, and the right to read schemas"
                    ) from error
                if time.monotonic() > deadline:
                    raise InputError(
                        f"registry.url {self._url} did not give schema {name} within {self._settings.timeout_s:g} s "
                        f"({type(error).__name__}: {shown(str(error))}): start it, or correct [registry]. Nothing is lost: the "
                        "messages are read again"
                    ) from error
                log.warning("schema registry does not answer, trying again", url=self._url, error=str(error))
                time.sleep(_PAUSE_S)

    def _writer(self, name: SchemaName) -> _Writer:
        assert self._client is not None
        schema = self._client.get_schema(name) if isinstance(name, int) else self._client.get_schema_by_guid(name)
        if schema.schema_type == "JSON":
            return _Writer()
        if schema.schema_type not in (None, "AVRO"):
            return _Writer(fault=f"is of type {schema.schema_type}, expected AVRO or JSON")
        try:
            return _Writer(foreign_schema(schema.schema_str or "", self._references(schema, {})))
        except ValueError as error:
            return _Writer(fault=f"is no Avro schema that can be read with: {error}")

    def _references(self, schema: Schema, found: dict[tuple[str, int], str]) -> list[str]:
        """Texts of the schemas that one refers to, each behind those that it refers to itself.

        Raises:
            ValueError: too many.
        """
        assert self._client is not None
        for reference in schema.references or ():
            subject, version = reference.subject or "", reference.version or 0
            if (subject, version) in found:
                continue
            if len(found) >= _MOST_REFERENCES:
                raise ValueError(f"it refers to more than {_MOST_REFERENCES} schemas")
            referred = self._client.get_version(subject, version).schema
            assert referred is not None
            self._references(referred, found)
            found[subject, version] = referred.schema_str or ""
        return list(found.values())


def _schema_name(value: bytes, headers: Headers | None) -> tuple[SchemaName | None, bytes]:
    """The schema that a message names, and its datum."""
    for header, content in headers or ():
        if header == SCHEMA_HEADER and content:
            if content[0] == _GUID_MAGIC and len(content) == 1 + _GUID_BYTES:
                return str(UUID(bytes=bytes(content[1:]))), value
            if content[0] == WIRE_MAGIC and len(content) == WIRE_PREFIX_BYTES:
                return int.from_bytes(content[1:], "big"), value
    if value[:1] == bytes([WIRE_MAGIC]) and len(value) > WIRE_PREFIX_BYTES:
        return int.from_bytes(value[1:WIRE_PREFIX_BYTES], "big"), value[WIRE_PREFIX_BYTES:]
    return None, value


def _open_client(settings: RegistrySettings) -> SchemaRegistryClient:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise InputError(
            f"registry.url needs {error.name}, which is not installed: pip install 'wheeltapper[registry]'"
        ) from error
    config: dict[str, Any] = {
        "url": settings.url,
        "timeout": min(10.0, settings.timeout_s),
        "max.retries": 0,  # `_ask` tries again
        "cache.capacity": settings.cached_schemas,
    }
    if settings.username is not None:
        password = "" if settings.password is None else settings.password.get_secret_value()
        config["basic.auth.user.info"] = f"{settings.username}:{password}"
    if settings.token is not None:
        config |= {
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": settings.token.get_secret_value(),
            "bearer.auth.logical.cluster": "",
        }
    for key in ("ca", "certificate", "key"):
        path = getattr(settings, f"ssl_{key}_location")
        if path is not None:
            config[f"ssl.{key}.location"] = str(path)
    if settings.ssl_key_password is not None:
        config["ssl.key.password"] = settings.ssl_key_password.get_secret_value()
    try:
        return SchemaRegistryClient(config)
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"section [registry]: {error}; correct it") from error
