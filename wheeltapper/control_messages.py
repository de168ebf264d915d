"""Publishes what workers follow while they run: deployments, operators' commands, and the record of both."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING

from wheeltapper.follow.messages import topic_of
from wheeltapper.kafka_clients import producer
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_message
from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from pydantic import BaseModel

    from wheeltapper.stream.settings import Settings

DELIVERY_TIMEOUT_S = 15.0


def send(settings: Settings, *messages: tuple[str, BaseModel | type[BaseModel]]) -> None:
    """Publish messages (key, message), each to the topic of its type; all have arrived when this returns.

    A type in place of a message deletes the key from its topic.

    Raises:
        InputError: one was not delivered.
    """
    client = producer(settings)
    failures: list[tuple[str, KafkaError]] = []
    for key, message in messages:
        kind = message if isinstance(message, type) else type(message)
        topic = settings.topics.full_name(topic_of(kind))

        def delivered(error: KafkaError | None, record: object, topic: str = topic) -> None:
            if error is not None:
                failures.append((topic, error))

        client.produce(
            topic,
            None if isinstance(message, type) else encode_message(message),
            key=key.encode(),
            headers=[("content-type", CONTENT_TYPES["json"].encode())],
            on_delivery=delivered,
        )
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
