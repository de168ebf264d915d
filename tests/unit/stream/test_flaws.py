"""Frames and records that a Kafka client cannot read: what comes of them, and that nothing else is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.raw_frames import CODECS, RawRecord, frame_of
from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    REPEATABLE,
    TOPIC,
    assert_same_scores,
    block_of,
    feed,
    letters_of,
    row_by_row,
)
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.runners import frames
from wheeltapper.stream.runners.frames import Frames
from wheeltapper.stream.runners.raw_frames import add_records
from wheeltapper.stream.settings import Settings

GOOD: tuple[RawRecord, ...] = (
    (b"k", b'{"a": 1}', [(b"content-type", b"application/json"), (b"trace", None)]),
    (None, None, []),
    (b"\xff\xfe", b"\x00" * 5_000, [("räume".encode(), b"\xff")]),
)
RECORDS = st.tuples(
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=200),
    st.lists(st.tuples(st.text(max_size=8).map(str.encode), st.none() | st.binary(max_size=8)), max_size=3),
)


def read(data: bytes, first: int = 0) -> PartitionBatch:
    """All records of an answer of a broker, from an offset on, as both runners take them."""
    batch = PartitionBatch(TOPIC, 0)
    found = Frames(data)
    while found.has_next():
        frame = found.next_batch()
        assert frame.validate_crc()
        add_records(batch, (record for record in frame if record.offset >= first))
    return batch


def as_aiokafka_reads(data: bytes) -> list[tuple[Any, ...]]:
    found, records = MemoryRecords(data), []
    while found.has_next():
        records += [
            (record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
            for record in found.next_batch()
        ]
    return records


def rows_of(batch: PartitionBatch) -> list[tuple[Any, ...]]:
    headers = [tuple(each or ()) for each in batch.headers]
    return list(zip(batch.offsets, batch.timestamps_ms, batch.keys, batch.values, headers, strict=True))


@settings(REPEATABLE, max_examples=60)
@given(
    groups=st.lists(st.tuples(st.lists(RECORDS, min_size=1, max_size=6), st.sampled_from(CODECS)), max_size=4),
    cut=st.integers(0, 30),
)
def test_good_frames_are_read_as_aiokafka_reads_them(groups: list[tuple[list[RawRecord], str]], cut: int) -> None:
    # given frames of any records and compression, the last one maybe cut off as brokers do
    data, first = b"", 0
    for records, codec in groups:
        data += frame_of(records, codec, first=first)
        first += len(records)
    data = data[: len(data) - cut]
    # when they are read: then offsets, times, keys, values and headers are aiokafka's, and none has a flaw
    batch = read(data)
    assert rows_of(batch) == as_aiokafka_reads(data)
    assert batch.flaws == {}


def test_snappy_of_the_java_library_is_read() -> None:
    # given records packed in blocks, as Java's producers do
    plain = frame_of(GOOD)[61:]
    data = frame_of(GOOD, "snappy", packed=snappy_encode(plain, xerial_compatible=True, xerial_blocksize=1_000))
    # when they are read: then they are the records
    assert [key for _, _, key, _, _ in rows_of(read(data))] == [b"k", None, b"\xff\xfe"]
    assert read(data).flaws == {}


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_frame_that_unpacks_to_too_much_is_one_flaw(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a frame of three records, of which one is 20 MB of zeros, between good ones
    monkeypatch.setattr(frames, "MOST_BYTES", 2_000_000)
    bomb = frame_of([(b"a", b"1", []), (b"bomb", bytes(20_000_000), []), (b"c", b"3", [])], codec, first=3)
    data = frame_of(GOOD) + bomb + frame_of(GOOD, first=6)
    # when it is read
    batch = read(data)
    # then it is a message at its last offset with its packed bytes, and those around it are there
    assert batch.offsets == [0, 1, 2, 5, 6, 7, 8]
    assert batch.values[3] == bomb
    assert list(batch.flaws) == [5]
    flaw = batch.flaws[5]
    assert flaw.first_offset == 3
    assert flaw.error.reason == "bad-frame"
    assert "3 records at offsets 3 to 5" in flaw.error.detail
    assert f"({codec}) that cannot be unpacked: it unpacks to more than 2000000 bytes" in flaw.error.detail


@pytest.mark.parametrize("codec", [*CODECS[1:], "none"])
def test_a_frame_with_damaged_bytes_is_one_flaw(codec: str) -> None:
    # given a frame whose records are junk under a right checksum
    data = frame_of(GOOD, codec, packed=b"\x07junk" * 9) + frame_of(GOOD, first=3)
    # when it is read: then it is a flaw, and the next frame is there
    batch = read(data)
    assert batch.offsets == [2, 3, 4, 5]
    assert batch.flaws[2].error.reason == "bad-frame"
    # the same where the checksum is wrong
    whole = bytearray(frame_of(GOOD, codec))
    whole[-1] ^= 1
    batch = read(bytes(whole))
    assert batch.offsets == [2]
    assert "CRC" in batch.flaws[2].error.detail


@settings(REPEATABLE, max_examples=200)
@given(
    codec=st.sampled_from(CODECS),
    places=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_any_damage_of_a_frame_stops_nothing(codec: str, places: list[tuple[int, int]]) -> None:
    # given a frame of which bytes behind its header were changed, under a right checksum
    packed = bytearray(frame_of(GOOD, codec)[61:])
    for place, byte in places:
        packed[place % len(packed)] = byte
    data = frame_of(GOOD, codec, packed=bytes(packed)) + frame_of(GOOD, first=3)
    # when it is read: then it gives records and at most one flaw of the frame, and the next frame is whole
    batch = read(data)
    assert rows_of(batch)[-3:] == rows_of(read(frame_of(GOOD, first=3)))
    assert [flaw.error.reason for flaw in batch.flaws.values()].count("bad-frame") <= 1


NAMES: Sequence[bytes] = (b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"ok\xc3")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", NAMES)
def test_a_header_name_that_is_no_utf8_is_a_flaw_of_its_record_alone(codec: str, name: bytes) -> None:
    # given a record with such a name between good ones, in one frame
    bad: RawRecord = (b"k", b"v", [(b"content-type", b"x"), (name, b"\x00\xff"), (b"after", b"y")])
    # when it is read
    batch = read(frame_of([GOOD[0], bad, GOOD[2]], codec))
    # then it has its key, value and headers, with the name in a form that can be sent on
    assert batch.offsets == [0, 1, 2]
    assert list(batch.flaws) == [1]
    assert batch.flaws[1].error.reason == "bad-header"
    assert repr(name) in batch.flaws[1].error.detail
    written = name.decode("utf-8", "backslashreplace")
    assert rows_of(batch)[1][2:] == (b"k", b"v", (("content-type", b"x"), (written, b"\x00\xff"), ("after", b"y")))
    assert rows_of(batch)[2][2:] == (GOOD[2][0], GOOD[2][1], (("räume", b"\xff"),))


def test_flaws_become_dead_letters_and_rows_around_them_are_scored(open_routes: OpenRoutes) -> None:
    # given rows among which are a record with a bad header name and a frame of three that cannot be unpacked
    block = block_of("press-1", np.random.default_rng(3).normal(0.5, 1.0, (12, 3)))
    rows: list[RawRecord] = [(row.key, row.value, [(b"n", b"1")]) for row in row_by_row(block)]
    bad: RawRecord = (b"press-1", rows[0][1], [(b"\xff\0", b"z")])
    bomb = frame_of([(b"a", b"1", [])] * 3, "zstd", first=7, packed=b"\x28\xb5\x2f\xfdno zstd")
    data = frame_of([*rows[:6], bad], "gzip") + bomb + frame_of(rows[6:], "lz4", first=10)
    pipeline = Pipeline(open_routes(Recipe()), Settings())
    # when they are handled
    outputs = pipeline.handle([read(data)], 0.0)
    # then both are dead letters that say where they were, and what can be kept is kept
    name, frame = letters_of(outputs)
    assert (name.reason, name.offset) == ("bad-header", 6)
    assert (name.output.key, name.output.value) == (bad[0], bad[1])
    assert name.output.headers[-1] == ("\\xff\\x00", b"z")
    assert (frame.reason, frame.offset, frame.headers["wheeltapper-last-offset"]) == ("bad-frame", 7, b"9")
    assert frame.output.value == bomb
    # and the rows are scored as if they had not been there, up to the end
    assert_same_scores(outputs, feed(Pipeline(open_routes(Recipe()), Settings()), row_by_row(block)))
    assert pipeline.partition(TOPIC, 0).position == 16
    assert pipeline.counters.dead_letters == {"bad-header": 1, "bad-frame": 1}
    # and not again after a restart from within the frame
    again = Pipeline(open_routes(Recipe()), Settings())
    again.partition(TOPIC, 0).position = 9
    again.partition(TOPIC, 0).published = 10
    assert letters_of(again.handle([read(data, 9)], 0.0)) == []
