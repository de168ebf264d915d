"""Sends what the pipeline gives out, and knows when it has arrived. Both runners publish through this one piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from stream.dead_letters import cut_to
from stream.records import Output
from stream.settings import Settings, confluent_config

log = structlog.get_logger(__name__)

# Room for a dead letter's headers and the record's own framing beside its value.
FRAMING_BYTES = 16 * 1024

# An alert waits at most this long for company in its batch; longer saves little, as outputs are few.
LINGER_MS = 5

# Transactions of a worker that died are aborted after this: until then readers of committed data wait.
TRANSACTION_TIMEOUT_MS = 20_000


class PublishError(Exception):
    """Something was not delivered: what it came from must not be committed."""


class Publisher:
    """One idempotent producer; with a transactional id, everything goes out in transactions.

    Idempotence keeps order and uniqueness across retries; without it librdkafka may reorder the first messages of a new
    topic.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transactional_id: str | None = None,
        largest_dead_letter: int = 1_000_000,
        on_error: Callable[[KafkaError], None] | None = None,
    ) -> None:
        """
        Args:
            largest_dead_letter: bytes that the dead-letters topic takes (its max.message.bytes).
            on_error: told of client-level errors, such as no broker being reachable.
        """
        config: dict[str, Any] = {
            **confluent_config(settings.kafka),
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "compression.type": "lz4",
            "delivery.timeout.ms": settings.kafka.delivery_timeout_ms,
            "message.max.bytes": max(1_000_000, largest_dead_letter),
            "error_cb": on_error or _ignore,
        }
        self.transactional = transactional_id is not None
        if self.transactional:
            config["transactional.id"] = transactional_id
            config["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_MS
            config["delivery.timeout.ms"] = min(config["delivery.timeout.ms"], TRANSACTION_TIMEOUT_MS)
        self._producer = Producer(config, logger=_KafkaLog())
        self._names = {
            name: settings.topics.full_name(name)
            for name in ("scores", "alerts", "localizations", "dead-letters", "state", "models")
        }
        self._largest_dead_letter = largest_dead_letter - FRAMING_BYTES
        self._deadline_s = settings.kafka.delivery_timeout_ms / 1000
        self._failure: KafkaError | None = None
        self.published = 0

    def start(self, timeout_s: float = 60.0) -> None:
        """Fence earlier owners of the transactional id and begin; nothing to do without transactions."""
        if self.transactional:
            self._producer.init_transactions(timeout_s)
            self._producer.begin_transaction()

    def publish(self, outputs: Iterable[Output]) -> None:
        """Hand messages to the client's queue; waits where it is full.

        Raises:
            PublishError: an earlier message could not be delivered.
        """
        for output in outputs:
            if output.topic == "dead-letters":
                output = cut_to(output, self._largest_dead_letter)
            self._produce(output)
        self._producer.poll(0)
        self._check()

    def _produce(self, output: Output) -> None:
        options: dict[str, Any] = {"headers": list(output.headers)}
        if output.partition is not None:
            options["partition"] = output.partition
        deadline = time.monotonic() + self._deadline_s
        while True:
            try:
                self._producer.produce(
                    self._names[output.topic], output.value, output.key, on_delivery=self._delivered, **options
                )
                self.published += 1
                return
            except BufferError as error:  # the client's queue is full: deliveries make room
                self._producer.poll(0.1)
                self._check()
                if time.monotonic() > deadline:
                    raise PublishError(
                        f"nothing was delivered for {self._deadline_s:.0f} s: is the broker up?"
                    ) from error

    def flush(self) -> None:
        """Wait until everything published has arrived.

        Raises:
            PublishError: something has not, or not in time.
        """
        left = self._producer.flush(self._deadline_s)
        self._check()
        if left:
            raise PublishError(f"{left} messages were not delivered within {self._deadline_s:.0f} s: is the broker up?")

    def commit_transaction(self, offsets: Mapping[TopicPartition, int], group_metadata: object) -> None:
        """End the transaction with the input's offsets in it, and begin the next."""
        if offsets:
            positions = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
            self._producer.send_offsets_to_transaction(positions, group_metadata, TRANSACTION_TIMEOUT_MS / 1000)
        self._producer.commit_transaction(TRANSACTION_TIMEOUT_MS / 1000)
        self._check()
        self._producer.begin_transaction()

    def abandon(self) -> None:
        """Give up what has not been committed; the client is not used again."""
        if self.transactional:
            try:
                self._producer.abort_transaction(5.0)
            except KafkaException as error:
                # A fenced or disconnected producer cannot abort: the broker does it after the transaction timeout.
                log.info("transaction left to the broker to abort", error=str(error))
        self._producer.purge()
        self._producer.flush(1.0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None and error.code() != KafkaError._PURGE_QUEUE:
            self._failure = error
            log.error("not delivered", topic=message.topic(), partition=message.partition(), error=str(error))

    def _check(self) -> None:
        if self._failure is not None:
            raise PublishError(f"a message could not be delivered: {self._failure.str()}")


class _KafkaLog:
    """librdkafka's own lines go to the structured log instead of the terminal."""

    def log(self, level: int, message: str, *arguments: object) -> None:
        text = message % arguments if arguments else message
        log.debug("kafka client", level=level, text=text)

    def isEnabledFor(self, level: int) -> bool:
        return True


def _ignore(error: KafkaError) -> None:
    log.debug("kafka client error", error=str(error))
