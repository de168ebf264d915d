"""AudioChunk in Avro; the forms that are written and read are those of `avro_codec`.

The samples are the last field of the schema and are taken as they lie in the message; what stands before them is small.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_writer

from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.codec import audio_fields
from wheeltapper.schemas.codec.avro_codec import check_parsable, read_all, read_datum, read_part, start_datum
from wheeltapper.schemas.codec.avro_schemas import writer_schema

_AUDIO_CHUNK = "audio_chunk"
# Names, and attributes of the greatest number and length, take less than that.
_HEAD_BYTES = 4 * 1024 * 1024


@cache
def _head_schema() -> Any:
    """An AudioChunk without its last field, the samples."""
    fields = writer_schema(_AUDIO_CHUNK)["fields"]
    assert fields[-1]["name"] == "samples"
    return parse_schema({"type": "record", "name": "AudioChunkHead", "fields": fields[:-1]})


def decode_audio_chunk(value: bytes, machine: str | None, longest_s: float) -> AudioChunk:
    """Read a chunk in any form that `avro_codec` reads.

    Raises:
        DecodeError.
    """
    datum, writer = read_datum(value, _AUDIO_CHUNK)
    if writer is writer_schema(_AUDIO_CHUNK):
        source = BytesIO(datum[:_HEAD_BYTES])
        fields = read_part(source, _head_schema())
        data = read_all(datum[source.tell() :], "bytes")
    else:
        check_parsable(datum)
        fields = read_all(datum, writer, writer_schema(_AUDIO_CHUNK))
        data = fields["samples"]
    rate = audio_fields.checked_rate(fields["sample_rate"])
    channels = audio_fields.check_channels(fields["channels"])
    encoding = audio_fields.checked_encoding(fields["encoding"])
    samples = audio_fields.pcm_samples(data, encoding, rate, channels, longest_s)
    return audio_fields.chunk_of(fields, samples, encoding, machine)


def encode_audio_chunk(chunk: AudioChunk) -> bytes:
    """Write a chunk in single-object encoding."""
    out = start_datum(_AUDIO_CHUNK)
    fields = {
        "machine": chunk.machine,
        "microphone": chunk.microphone,
        "start": chunk.start,
        "sample_rate": chunk.sample_rate,
        "channels": chunk.channels,
        "encoding": chunk.encoding,
        "attributes": {
            name: value if isinstance(value, str) else float(value) for name, value in chunk.attributes.items()
        },
        "samples": audio_fields.written(chunk),
    }
    schemaless_writer(out, writer_schema(_AUDIO_CHUNK), fields)
    return out.getvalue()
