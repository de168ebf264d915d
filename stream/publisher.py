"""Sends what the pipeline gives out, and knows when it has arrived. Both runners publish through this one piece.

It is also the one place that knows how large a message each topic takes: larger ones are split or cut here, and counted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from wheeltapper.schemas.topics import DEAD_LETTERS, STATE
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.running import Call, running
from wheeltapper.stream.dead_letters import cut_to
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import PublishError, kafka_error
from wheeltapper.stream.message_fit import NOTE_BYTES, fit, record_bytes
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.topic_limits import DEFAULT_MESSAGE_BYTES

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# What the client lets through: how much each topic takes is the broker's to say.
LARGEST_MESSAGE = 100_000_000

# What waits in the client for delivery; publishing waits where it is full. No less than one message.
QUEUE_KBYTES = LARGEST_MESSAGE // 1_000

# Messages are sent in batches, and a topic's limit is one on batches: librdkafka's default, or less where a topic takes less.
BATCH_BYTES = 1_000_000

# A topic whose messages are cut says so at most so often.
NOTICE_S = 60.0

# An alert waits at most this long for company in its batch; longer saves little, as outputs are few.
LINGER_MS = 5

# Transactions of a worker that died are aborted after this: until then readers of committed data wait.
TRANSACTION_TIMEOUT_MS = 20_000

# Calls that wait look up so often whether the worker has been told to stop, and then wait so much longer at most.
SLICE_S = 0.5
LAST_WAIT_S = 3.0

# What cannot be aborted by then, the broker aborts after the transaction's timeout; sooner where the worker is to stop.
ABORT_WAIT_S, LAST_ABORT_WAIT_S = 5.0, 1.5

# A partition that the broker has just made is known to the client within so long.
NEW_PARTITION_S = 15.0

# Another worker uses our transactional id.
FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}

# A topic that a new client does not find for so long is not there; a message would wait for it until it times out.
NO_TOPIC_MS = 10_000

# The topic was deleted.
NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}

# Given up together with the rest of a transaction: the reason is told elsewhere.
PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}


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
        limits: Mapping[str, int] | None = None,
        ask_limits: Callable[[], Mapping[str, int]] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            limits: topic, without prefix -> bytes of its largest message; Kafka's default for others.
            ask_limits: gives them as they are now; called where a message was refused that should have fitted.
            stop: asked while waiting; once it is true, a broker that does not answer is not waited for much longer.
        """
        config: dict[str, Any] = {
            **client_config(settings.kafka),
            "enable.idempotence": True,
            # A topic that somebody deletes would come back as the broker makes them, with other partitions and retention.
            "allow.auto.create.topics": False,
            "topic.metadata.propagation.max.ms": NO_TOPIC_MS,
            "linger.ms": LINGER_MS,
            "compression.type": "lz4",
            "delivery.timeout.ms": settings.kafka.delivery_timeout_ms,
            "message.max.bytes": LARGEST_MESSAGE,
            "queue.buffering.max.kbytes": QUEUE_KBYTES,
            "batch.size": min(BATCH_BYTES, *((limits or {}).values() or (BATCH_BYTES,))),
        }
        self.transactional = transactional_id is not None
        if self.transactional:
            config["transactional.id"] = transactional_id
            config["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_MS
            config["delivery.timeout.ms"] = min(config["delivery.timeout.ms"], TRANSACTION_TIMEOUT_MS)
        self._producer = Producer(config)
        self._names = settings.topics.full_names()
        self._limits = dict.fromkeys(self._names, DEFAULT_MESSAGE_BYTES) | dict(limits or {})
        self._ask_limits = ask_limits
        self._told: dict[str, float] = {}
        self.counters = Counters()
        """Where cut and split messages are counted; whoever publishes sets its own."""
        self._deadline_s = settings.kafka.delivery_timeout_ms / 1000
        self._stop = stop
        self._failure: PublishError | None = None
        self.published = 0
        self.fenced = False
        """True once another worker has taken over the transactional id."""
        self.lost_topic = False
        """True once a topic was found missing."""

    def start(self, timeout_s: float = 60.0) -> None:
        """Fence earlier owners of the transactional id and begin; nothing to do without transactions.

        Raises:
            KafkaException: the broker refuses, or does not answer.
        """
        if not self.transactional:
            return
        self._call_until_done(self._producer.init_transactions, timeout_s)
        self._producer.begin_transaction()

    def publish(self, outputs: Iterable[Output]) -> None:
        """Hand messages to the client's queue; waits where it is full.

        Raises:
            PublishError: an earlier message could not be delivered.
        """
        for output in outputs:
            # Only what is near the limit is measured in full.
            quick = len(output.value or b"") + len(output.key or b"") + NOTE_BYTES
            largest = self._limits[output.topic]
            if (quick > largest or output.topic == DEAD_LETTERS) and record_bytes(output) > largest:
                for part in self._fitted(output, largest):
                    self._produce(part)
            else:
                self._produce(output)
        self._serve(self._producer.poll, 0.0)
        self._check()

    def largest(self, topic: str) -> int:
        """Bytes of the largest record that a topic (without prefix) takes, with key, headers and 128 bytes around them."""
        return self._limits[topic]

    def _fitted(self, output: Output, largest: int) -> Sequence[Output]:
        """The message as its topic takes it; counted and told, as something is missing."""
        if output.topic == STATE:
            return [output]  # whoever wrote it knows how it may be parted
        parts: tuple[Output, ...]
        if output.topic == DEAD_LETTERS:
            parts, what = (cut_to(output, largest),), "cut, headers say what is missing"
        else:
            fitted = fit(output, largest)
            parts, what = fitted.outputs, fitted.what
        counts = self.counters.split_messages if len(parts) > 1 else self.counters.cut_messages
        count(counts, output.topic)
        if len(parts) <= 1 and time.monotonic() - self._told.get(output.topic, -NOTICE_S) >= NOTICE_S:
            self._told[output.topic] = time.monotonic()
            log.warning(
                "a message was larger than its topic takes",
                topic=self._names[output.topic],
                machine=(output.key or b"")[:100].decode("utf-8", "replace"),
                bytes=record_bytes(output),
                max_message_bytes=largest,
                what=what,
            )
        return parts

    def _produce(self, output: Output) -> None:
        options: dict[str, Any] = {"headers": list(output.headers)}
        if output.partition is not None:
            options["partition"] = output.partition
        waiting: _Deadline | None = None
        while True:
            try:
                self._producer.produce(
                    self._names[output.topic], output.value, output.key, on_delivery=self._delivered, **options
                )
                self.published += 1
                return
            except KafkaException as error:
                # Partitions that the topic was just given are unknown to the client until it has asked again.
                waiting = waiting or _Deadline(NEW_PARTITION_S, self._stop)
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION or waiting.is_over():
                    self._raise(error)
                with contextlib.suppress(KafkaException):
                    self._producer.list_topics(self._names[output.topic], timeout=1.0)
                time.sleep(0.05)
            except BufferError as error:  # the client's queue is full: deliveries make room
                waiting = waiting or _Deadline(self._deadline_s, self._stop)
                self._serve(self._producer.poll, 0.1)
                self._check()
                if waiting.is_over():
                    raise PublishError(
                        f"nothing was delivered for {waiting.seconds:.0f} s: is the broker up?"
                    ) from error

    def flush(self) -> None:
        """Wait until everything published has arrived.

        Raises:
            PublishError: something has not, or not in time.
        """
        waiting = _Deadline(self._deadline_s, self._stop)
        while left := self._serve(self._producer.flush, SLICE_S):
            self._check()
            if waiting.is_over():
                raise PublishError(
                    f"{left} messages were not delivered within {waiting.seconds:.0f} s: is the broker up?"
                )
        self._check()

    def commit_transaction(self, offsets: Mapping[TopicPartition, int], group_metadata: object) -> None:
        """End the transaction with the input's offsets in it, and begin the next.

        Args:
            offsets: by them the broker refuses a worker that the group has gone on without: none only where nothing has
                been handled yet.

        Raises:
            KafkaException: it was not committed, or it is not known whether it was.
            PublishError: something in it was not delivered.
        """
        positions = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        try:
            if positions:

                def send_offsets_to_transaction(slice_s: float) -> None:
                    self._producer.send_offsets_to_transaction(positions, group_metadata, slice_s)

                self._call_until_done(send_offsets_to_transaction)
            self._call_until_done(self._producer.commit_transaction)
        except KafkaException as error:
            self.fenced = self.fenced or error.args[0].code() in FENCED
            self._raise(error)
        self._check()
        self._producer.begin_transaction()

    def _call_until_done(self, call: Callable[[float], None], timeout_s: float = TRANSACTION_TIMEOUT_MS / 1000) -> None:
        """Make a call of the transactional API; one that ran out of its time goes on where it was when made again."""
        waiting = _Deadline(timeout_s, self._stop)
        while True:
            try:
                self._serve(call, SLICE_S)
                return
            except KafkaException as error:
                if not error.args[0].retriable() or waiting.is_over():
                    raise
                time.sleep(0.02)

    @staticmethod
    def _serve(call: Callable[[float], _T], seconds: float) -> _T:
        """Make a call during which the client reports deliveries.

        Raises:
            KafkaException, PublishError: the client has failed for good.
        """
        try:
            with running(Call("kafka", getattr(call, "__name__", "a call of the producer"))):
                return call(seconds)
        except SystemError as error:
            # confluent-kafka raises a fatal error and goes on to report deliveries meanwhile, which Python objects to.
            raise PublishError("the client has failed for good") from error

    def abandon(self) -> None:
        """Give up what has not been committed and end the client with its threads."""
        if self.transactional:
            try:
                self._serve(self._producer.abort_transaction, LAST_ABORT_WAIT_S if self._stop() else ABORT_WAIT_S)
            except (KafkaException, PublishError) as error:
                # A fenced or disconnected producer cannot abort: the broker does it after the transaction timeout.
                reason = kafka_error(error)
                self.fenced = self.fenced or (reason is not None and reason.code() in FENCED)
                log.info("transaction left to the broker to abort", error=reason.str() if reason else str(error))
        self._producer.purge()
        with contextlib.suppress(KafkaException, PublishError):
            self._serve(self._producer.flush, 1.0)
        # The client's threads end with its last reference; close() would wait for the broker to abort once more.
        del self._producer

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None or self._failure is not None or error.code() in PURGED:
            return
        self.fenced = self.fenced or error.code() in FENCED
        self._failure = PublishError(f"a message to topic {message.topic()} was not delivered: {error.str()}", error)
        self.lost_topic = self.lost_topic or error.code() in NO_TOPIC
        log.error("not delivered", topic=message.topic(), partition=message.partition(), error=error.str())

    def _raise(self, error: KafkaException) -> NoReturn:
        """Raise what the client said of a transaction; a message that was refused is the reason, this only what follows from it."""
        reason = error.args[0]
        if reason.code() == KafkaError._STATE:
            reason = self._why_failed() or reason
        self.lost_topic = self.lost_topic or reason.code() in NO_TOPIC
        if self._failure is None and reason.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._failure = PublishError(reason.str(), reason)
        self._check()
        raise KafkaException(reason) from error

    def _why_failed(self) -> KafkaError | None:
        """Why the transaction has failed; None where the client does not tell.

        A refused right fails the transaction in the client's own thread. Calls made meanwhile say no more than that its state is
        wrong, and nothing of it reports a delivery before it is aborted.
        """
        if not self.transactional:
            return None

        def begin_transaction(_: float) -> None:
            self._producer.begin_transaction()

        try:
            # Never begins one, as one is open: it tells why that one cannot go on.
            self._serve(begin_transaction, 0.0)
        except (KafkaException, PublishError) as error:
            reason = kafka_error(error)
            return None if reason is None or reason.code() == KafkaError._STATE else reason
        return None

    def _check(self) -> None:
        if self._failure is None:
            return
        cause = self._failure.cause
        if cause is not None and cause.code() == KafkaError.MSG_SIZE_TOO_LARGE and self._ask_limits is not None:
            now, self._ask_limits = self._ask_limits(), None
            less = [f"{self._names[name]} {now[name]}" for name in now if now[name] < self._limits[name]]
            if less:  # the next session keeps to it: that is no reason to give up
                self._failure = PublishError(
                    f"topics take smaller messages than when this worker asked (max.message.bytes): {', '.join(less)}"
                )
        raise self._failure

    @property
    def was_too_large(self) -> bool:
        """True where a message failed as larger than its topic takes; also where the client told of that only when it was given up."""
        cause = None if self._failure is None else self._failure.cause
        return cause is not None and cause.code() == KafkaError.MSG_SIZE_TOO_LARGE


class _Deadline:
    """When waiting ends: after `seconds`, sooner where the worker is told to stop meanwhile."""

    def __init__(self, seconds: float, stop: Callable[[], bool]) -> None:
        self.seconds = seconds
        self._started = time.monotonic()
        self._stop = stop
        self._stopped_at: float | None = None

    def is_over(self) -> bool:
        now = time.monotonic()
        if self._stopped_at is None and self._stop():
            self._stopped_at = now
            self.seconds = min(self.seconds, now - self._started + LAST_WAIT_S)
        return now - self._started > self.seconds
