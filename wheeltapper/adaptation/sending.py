"""Publishes what the service decided; each message has arrived when `send` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wheeltapper.kafka_clients import producer
from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_message
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import ADAPTATIONS, MODELS
from wheeltapper.stream.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from pydantic import BaseModel


class Sender:
    """One idempotent producer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeout_s = settings.kafka.delivery_timeout_ms / 1000
        self._producer = producer(settings)

    def event(self, event: AdaptationEvent) -> None:
        """On `adaptations`. Raises InputError: it was not delivered."""
        self._send(ADAPTATIONS, event.machine, event)

    def model(self, model: ActiveModel) -> None:
        """On `models`. Raises InputError: it was not delivered."""
        self._send(MODELS, model.key, model)

    def end_shadow(self, key: str) -> None:
        """A tombstone on `models`. Raises InputError: it was not delivered."""
        self._send(MODELS, key, None)

    def _send(self, name: str, key: str, message: BaseModel | None) -> None:
        topic = self._settings.topics.full_name(name)
        failures: list[KafkaError] = []
        self._producer.produce(
            topic,
            None if message is None else encode_message(message),
            key=key.encode(),
            headers=[("content-type", CONTENT_TYPES["json"].encode())],
            on_delivery=lambda error, _message: failures.append(error) if error is not None else None,
        )
        left = self._producer.flush(self._timeout_s)
        if failures or left:
            reason = failures[0].str() if failures else f"no answer from the brokers in {self._timeout_s:.0f} s"
            raise InputError(
                f"a message for '{key}' did not reach topic {topic}: {reason}; check the brokers and the user's right to WRITE "
                "there, and start the adapt-worker again: it goes on where it was"
            )
