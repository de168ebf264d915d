"""Reads assigned partitions to their ends: the loop beneath restoring state and beneath every subscriber of a topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError

# How long one call waits for messages: the caller's deadline is looked at in between.
POLL_S = 0.2
MESSAGES_AT_A_TIME = 1_000


def messages_to_end(
    consumer: Consumer,
    partitions: set[int],
    *,
    on_wait: Callable[[], None],
    on_error: Callable[[KafkaError, int], None],
    is_end: Callable[[Any], bool] = lambda message: True,
) -> Iterator[Any]:
    """Messages of a consumer with `enable.partition.eof` until each of the partitions has ended.

    By the end that a fetch reports: the offsets that brokers tell otherwise are too low on some of them.

    Args:
        partitions: of one topic, assigned; emptied as they end.
        on_wait: called where nothing came for a while; raises where that lasts too long.
        on_error: called with an error and its partition; raises what waiting does not mend.
        is_end: whether a reported end counts; False reads on, as behind it may be what an open transaction hides.
    """
    while partitions:
        messages = consumer.consume(MESSAGES_AT_A_TIME, timeout=POLL_S)
        if not messages:
            on_wait()
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() != KafkaError._PARTITION_EOF:
                on_error(error, message.partition())
            elif is_end(message):
                partitions.discard(message.partition())
            else:
                on_wait()
