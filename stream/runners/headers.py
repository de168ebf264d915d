"""Headers of records whose names are no UTF-8, though Kafka says that they are."""

from __future__ import annotations

from confluent_kafka import Message

from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.stream.records import Headers

UNKNOWN_NAME = "unreadable-name"


def legible(name: bytes) -> str:
    """A header's name of any bytes as text: what is no UTF-8 as \\xNN."""
    return name.decode("utf-8", "backslashreplace")


def bad_header(name: bytes) -> DecodeError:
    """Why a record with such a header name is refused."""
    return DecodeError(Reason.BAD_HEADER, f"the name of a header is no UTF-8: {name[:100]!r}; expected text")


def readable_headers(message: Message, error: SystemError) -> tuple[Headers, bytes]:
    """What can be had of headers that confluent-kafka could not decode, and the first bad name.

    Args:
        error: what `message.headers()` has just raised.

    confluent-kafka puts null pointers where names should be, raises SystemError, and gives the list when it is asked again. A null
    pointer may be printed, but not touched. Of bad names only the first is known, from the error behind the error.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnicodeDecodeError):
        cause = cause.__cause__
    name = cause.object if cause is not None else b""
    names = [legible(name)] if name else []
    headers: list[tuple[str, bytes | None]] = []
    for entry in message.headers() or ():
        if repr(entry).startswith("(<NULL>,"):  # a name of these letters would have quotes
            headers.append((names.pop() if names else UNKNOWN_NAME, entry[1]))
        else:
            headers.append(entry)
    return headers, name
