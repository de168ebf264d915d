"""Messages to bytes and back, in three encodings: JSON, Avro and Arrow IPC stream.

    block = decode_sensor_block(value, content_type)     any of the three, told apart by header or first bytes
    value = encode_sensor_block(block, "arrow")          send CONTENT_TYPES["arrow"] as the header `content-type`
    chunk = decode_audio_chunk(value, content_type)      Avro or Arrow
    alert = decode_message(AlertEvent, value)            JSON or Avro

Whatever the bytes are, a decoder returns a valid value or raises `wheeltapper.schemas.errors.DecodeError`, in bounded time and
memory. The limits are in `wheeltapper.schemas.limits`; docs/messages.md shows every message in every encoding.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.codec import arrow_codec, audio_arrow, audio_avro, avro_codec, json_codec
from wheeltapper.schemas.codec.audio_fields import check_writable
from wheeltapper.schemas.codec.encoding import CONTENT_TYPES, Encoding, sniff_encoding
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.limits import MAX_CHANNELS, MAX_MESSAGE_BYTES, MAX_PARSED_BYTES, MAX_ROWS, MAX_VALUES
from wheeltapper.schemas.sensor_block import SensorBlock

__all__ = [
    "CONTENT_TYPES",
    "MAX_CHANNELS",
    "MAX_MESSAGE_BYTES",
    "MAX_PARSED_BYTES",
    "MAX_ROWS",
    "MAX_VALUES",
    "Encoding",
    "decode_audio_chunk",
    "decode_message",
    "decode_sensor_block",
    "encode_audio_chunk",
    "encode_message",
    "encode_sensor_block",
    "sniff_encoding",
]

_BLOCK_CODECS = {"json": json_codec, "avro": avro_codec, "arrow": arrow_codec}
_AUDIO_CODECS = {"avro": audio_avro, "arrow": audio_arrow}
_MESSAGE_CODECS = {"json": json_codec, "avro": avro_codec}

M = TypeVar("M", bound=BaseModel)


def decode_sensor_block(
    value: bytes | None, content_type: str | bytes | None = None, machine: str | None = None
) -> SensorBlock:
    """Read the value of a `sensors` message.

    Args:
        value: the message's value; None is a tombstone, which is no SensorBlock.
        content_type: the message's `content-type` header, if it has one.
        machine: who sent it, where the message itself does not say: usually the message's key.

    Raises:
        DecodeError: with the `DeadLetterReason` that fits.
    """
    encoding = sniff_encoding(value, content_type)
    assert value is not None  # sniff_encoding refuses an empty value
    if len(value) > MAX_MESSAGE_BYTES:
        raise DecodeError(DeadLetterReason.TOO_LARGE, f"{len(value)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    return _BLOCK_CODECS[encoding].decode_sensor_block(value, machine)


def encode_sensor_block(block: SensorBlock, encoding: Encoding) -> bytes:
    """Write a block; with one row and JSON, in the one-row form.

    Raises:
        ValueError: the block is not what `SensorBlock` promises, or the encoding is unknown.
    """
    codec = _BLOCK_CODECS.get(encoding)
    if codec is None:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(_BLOCK_CODECS)}")
    rows, width = len(block.ts), len(block.channels)
    if block.values.shape != (rows, width) or not rows or not width or not block.machine:
        raise ValueError(
            f"block of machine {block.machine!r}: {rows} times, {width} channels, values {block.values.shape}; "
            "expected a machine, and values of shape [times, channels] with at least one of each"
        )
    if np.isinf(block.values).any():
        raise ValueError(
            f"block of machine {block.machine!r} holds infinite values; write NaN where a value is missing"
        )
    return codec.encode_sensor_block(block)


def decode_audio_chunk(
    value: bytes | None,
    content_type: str | bytes | None = None,
    machine: str | None = None,
    *,
    longest_s: float = math.inf,
) -> AudioChunk:
    """Read the value of an `audio` message.

    Args:
        content_type, machine: as of `decode_sensor_block`.
        longest_s: longer chunks are refused, before their samples are read.

    Raises:
        DecodeError: with the `DeadLetterReason` that fits.
    """
    encoding = sniff_encoding(value, content_type)
    assert value is not None  # sniff_encoding refuses an empty value
    codec = _AUDIO_CODECS.get(encoding)
    if codec is None:
        raise DecodeError(DeadLetterReason.NOT_DECODABLE, f"an AudioChunk in {encoding}, expected Avro or Arrow")
    if len(value) > MAX_MESSAGE_BYTES:
        raise DecodeError(DeadLetterReason.TOO_LARGE, f"{len(value)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    return codec.decode_audio_chunk(value, machine, longest_s)


def encode_audio_chunk(chunk: AudioChunk, encoding: Encoding = "avro") -> bytes:
    """Write a chunk; its samples as `chunk.encoding` says.

    Raises:
        ValueError: the chunk is not what `AudioChunk` promises, its samples do not fit into its encoding, or the encoding is
            unknown.
    """
    codec = _AUDIO_CODECS.get(encoding)
    if codec is None:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(_AUDIO_CODECS)}")
    check_writable(chunk)
    return codec.encode_audio_chunk(chunk)


def decode_message(model_type: type[M], value: bytes | None, content_type: str | bytes | None = None) -> M:
    """Read a message of `wheeltapper.schemas.events` from JSON or Avro.

    Fields that the type does not know are ignored, so that a newer sender may add some.

    Raises:
        DecodeError: with the `DeadLetterReason` that fits.
    """
    encoding = sniff_encoding(value, content_type)
    assert value is not None  # sniff_encoding refuses an empty value
    codec = _MESSAGE_CODECS.get(encoding)
    if codec is None:
        raise DecodeError(
            DeadLetterReason.NOT_DECODABLE, f"a {model_type.__name__} in {encoding}, expected JSON or Avro"
        )
    if len(value) > MAX_PARSED_BYTES:
        raise DecodeError(DeadLetterReason.TOO_LARGE, f"{len(value)} bytes, at most {MAX_PARSED_BYTES} are read")
    return codec.decode_message(model_type, value)


def encode_message(message: BaseModel, encoding: Encoding = "json") -> bytes:
    """Write a message of `wheeltapper.schemas.events` as JSON or Avro.

    Raises:
        ValueError: another encoding.
    """
    codec = _MESSAGE_CODECS.get(encoding)
    if codec is None:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(_MESSAGE_CODECS)}")
    return codec.encode_message(message)
