"""Asks brokers until they answer, and reads assigned partitions to their ends.

Restoring state and every subscriber of a topic stand on these two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException

from wheeltapper.stream.kafka_errors import refusal

_T = TypeVar("_T")

# One question to a broker; it is asked again until the caller's patience is over.
ASK_TIMEOUT_S = 3.0
RETRY_S = 0.1

# How long one call waits for a first message: the caller's deadline is looked at in between.
POLL_S = 0.2
MESSAGES_AT_A_TIME = 1_000


def retry_until(ask: Callable[[], _T], check: Callable[[KafkaError], None]) -> _T:
    """Ask again and again: a broker that has just started knows neither its groups nor its topics and their leaders yet.

    Args:
        check: called with each failure; raises where that lasts too long.

    Raises:
        KafkaException: the broker refuses for good.
    """
    while True:
        try:
            return ask()
        except KafkaException as error:
            if refusal(error):
                raise
            check(error.args[0])
            time.sleep(RETRY_S)


def waiting_messages(consumer: Consumer) -> list[Any]:
    """What has come, errors and reported ends among it; waits up to `POLL_S` for the first of it, and for nothing more.

    `consume` alone would wait until it is full: every answer would take all of `POLL_S`.
    """
    first = consumer.poll(POLL_S)
    return [] if first is None else [first, *consumer.consume(MESSAGES_AT_A_TIME, timeout=0)]


def messages_to_end(
    consumer: Consumer,
    partitions: set[int],
    *,
    on_turn: Callable[[float], None],
    on_error: Callable[[KafkaError, int], None],
    is_end: Callable[[Any], bool] = lambda message: True,
) -> Iterator[Any]:
    """Messages of a consumer with `enable.partition.eof` until each of the partitions has ended.

    By the end that a fetch reports: the offsets that brokers tell otherwise are too low on some of them.

    Args:
        partitions: of one topic, assigned; emptied as they end.
        on_turn: called before each look for messages, also while they come without pause, with the seconds that it has
            waited for one since the last; raises where that lasts too long. The time that the caller takes over a message
            is not among them.
        on_error: called with an error and its partition; raises what waiting does not mend.
        is_end: whether a reported end counts; False reads on, as behind it may be what an open transaction hides.
    """
    waited_s = 0.0
    while partitions:
        on_turn(waited_s)
        asked = time.monotonic()
        messages = waiting_messages(consumer)
        if not messages:
            waited_s += time.monotonic() - asked
        for message in messages:
            error = message.error()
            if error is None:
                waited_s = 0.0
                yield message
            elif error.code() != KafkaError._PARTITION_EOF:
                on_error(error, message.partition())
            elif is_end(message):
                waited_s = 0.0
                partitions.discard(message.partition())
