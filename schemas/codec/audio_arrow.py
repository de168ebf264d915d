"""AudioChunk as an Arrow IPC stream.

    schema metadata   machine, microphone, start (microseconds), sample_rate, attributes (a JSON object): UTF-8
    columns           one a channel, all int16 or all float32, no nulls
                      or one of uint8, a row a byte: a FLAC file; metadata encoding = flac, channels = how many it has

Several record batches in a stream are one after the other. The names of columns are for people: their order counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from wheeltapper.schemas.arrow_arrays import arrow_array
from wheeltapper.schemas.audio_chunk import AudioChunk, AudioEncoding
from wheeltapper.schemas.codec import audio_fields, checks
from wheeltapper.schemas.codec.arrow_codec import END_OF_STREAM, FRAME, column_values, frame_end
from wheeltapper.schemas.codec.arrow_layout import is_little_endian, read_layout
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.limits import MAX_MESSAGE_BYTES

# The metadata is small: names, and attributes of the greatest number and length.
_MAX_SCHEMA_BYTES = 4 * 1024 * 1024
_ENCODING_OF: dict[Any, AudioEncoding] = {pa.int16(): "int16", pa.float32(): "float32", pa.uint8(): "flac"}
_KINDS: dict[AudioEncoding, str] = {"int16": "<i2", "float32": "<f4", "flac": "<u1"}


class _Schema(NamedTuple):
    fields: dict[str, Any]
    encoding: AudioEncoding
    columns: int
    channels: int


def decode_audio_chunk(value: bytes, machine: str | None, longest_s: float) -> AudioChunk:
    """Read a stream.

    Raises:
        DecodeError.
    """
    position = frame_end(value, 0)
    if position > _MAX_SCHEMA_BYTES:
        raise DecodeError(Reason.TOO_LARGE, f"a schema of {position} bytes, at most {_MAX_SCHEMA_BYTES} are read")
    schema = _read_schema(value[:position])
    rate = schema.fields["sample_rate"]
    kinds = (_KINDS[schema.encoding],) * schema.columns
    rows = 0

    def check_rows(more: int) -> None:
        if schema.encoding != "flac":
            audio_fields.check_length(rows + more, rate, schema.channels, longest_s)
        elif rows + more > MAX_MESSAGE_BYTES:
            raise DecodeError(Reason.TOO_LARGE, f"{rows + more} bytes of FLAC, at most {MAX_MESSAGE_BYTES} are read")

    parts: list[np.ndarray] = []
    while len(value) - position >= FRAME.size and not value.startswith(END_OF_STREAM, position):
        header_end = frame_end(value, position)
        layout = read_layout(value[position + FRAME.size : header_end], kinds, check_rows)
        body = memoryview(value)[header_end : header_end + layout.body_bytes]
        if len(body) < layout.body_bytes:
            raise checks.no_block(f"the stream ends {layout.body_bytes - len(body)} bytes before its batch does")
        if nulls := sum(column.nulls for column in layout.columns):
            raise DecodeError(
                Reason.NOT_FINITE, f"{nulls} samples are null, expected numbers; a gap is noticed by itself"
            )
        if layout.rows:
            rows += layout.rows
            parts.append(np.stack([column_values(body, layout, column) for column in layout.columns], axis=1))
        position = header_end + layout.body_bytes
    if not parts:
        raise checks.no_block("no samples, expected at least one")
    stored = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if schema.encoding == "flac":
        samples = audio_fields.pcm_samples(stored.tobytes(), "flac", rate, schema.channels, longest_s)
    elif schema.encoding == "int16":
        samples = audio_fields.scaled(stored)
    else:
        samples = stored.astype(np.float32)
    return audio_fields.chunk_of(schema.fields, samples, schema.encoding, machine)


def _read_schema(prefix: bytes) -> _Schema:
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(prefix))
        types = list(schema.types)
        metadata = {key.decode(): text.decode() for key, text in (schema.metadata or {}).items()}
        little_endian = is_little_endian(prefix[FRAME.size :])
    except Exception as error:  # Arrow's C++ errors come as a dozen Python types
        raise checks.no_block(f"no Arrow schema: {checks.shown(str(error))}") from None
    if not little_endian:
        raise checks.no_block("big-endian Arrow buffers, expected little-endian")
    if not types:
        raise DecodeError(Reason.WRONG_WIDTH, "no columns, expected one a channel")
    encoding = _ENCODING_OF.get(types[0])
    if encoding is None or len(set(types)) > 1:
        found = checks.shown(", ".join(dict.fromkeys(map(str, types))))
        raise DecodeError(
            Reason.NOT_A_NUMBER,
            f"columns are {found}; expected all int16, all float32, or one of uint8 with FLAC in it",
        )
    named = metadata.get("encoding", encoding)
    if named != encoding:
        raise checks.no_block(f"encoding is {checks.shown(named)}, but the columns are {types[0]}, which is {encoding}")
    channels = audio_fields.check_channels(len(types))
    if encoding == "flac":
        if channels != 1:
            raise DecodeError(Reason.WRONG_WIDTH, f"{channels} columns of FLAC, expected one")
        channels = audio_fields.check_channels(_whole(metadata, "channels", Reason.WRONG_WIDTH, "1"))
    fields = {
        "machine": metadata.get("machine"),
        "microphone": metadata.get("microphone"),
        "start": _whole(metadata, "start", Reason.BAD_TIME),
        "sample_rate": audio_fields.checked_rate(_whole(metadata, "sample_rate", Reason.WRONG_RATE)),
        "attributes": _attributes(metadata),
    }
    return _Schema(fields, encoding, len(types), channels)


def _whole(metadata: Mapping[str, str], name: str, reason: Reason, default: str | None = None) -> int:
    text = metadata.get(name, default)
    try:
        if text is None or len(text) > 20:  # more digits than 64 bits have
            raise ValueError
        return int(text)
    except ValueError:
        raise DecodeError(
            reason, f"the schema's metadata has {name} = {checks.shown(text)}, expected a whole number"
        ) from None


def _attributes(metadata: Mapping[str, str]) -> Any:
    text = metadata.get("attributes")
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise checks.no_block(f"attributes are no JSON object: {checks.shown(str(error))}") from None


def encode_audio_chunk(chunk: AudioChunk) -> bytes:
    """Write a chunk as one batch."""
    metadata = {
        "machine": chunk.machine,
        "microphone": chunk.microphone,
        "start": str(chunk.start),
        "sample_rate": str(chunk.sample_rate),
        "encoding": chunk.encoding,
        "attributes": orjson.dumps(dict(chunk.attributes)).decode(),
    }
    names = [f"channel{number}" for number in range(chunk.channels)]
    if chunk.encoding == "flac":
        metadata["channels"] = str(chunk.channels)
        names = ["flac"]
        columns = np.frombuffer(audio_fields.written(chunk), dtype=np.uint8)[None]
    elif chunk.encoding == "int16":
        columns = np.ascontiguousarray(audio_fields.integers_of(chunk).T, dtype=np.int16)
    else:
        columns = np.ascontiguousarray(chunk.samples.T, dtype=np.float32)
    arrays = [arrow_array(column) for column in columns]
    fields = [pa.field(name, array.type, nullable=False) for name, array in zip(names, arrays, strict=True)]
    schema = pa.schema(fields, metadata=metadata)
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return b"".join([schema.serialize().to_pybytes(), batch.serialize(), END_OF_STREAM])
