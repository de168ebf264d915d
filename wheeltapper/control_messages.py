"""Publishes what workers follow while they run: deployments, operators' commands, and the record of both."""

from __future__ import annotations

import getpass
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from wheeltapper.follow.messages import topic_of
from wheeltapper.kafka_clients import producer
from wheeltapper.schemas.codec import encode_message
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.message_fit import fit, record_bytes
from wheeltapper.stream.outgoing import JSON_HEADERS
from wheeltapper.stream.records import Output
from wheeltapper.stream.topic_limits import topic_limits

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from pydantic import BaseModel

    from wheeltapper.stream.settings import Settings

DELIVERY_TIMEOUT_S = 15.0

# Every topic takes so much: its own limit is asked for larger messages alone.
SMALL_BYTES = 4_096


def send(settings: Settings, *messages: tuple[str, BaseModel | type[BaseModel]]) -> None:
    """Publish messages (key, message), each to the topic of its type; all have arrived when this returns.

    A type in place of a message deletes the key from its topic. A message that is larger than its topic takes goes without its
    dispensable parts, such as the evidence of an adaptation.

    Raises:
        InputError: one was not delivered.
    """
    client = producer(settings)
    failures: list[tuple[str, KafkaError]] = []
    for key, message in messages:
        kind = message if isinstance(message, type) else type(message)
        output = Output(topic_of(kind), key.encode(), None, JSON_HEADERS)
        if not isinstance(message, type):
            output = _fitting(settings, replace(output, value=encode_message(message)))
        topic = settings.topics.full_name(output.topic)

        def delivered(error: KafkaError | None, record: object, topic: str = topic) -> None:
            if error is not None:
                failures.append((topic, error))

        client.produce(topic, output.value, key=output.key, headers=list(output.headers), on_delivery=delivered)
    left = client.flush(DELIVERY_TIMEOUT_S)
    if failures or left:
        topic, reason = (
            (failures[0][0], failures[0][1].str())
            if failures
            else ("", f"no answer from the brokers in {DELIVERY_TIMEOUT_S:.0f} s")
        )
        client.purge()
        raise InputError(
            f"a message did not reach topic {topic or settings.topics.prefix + '..'}: {reason}; check the brokers, that "
            "'wheeltapper topics create' has made the topics, and the user's right to WRITE there"
        )


def _fitting(settings: Settings, output: Output) -> Output:
    if record_bytes(output) <= SMALL_BYTES:
        return output
    largest = topic_limits(settings, (output.topic,))[output.topic]
    if record_bytes(output) <= largest:
        return output
    fitted = fit(output, largest)
    if not fitted.outputs:
        raise InputError(
            f"a message to topic {settings.topics.full_name(output.topic)} has {record_bytes(output)} bytes, the topic takes "
            f"{largest} (max.message.bytes); raise that"
        )
    return fitted.outputs[0]


def person(name: str | None) -> str:
    """The name given, else the user's login name.

    Raises:
        InputError: there is neither.
    """
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise InputError("this user has no login name; give a name with --who NAME") from error


def now_us() -> int:
    """The clock, microseconds since 1970 UTC."""
    return time.time_ns() // 1000
