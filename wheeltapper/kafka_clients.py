"""Kafka producers of commands: one place for what makes them safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, Producer

from wheeltapper.kafka_admin import quiet_client_config
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import SENSORS_MAX_BYTES

if TYPE_CHECKING:
    from wheeltapper.stream.settings import Settings


def producer(settings: Settings, **options: Any) -> Producer:
    """An idempotent producer: rows arrive once and in order, also when a broker goes away in between.

    Args:
        options: further librdkafka settings.

    Raises:
        InputError: settings that make no client.
    """
    config = quiet_client_config(
        settings,
        **{
            # Without it librdkafka may reorder the first rows of a new topic.
            "enable.idempotence": True,
            "message.max.bytes": SENSORS_MAX_BYTES,
            "message.timeout.ms": settings.kafka.delivery_timeout_ms,
            # Failures alone call back: a call for every row would be most of a replay's work.
            "delivery.report.only.error": True,
            **options,
        },
    )
    try:
        return Producer(config)
    except KafkaException as error:
        raise InputError(f"the [kafka] settings make no client: {error.args[0].str()}; correct them") from error
