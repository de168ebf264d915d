"""A message that cannot be read, on its way to `dead-letters`: the original bytes, and headers that say why."""

from __future__ import annotations

from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterHeader as Header
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.stream.core.judging import Refused
from wheeltapper.stream.records import Output, PartitionBatch

# Headers must not outgrow the message; the detail is for a person.
MAX_DETAIL = 500


def dead_letter(batch: PartitionBatch, index: int, error: DecodeError) -> Output:
    """The dead letter of message `index` of the batch."""
    headers: list[tuple[str, bytes | None]] = [
        (Header.REASON, str(error.reason).encode()),
        (Header.DETAIL, error.detail[:MAX_DETAIL].encode("utf-8", "replace")),
        (Header.TOPIC, batch.topic.encode()),
        (Header.PARTITION, str(batch.partition).encode()),
        (Header.OFFSET, str(batch.offsets[index]).encode()),
        *(batch.headers[index] or ()),
    ]
    return Output("dead-letters", batch.keys[index], batch.values[index], headers)


def refused_dead_letter(topic: str, partition: int, key: bytes, refused: Refused) -> Output:
    """The dead letter of input that was found to be from the future after its message had been read: that part, encoded anew."""
    headers: list[tuple[str, bytes | None]] = [
        (Header.REASON, str(DeadLetterReason.TIME_AHEAD).encode()),
        (Header.DETAIL, refused.detail[:MAX_DETAIL].encode("utf-8", "replace")),
        (Header.TOPIC, topic.encode()),
        (Header.PARTITION, str(partition).encode()),
        (Header.OFFSET, str(refused.offset).encode()),
        ("content-type", refused.content_type.encode()),
    ]
    return Output("dead-letters", key, refused.value, headers)


def cut_to(output: Output, largest: int) -> Output:
    """The dead letter with at most `largest` bytes of value; a header tells the original size where it was cut."""
    if output.value is None or len(output.value) <= largest:
        return output
    headers = [*output.headers, (str(Header.ORIGINAL_SIZE), str(len(output.value)).encode())]
    return Output(output.topic, output.key, output.value[:largest], headers, output.partition)
