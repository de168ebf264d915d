"""AudioChunk in Avro and Arrow: what is put in comes back; whatever else comes gives a chunk or a DecodeError."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tests.unit.schemas.test_codec_hostile import container, deflate_bomb, long
from wheeltapper.schemas.audio_chunk import AudioChunk, record_key, source_name, split_source
from wheeltapper.schemas.codec import CONTENT_TYPES, decode_audio_chunk, encode_audio_chunk
from wheeltapper.schemas.codec.avro_schemas import schema_fingerprint, schema_text
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.limits import MAX_VALUES

REPEATABLE = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
START = 1_793_866_380_000_000
MIB = 1024 * 1024
FORMS = [(form, encoding) for form in ("avro", "arrow") for encoding in ("int16", "float32", "flac")]
CHUNK = AudioChunk(
    "pump-7", "inlet", START, 16_000, np.array([[0, 0.25], [-0.5, 0.5], [0.125, -1]], np.float32), {"speed": 1480.0}
)

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=":\0"), min_size=1, max_size=20)
attribute_values = st.floats(allow_nan=False, allow_infinity=False) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=8
)


@st.composite
def chunks(draw: st.DrawFn, encoding: str) -> AudioChunk:
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 8 if encoding == "flac" else 64)))
    if encoding == "float32":
        samples = draw(
            st_numpy.arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
        )
    else:
        samples = draw(st_numpy.arrays(np.int16, shape)).astype(np.float32) / np.float32(32_768)
    return AudioChunk(
        draw(names), draw(st.just("") | names), draw(st.integers(0, 2**52)), draw(st.integers(1, 65_535 if encoding == "flac" else 384_000)), samples,
        draw(st.dictionaries(names, attribute_values, max_size=4)), encoding,  # type: ignore[arg-type]
    )  # fmt: skip


def assert_same(one: AudioChunk, other: AudioChunk) -> None:
    for name in ("machine", "microphone", "start", "sample_rate", "encoding", "attributes"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.samples.dtype == np.float32
    np.testing.assert_array_equal(one.samples, other.samples)


@pytest.mark.parametrize(("form", "encoding"), FORMS)
@given(data=st.data())
@settings(REPEATABLE, max_examples=60)
def test_a_chunk_comes_back_exactly(form: Any, encoding: str, data: st.DataObject) -> None:
    chunk = data.draw(chunks(encoding))
    value = encode_audio_chunk(chunk, form)
    for content_type in (None, CONTENT_TYPES[form], CONTENT_TYPES[form].encode()):
        assert_same(decode_audio_chunk(value, content_type), chunk)


def test_the_key_stands_in_for_the_machine_and_names_are_told_apart() -> None:
    # given a chunk whose message names no machine
    nameless = fields(machine="")
    # when it is read with the record's key, then that is the machine
    assert decode_audio_chunk(nameless, machine="fan-1").machine == "fan-1"
    assert reason_of(nameless) == "no-machine"
    # and machine and microphone are told apart in the name of both
    assert split_source(source_name("fan-1", "left")) == ("fan-1", "left")
    assert (record_key("fan-1::left"), record_key("fan-1")) == (b"fan-1", b"fan-1")


def fields(**changed: Any) -> bytes:
    """A chunk in Avro, with fields as no encoder of ours would write them."""
    usual = {
        "machine": "m", "microphone": "", "start": START, "sample_rate": 16_000, "channels": 1, "encoding": "int16",
        "attributes": {}, "samples": bytes(8),
    }  # fmt: skip
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema_text("audio_chunk"))), usual | changed)
    return b"\xc3\x01" + schema_fingerprint("audio_chunk") + out.getvalue()


def stream(columns: dict[str, Any], **changed: str | None) -> bytes:
    """A chunk in Arrow, with metadata as no encoder of ours would write it."""
    usual = {"machine": "m", "start": str(START), "sample_rate": "16000"}
    table = pa.table(columns).replace_schema_metadata({k: v for k, v in (usual | changed).items() if v is not None})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def flac(samples: np.ndarray, rate: int = 16_000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def of_unknown_length(data: bytes) -> bytes:
    """A FLAC file whose header does not say how long it is, as a live encoder writes it: 36 bits of zeros."""
    return data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]


INT16 = {"sound": pa.array([1, 2, 3], pa.int16())}
NOISE = np.random.default_rng(1).normal(0, 0.1, (16_000, 1))


@cache
def silence() -> bytes:
    return flac(np.zeros((3_000_000, 1)))


REFUSED: dict[str, Callable[[], tuple[bytes, str]]] = {
    "half a sample": lambda: (fields(samples=bytes(7)), "wrong-width"),
    "half a frame of two channels": lambda: (fields(samples=bytes(6), channels=2), "wrong-width"),
    "no samples": lambda: (fields(samples=b""), "not-decodable"),
    "no rate": lambda: (fields(sample_rate=0), "wrong-rate"),
    "a negative rate": lambda: (fields(sample_rate=-16_000), "wrong-rate"),
    "a rate beyond all": lambda: (fields(sample_rate=2**31 - 1), "wrong-rate"),
    "no channels": lambda: (fields(channels=0), "wrong-width"),
    "65 channels": lambda: (fields(channels=65, samples=bytes(130)), "too-large"),
    "NaN": lambda: (fields(encoding="float32", samples=np.array([1, np.nan], "<f4").tobytes()), "not-finite"),
    "infinite": lambda: (fields(encoding="float32", samples=np.array([-np.inf, 1], "<f4").tobytes()), "not-finite"),
    "an encoding that there is not": lambda: (fields(encoding="mp3"), "not-decodable"),
    "a time of nanoseconds": lambda: (fields(start=START * 1_000), "bad-time"),
    "an infinite attribute": lambda: (fields(attributes={"speed": float("inf")}), "not-finite"),
    "300 attributes": lambda: (fields(attributes={str(number): 1.0 for number in range(300)}), "too-large"),
    "an attribute of a megabyte": lambda: (fields(attributes={"product": "x" * MIB}), "too-large"),
    "a machine of a megabyte": lambda: (fields(machine="m" * MIB), "too-large"),
    "a microphone of a megabyte": lambda: (fields(microphone="m" * MIB), "too-large"),
    "the separator in the machine": lambda: (fields(machine="a::b"), "no-machine"),
    "half the separator at the machine's end": lambda: (fields(machine="a:", microphone="b"), "no-machine"),
    "a zero byte before the machine": lambda: (fields(machine="\0a"), "no-machine"),
    "bytes behind the datum": lambda: (fields() + b"\0", "not-decodable"),
    "FLAC that is none": lambda: (fields(encoding="flac", samples=b"no FLAC at all"), "not-decodable"),
    "FLAC of no bytes": lambda: (fields(encoding="flac", samples=b""), "not-decodable"),
    "FLAC that is cut off": lambda: (fields(encoding="flac", samples=flac(NOISE)[:9_000]), "not-decodable"),
    "FLAC with a hole": lambda: (
        fields(encoding="flac", samples=flac(NOISE)[:9_000] + bytes(4_000) + flac(NOISE)[13_000:]), "not-decodable"),
    "FLAC of unknown length": lambda: (fields(encoding="flac", samples=of_unknown_length(silence())), "not-decodable"),
    "FLAC of another rate": lambda: (fields(encoding="flac", samples=flac(NOISE, 8_000)), "wrong-rate"),
    "FLAC of two channels": lambda: (fields(encoding="flac", samples=flac(np.zeros((9, 2)))), "wrong-width"),
    "a WAV file, said to be FLAC": lambda: (fields(encoding="flac", samples=b"RIFF$\0\0\0WAVEfmt " + bytes(40)), "not-decodable"),
    "huge samples": lambda: (fields()[:-9] + long(2**62), "not-decodable"),
    "huge attributes": lambda: (fields()[:-10] + long(2**40), "not-decodable"),
    "too many samples": lambda: (fields(samples=bytes(2 * MAX_VALUES + 2)), "too-large"),
    "a deflate bomb": lambda: (container(json.loads(schema_text("audio_chunk")), deflate_bomb(), "deflate"), "too-large"),
    "JSON": lambda: (b'{"machine":"m"}', "not-decodable"),
    "Arrow without a start": lambda: (stream(INT16, start=None), "bad-time"),
    "Arrow, a start of letters": lambda: (stream(INT16, start="today"), "bad-time"),
    "Arrow, a start of many digits": lambda: (stream(INT16, start="9" * 5_000), "bad-time"),
    "Arrow without a rate": lambda: (stream(INT16, sample_rate=None), "wrong-rate"),
    "Arrow, a negative rate": lambda: (stream(INT16, sample_rate="-1"), "wrong-rate"),
    "Arrow without columns": lambda: (stream({}), "wrong-width"),
    "Arrow, columns of two types": lambda: (
        stream({"a": pa.array([1], pa.int16()), "b": pa.array([1], pa.float32())}), "not-a-number"),
    "Arrow, doubles": lambda: (stream({"a": pa.array([1.0])}), "not-a-number"),
    "Arrow, texts": lambda: (stream({"a": pa.array(["1"])}), "not-a-number"),
    "Arrow, nulls": lambda: (stream({"a": pa.array([1, None], pa.int16())}), "not-finite"),
    "Arrow, NaN": lambda: (stream({"a": pa.array([np.nan], pa.float32())}), "not-finite"),
    "Arrow, no rows": lambda: (stream({"a": pa.array([], pa.int16())}), "not-decodable"),
    "Arrow, 65 channels": lambda: (stream({str(number): pa.array([1], pa.int16()) for number in range(65)}), "too-large"),
    "Arrow, attributes that are no object": lambda: (stream(INT16, attributes="[1]"), "not-decodable"),
    "Arrow, attributes that are no JSON": lambda: (stream(INT16, attributes="{"), "not-decodable"),
    "Arrow, an attribute that is a list": lambda: (stream(INT16, attributes='{"a": [1]}'), "not-a-number"),
    "Arrow, another encoding than the columns": lambda: (stream(INT16, encoding="float32"), "not-decodable"),
    "Arrow, two columns of FLAC": lambda: (
        stream({"a": pa.array([1], pa.uint8()), "b": pa.array([1], pa.uint8())}), "wrong-width"),
    "Arrow, cut off": lambda: (stream(INT16)[:-40], "not-decodable"),
}  # fmt: skip


def reason_of(value: bytes, **how: Any) -> str:
    try:
        decode_audio_chunk(value, **how)
    except DecodeError as found:
        error = found
    else:
        return "chunk"
    assert error.detail
    assert "\n" not in error.detail
    return str(error.reason)


@pytest.mark.parametrize("case", REFUSED)
def test_bad_chunks_are_refused_quickly_and_in_little_memory(case: str) -> None:
    value, expected = REFUSED[case]()
    started = time.process_time()
    assert reason_of(value) == expected
    assert time.process_time() - started < 5
    tracemalloc.start()
    reason_of(value)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 200 * MIB


@pytest.mark.parametrize("form", ["avro", "arrow"])
def test_a_chunk_of_an_hour_is_too_large_and_takes_no_memory(form: str) -> None:
    # given three minutes of silence, which FLAC packs into some kilobytes, and a limit of a minute
    data = silence()
    assert len(data) < 40_000
    if form == "avro":
        value = fields(encoding="flac", samples=data)
    else:
        value = stream({"flac": pa.array(np.frombuffer(data, np.uint8))}, encoding="flac")
    # when it is read, then it is refused before three minutes are in memory
    tracemalloc.start()
    assert reason_of(value, longest_s=60.0) == "too-large"
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3_000_000 * 4
    # and without the limit it is a chunk
    assert len(decode_audio_chunk(value)) == 3_000_000
    assert reason_of(fields(samples=bytes(2 * 16_000 * 61)), longest_s=60.0) == "too-large"
    assert reason_of(fields(samples=bytes(2 * 16_000 * 60)), longest_s=60.0) == "chunk"


def test_flac_without_soundfile_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # given an installation without soundfile
    value = encode_audio_chunk(dataclasses.replace(CHUNK, encoding="flac"))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    # when FLAC comes: then the error names the extra; PCM needs none
    with pytest.raises(DecodeError, match=r"pip install 'wheeltapper\[audio\]'"):
        decode_audio_chunk(value)
    with pytest.raises(ValueError, match=r"pip install 'wheeltapper\[audio\]'"):
        encode_audio_chunk(dataclasses.replace(CHUNK, encoding="flac"))
    assert_same(decode_audio_chunk(encode_audio_chunk(CHUNK)), CHUNK)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"samples": np.array([[1.5]], np.float32)}, "send float32"),
        ({"samples": np.array([[np.nan]], np.float32)}, "no finite numbers"),
        ({"samples": np.zeros((0, 1), np.float32)}, "expected a machine and"),
        ({"samples": np.zeros((1, 65), np.float32)}, "expected a machine and"),
        ({"sample_rate": 0}, "0 Hz"),
        ({"machine": ""}, "expected a machine"),
        ({"machine": "a::b"}, "must not hold"),
        ({"samples": np.zeros((4, 9), np.float32), "encoding": "flac"}, "at most 8 channels"),
    ],
)
def test_what_no_reader_would_take_is_not_written(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        encode_audio_chunk(dataclasses.replace(CHUNK, **changed))
    with pytest.raises(ValueError, match="json"):
        encode_audio_chunk(CHUNK, "json")


def test_a_foreign_schema_is_resolved_by_names() -> None:
    # given a container of a sender that has fewer fields, in another order
    foreign = {
        "type": "record",
        "name": "AudioChunk",
        "namespace": "wheeltapper",
        "fields": [
            {"name": "samples", "type": "bytes"},
            {"name": "sample_rate", "type": "int"},
            {"name": "start", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "machine", "type": "string"},
        ],
    }
    out = io.BytesIO()
    fastavro.writer(out, foreign, [{"samples": b"\0\x40", "sample_rate": 8_000, "start": START, "machine": "m"}])
    # when it is read, then the rest is as the schema's defaults say
    chunk = decode_audio_chunk(out.getvalue())
    assert (chunk.machine, chunk.microphone, chunk.channels, chunk.encoding) == ("m", "", 1, "int16")
    assert chunk.samples.tolist() == [[0.5]]


VALID = [
    encode_audio_chunk(dataclasses.replace(CHUNK, encoding=encoding), form)  # type: ignore[arg-type]
    for form, encoding in FORMS
]


def outcome(read: Callable[[], AudioChunk]) -> None:
    try:
        chunk = read()
    except DecodeError as error:
        reason = error.reason
    else:
        reason = ""
    if reason:
        assert reason in {str(known) for known in DeadLetterReason}
        return
    assert np.isfinite(chunk.samples).all()
    assert encode_audio_chunk(dataclasses.replace(chunk, encoding="float32"))


@given(data=st.data())
@settings(REPEATABLE, max_examples=600)
def test_damaged_chunks_give_a_chunk_or_a_decode_error(data: st.DataObject) -> None:
    value = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(value) - 1))
        value[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(value)))
    content_type = data.draw(st.sampled_from([None, *CONTENT_TYPES.values()]))
    for part in (bytes(value), bytes(value[:end])):
        outcome(lambda part=part: decode_audio_chunk(part, content_type))  # type: ignore[misc]
