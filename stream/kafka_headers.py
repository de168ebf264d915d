"""Headers of records as confluent-kafka gives them, also where a name is no UTF-8, though Kafka says that names are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.stream.records import Headers

UNKNOWN_NAME = "unreadable-name"


@dataclass(frozen=True, slots=True)
class BadHeaders:
    """What can be had of headers among whose names some are no UTF-8.

    Attributes:
        name: the first bad one.
    """

    headers: Headers
    name: bytes


def headers_of(messages: Sequence[Message]) -> list[Headers | BadHeaders | None]:
    """The headers of each message.

    Never by `message.headers()` in a line of Python: where a name is no UTF-8, confluent-kafka returns a list with null pointers in
    it and sets an error too, which Python's compiled calls do not look for. The error then breaks out somewhere else, and a
    null pointer that is touched ends the process. `map` looks.
    """
    found: list[Headers | BadHeaders | None] = []
    each = map(Message.headers, messages)
    while True:
        try:
            found.extend(each)
            return found
        except (SystemError, UnicodeDecodeError) as error:
            found.append(_readable(messages[len(found)], error))


def header_of(message: Message, name: str) -> bytes | None:
    """The value of one header; None where there is none of that name."""
    (headers,) = headers_of([message])
    if isinstance(headers, BadHeaders):
        headers = headers.headers
    return next((text for found, text in headers or () if found == name), None)


def legible(name: bytes) -> str:
    """A header's name of any bytes as text: what is no UTF-8 as \\xNN."""
    return name.decode("utf-8", "backslashreplace")


def bad_header(name: bytes) -> DecodeError:
    """Why a record with such a header name is refused."""
    return DecodeError(Reason.BAD_HEADER, f"the name of a header is no UTF-8: {name[:100]!r}; expected text")


def _readable(message: Message, error: BaseException) -> BadHeaders:
    """A null pointer may be printed, but not touched; of bad names only the first is known, from the error behind the error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnicodeDecodeError):
        cause = cause.__cause__
    bad = cause.object if cause is not None else b""
    names = [legible(bad)] if bad else []
    headers: list[tuple[str, bytes | None]] = []
    for entry in next(map(Message.headers, [message])) or ():
        if repr(entry).startswith("(<NULL>,"):  # a name of these letters would have quotes
            headers.append((names.pop() if names else UNKNOWN_NAME, entry[1]))
        else:
            headers.append(entry)
    return BadHeaders(headers, bad)
