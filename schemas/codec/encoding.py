"""Which encoding a message is in: its `content-type` header says, else its first bytes."""

from __future__ import annotations

from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.topics import Encoding

CONTENT_TYPES: dict[Encoding, str] = {
    "json": "application/json",
    "avro": "application/avro",
    "arrow": "application/vnd.apache.arrow.stream",
}
"""What to send as the header `content-type` of each encoding."""

# Other spellings seen in the wild, and the bare names, which people type.
_KNOWN_TYPES: dict[str, Encoding] = {
    **{content_type: encoding for encoding, content_type in CONTENT_TYPES.items()},
    "text/json": "json",
    "json": "json",
    "application/vnd.apache.avro": "avro",
    "application/x-avro": "avro",
    "application/x-avro-binary": "avro",
    "avro/binary": "avro",
    "avro": "avro",
    "application/x-apache-arrow-stream": "arrow",
    "arrow": "arrow",
}

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""What text in UTF-16 starts with; no other encoding of ours does."""
WIRE_MAGIC = 0x00
"""First byte of the wire format of schema registries; 4 bytes of schema id follow."""
WIRE_PREFIX_BYTES = 5
CONTAINER_MAGIC = b"Obj\x01"
"""Start of an Avro object container file."""
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
"""Start of Avro's single-object encoding; 8 bytes of schema fingerprint follow."""
ARROW_CONTINUATION = b"\xff\xff\xff\xff"
"""Start of every message of an Arrow IPC stream."""
_ARROW_FILE_MAGIC = b"ARROW1"


def sniff_encoding(value: bytes | None, content_type: str | bytes | None = None) -> Encoding:
    """The encoding that the header names; with no header, or one that is not ours, what the first bytes show.

    A bare Avro datum has no mark of its own and needs the header. Everything that starts like Avro's marked forms
    cannot be a bare datum of ours: those start with the length of a text that is not empty, an even byte above 0.

    Raises:
        DecodeError: empty, or neither header nor bytes tell.
    """
    if not value:
        raise DecodeError(DeadLetterReason.NOT_DECODABLE, "the message has no value")
    if content_type is not None:
        if isinstance(content_type, bytes):
            content_type = content_type.decode("ascii", "replace")
        named = content_type.partition(";")[0].strip().lower()
        known = _KNOWN_TYPES.get(named) or ("json" if named.endswith("+json") else None)
        if known is not None:
            return known
    if value[0] in b"{[ \t\r\n" or value.startswith((BYTE_ORDER_MARK, *UTF16_MARKS)):
        return "json"
    if value.startswith(ARROW_CONTINUATION):
        return "arrow"
    if value.startswith((CONTAINER_MAGIC, SINGLE_OBJECT_MAGIC)):
        return "avro"
    if value[0] == WIRE_MAGIC and len(value) > WIRE_PREFIX_BYTES:
        return "json" if value[WIRE_PREFIX_BYTES] in b"{[" else "avro"
    if value.startswith(_ARROW_FILE_MAGIC):
        raise DecodeError(DeadLetterReason.NOT_DECODABLE, "an Arrow IPC file, expected an Arrow IPC stream")
    raise DecodeError(
        DeadLetterReason.NOT_DECODABLE,
        f"starts with bytes {value[:8].hex(' ')}, which is neither JSON, Avro nor an Arrow IPC stream; "
        "a bare Avro datum needs the header content-type: application/avro",
    )
