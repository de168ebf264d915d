"""Frames of records (Kafka's record batches) of any bytes, and a way to put them on a topic past every client's checks."""

from __future__ import annotations

import asyncio
import gzip
import struct
import time
from collections.abc import Sequence

import cramjam
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c, encode_varint

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

RawRecord = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]
"""Key, value, headers with names of any bytes."""

# A broker deletes what is older than its retention.
NOW_MS = int(time.time() * 1000)

# A topic that has just been made: leader not available, not leader, unknown topic.
NO_LEADER_YET = (3, 5, 6)


def frame_of(
    records: Sequence[RawRecord], codec: str = "none", *, first: int = 0, packed: bytes | None = None
) -> bytes:
    """A frame of format 2.

    Args:
        first: offset of its first record, as a broker sets it.
        packed: what stands in place of the compressed records.
    """
    data = b"".join(_record(number, *record) for number, record in enumerate(records))
    packed = _pack(codec, data) if packed is None else packed
    count = len(records)
    tail = struct.pack(">hiqqqhii", CODECS.index(codec), count - 1, NOW_MS, NOW_MS + count, -1, -1, -1, count)
    tail += packed
    return struct.pack(">qiibI", first, len(tail) + 9, -1, 2, calc_crc32c(tail)) + tail


def send_frames(address: str, topic: str, partition: int, frames: Sequence[bytes]) -> None:
    """Produce frames as they are, in order."""
    asyncio.run(_send(address, topic, partition, frames))


async def _send(address: str, topic: str, partition: int, frames: Sequence[bytes]) -> None:
    client = AIOKafkaClient(bootstrap_servers=address)
    try:
        await client.bootstrap()
        await client.add_topic(topic)
        for frame in frames:
            while True:
                leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
                answer = await client.send(leader, ProduceRequest(None, -1, 60_000, [(topic, [(partition, frame)])]))
                ((_, ((_, code, *_),)),) = answer.topics
                if code not in NO_LEADER_YET:
                    break
                await asyncio.sleep(0.1)
                await client.force_metadata_update()
            assert code == 0, f"{topic} [{partition}] does not take a frame of {len(frame)} bytes: error {code}"
    finally:
        await client.close()


def _record(
    number: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes | None]]
) -> bytes:
    body = b"\0" + _varint(number) + _varint(number) + _sized(key) + _sized(value) + _varint(len(headers))
    body += b"".join(_sized(name) + _sized(text) for name, text in headers)
    return _varint(len(body)) + body


def _pack(codec: str, data: bytes) -> bytes:
    if codec == "gzip":
        return gzip.compress(data)
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(data))
    if codec == "lz4":
        compressor = cramjam.lz4.Compressor(level=9, content_checksum=False, block_linked=False)
        compressor.compress(data)
        return bytes(compressor.finish())
    return bytes(cramjam.zstd.compress(data)) if codec == "zstd" else data


def _sized(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)
