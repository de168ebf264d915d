"""Reads one frame of a partition as the broker keeps it, where librdkafka cannot: it gives no bytes of what it cannot unpack."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest

from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.runners.frames import Frames
from wheeltapper.stream.runners.tls import ssl_context
from wheeltapper.stream.settings import KafkaSettings

TIMEOUT_S = 20.0
_WAIT_MS = 500
_READ_COMMITTED = 1


def read_frame(kafka: KafkaSettings, topic: str, partition: int, offset: int, most: int) -> tuple[PartitionBatch, int]:
    """The messages from `offset` on of the frame that holds it, and the offset to read on from.

    Args:
        most: messages at a time.

    Raises:
        TimeoutError: the broker did not give it.
    """
    try:
        data = asyncio.run(asyncio.wait_for(_fetch(kafka, topic, partition, offset), TIMEOUT_S))
    except (KafkaError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise TimeoutError(
            f"the frame at offset {offset} of {topic} [{partition}] could not be read: {reason}"
        ) from error
    frames = Frames(data)
    frame = frames.next_batch() if frames.has_next() else None
    if frame is None:
        raise TimeoutError(f"the broker gave no frame at offset {offset} of {topic} [{partition}]")
    frame.validate_crc()
    batch = PartitionBatch(topic, partition)
    add_records(batch, islice((record for record in frame if record.offset >= offset), most))
    is_whole = len(batch) < most
    return batch, frame.next_offset if is_whole or not len(batch) else batch.offsets[-1] + 1


def add_records(batch: PartitionBatch, records: Any) -> None:
    """Append records of aiokafka, some maybe with a flaw, to a batch."""
    for record in records:
        batch.offsets.append(record.offset)
        batch.keys.append(record.key)
        batch.values.append(record.value)
        batch.headers.append(record.headers)
        batch.timestamps_ms.append(record.timestamp or 0)
        flaw = record.checksum
        # Where it is no flaw, it is the sum of the old formats.
        if flaw is not None and not isinstance(flaw, int):
            batch.flaws[record.offset] = flaw


async def _fetch(kafka: KafkaSettings, topic: str, partition: int, offset: int) -> bytes:
    client = AIOKafkaClient(
        bootstrap_servers=[address.strip() for address in kafka.brokers.split(",")],
        request_timeout_ms=round(TIMEOUT_S * 1000),
        security_protocol=kafka.security_protocol,
        ssl_context=ssl_context(kafka),
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username or "",
        sasl_plain_password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else "",
    )
    try:
        await client.bootstrap()
        await client.add_topic(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader < 0:
            raise TimeoutError("the partition has no leader")
        # A broker gives a whole frame, however little is asked for.
        request = FetchRequest(_WAIT_MS, 1, 1, _READ_COMMITTED, [(topic, [(partition, offset, 1)])])
        answer = await client.send(leader, request)
        (_, ((_, code, *_, data),)) = answer.topics[0]
        error = for_code(code)
        if code:
            raise error()
        return bytes(data)
    finally:
        await client.close()
