"""Reads a topic as a subscriber does: committed messages only, no consumer group, nothing committed.

Everything that subscribes goes through it: `alerts`, `label`, the demo, training from labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.kafka_admin import REACH_TIMEOUT_S, connect, quiet_client_config
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.kafka_headers import BadHeaders, headers_of
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.topic_end import ASK_TIMEOUT_S, messages_to_end, retry_until, waiting_messages

_T = TypeVar("_T")

# The end is a few fetches away; so long without a message means that the brokers are gone.
STALL_TIMEOUT_S = 30.0
# A client without a broker reports it many times a second; the caller is told once a minute.
OUTAGE_NOTICE_S = 60.0


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One message.

    Attributes:
        content_type: its header of that name.
        published_ms: when it was written, milliseconds since 1970 UTC (the record's timestamp).
        topic: its full name.
        partition, offset: where it lies in the topic.
        key: the message's.
        headers: all of them, in their order; none where their names are no text.
        has_value: False where the message has none at all, which `value` shows as empty.
    """

    value: bytes
    content_type: bytes | None
    published_ms: int
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    has_value: bool = True

    @property
    def where(self) -> str:
        """'topic [partition] offset', for messages to a person."""
        return f"{self.topic} [{self.partition}] offset {self.offset}"


class Follower:
    """One topic from its beginning, from a moment or an offset on, or only what is new; closes its client at the end of `with`.

    Where it begins is settled when it is made: what is published after that comes.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        since_ms: int | None = None,
        offsets: Mapping[int, int] | None = None,
        only_new: bool = False,
        last: int | None = None,
        partitions: Collection[int] | None = None,
        keep: Callable[[bytes], bool] = lambda key: True,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            name: of the topic, without prefix.
            since_ms: leave out what was published earlier, milliseconds since 1970 UTC.
            offsets: partition -> offset of the first message wanted; other partitions begin where they begin. Where that
                message is gone, the oldest that is left comes first.
            only_new: leave out all that is there.
            last: begin so many messages before the end of each partition, or where it begins.
            partitions: read these alone; None: all.
            keep: by a message's key, whether it is wanted.
            tell: called with one line where no broker can be reached, at most once a minute: it waits for one.

        Raises:
            InputError: the cluster does not answer, refuses, or has no such topic or partition.
            ValueError: more than one beginning.
        """
        if (since_ms is not None) + (offsets is not None) + only_new + (last is not None) > 1:
            raise ValueError("since_ms, offsets, only_new and last are four beginnings; expected at most one of them")
        self._topic = settings.topics.full_name(name)
        self._brokers = settings.kafka.brokers
        self._since_ms = since_ms
        self._keep = keep
        self._tell = tell
        self._told = -OUTAGE_NOTICE_S
        connect(settings)  # says what is wrong where nobody answers
        self._consumer = Consumer(
            quiet_client_config(
                settings,
                error_cb=self._on_error,
                **{
                    "group.id": "wheeltapper-follower",  # the client demands one; without subscribe and commit it is unused
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "earliest",
                },
            )
        )
        try:
            self._partitions = self._existing_partitions(partitions)
            self.began_at_start = False
            """With `last`: whether that is all that the topic holds."""
            self._begin(offsets or {}, only_new=only_new, last=last)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def partitions(self) -> tuple[int, ...]:
        """Numbers of the partitions that are read."""
        return tuple(self._partitions)

    def close(self) -> None:
        """End the client."""
        self._consumer.close()

    def read_to_end(self) -> Iterator[TopicRecord]:
        """Everything that is there now, in order within a partition.

        Raises:
            InputError: no right to read it, or the brokers went away on the way.
        """
        return (self._record(message) for message in self._messages_to_end() if self._is_wanted(message))

    def follow(self) -> Iterator[TopicRecord | None]:
        """Messages as they come, without end; None now and then, so that a caller can look at other things.

        Raises:
            InputError: no right to read it.
        """
        while True:
            for message in waiting_messages(self._consumer):
                if message.error() is not None:
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        self._check(message.error(), message.partition())
                elif self._is_wanted(message):
                    yield self._record(message)
            yield None

    def _existing_partitions(self, wanted: Collection[int] | None) -> list[int]:
        # Of all topics: asked for by name, a missing one would be created by brokers that do so. Asked by the client that
        # reads: otherwise it would look for the leaders 0.5 s later.
        known = self._ask(lambda: dict(self._consumer.list_topics(timeout=ASK_TIMEOUT_S).topics))
        found = known.get(self._topic)
        if found is None:
            raise InputError(
                f"topic {self._topic} does not exist at {self._brokers}, or the user may not see it; "
                f"'wheeltapper topics create' makes it, --prefix or --config name another{did_you_mean(self._topic, known)}"
            )
        self._check_known(set(wanted or ()) - set(found.partitions), len(found.partitions))
        return sorted(found.partitions if wanted is None else wanted)

    def _check_known(self, unknown: set[int], count: int) -> None:
        if unknown:
            raise InputError(
                f"topic {self._topic} has no partition {min(unknown)}: it has {count}; were the offsets taken before it was made "
                "anew?"
            )

    def _begin(self, starts: Mapping[int, int], *, only_new: bool, last: int | None) -> None:
        self._check_known(set(starts) - set(self._partitions), len(self._partitions))
        if self._since_ms is not None:
            starts = self._since(self._since_ms)
        elif only_new:
            starts = self._ends()
        elif last is not None:
            bounds = self._bounds()
            starts = {number: max(low, high - last) for number, (low, high) in bounds.items()}
            self.began_at_start = all(starts[number] == low for number, (low, _) in bounds.items())
        assigned = [(number, starts.get(number, OFFSET_BEGINNING)) for number in self._partitions]
        self._consumer.assign([TopicPartition(self._topic, number, start) for number, start in assigned])
        if only_new:
            # The embedded broker tells ends that are too low: what lies between these and the real ones is read over.
            for _ in self._messages_to_end():
                pass

    def _since(self, since_ms: int) -> dict[int, int]:
        """Offset of each partition's first message from a moment on, or where its next will be."""
        # Before the question: a message that is published behind the answer lies after these ends. (The client's own
        # "end" is looked up later than that, with the first fetch.)
        ends = self._ends()
        asked = [TopicPartition(self._topic, number, since_ms) for number in self._partitions]
        found = self._ask(lambda: self._consumer.offsets_for_times(asked, timeout=ASK_TIMEOUT_S))
        return {one.partition: one.offset if one.offset >= 0 else ends[one.partition] for one in found}

    def _ends(self) -> dict[int, int]:
        """Offset of each partition's next message, as the brokers tell it."""
        return {number: high for number, (_, high) in self._bounds().items()}

    def _bounds(self) -> dict[int, tuple[int, int]]:
        """Offsets of each partition's first message and of its next one, as the brokers tell them."""

        def bounds(number: int) -> tuple[int, int]:
            partition = TopicPartition(self._topic, number)
            low, high = self._consumer.get_watermark_offsets(partition, timeout=ASK_TIMEOUT_S)
            return int(low), int(high)

        return self._ask(lambda: {number: bounds(number) for number in self._partitions})

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The brokers' answer; those that have just started, or that have just made the topic, may be late with it."""
        deadline = time.monotonic() + REACH_TIMEOUT_S

        def check(error: KafkaError) -> None:
            if time.monotonic() > deadline:
                raise InputError(
                    f"topic {self._topic}: the brokers did not tell of it in {REACH_TIMEOUT_S:.0f} s: {error.str()}; "
                    "are all of them up?"
                )

        try:
            return retry_until(question, check)
        except KafkaException as error:
            self._check(error.args[0], -1)
            raise InputError(f"topic {self._topic}: {refusal(error)}") from error

    def _messages_to_end(self) -> Iterator[Any]:
        def look_up(waited_s: float) -> None:
            if waited_s > STALL_TIMEOUT_S:
                raise InputError(
                    f"topic {self._topic}: nothing came for {STALL_TIMEOUT_S:.0f} s before its end; are the brokers up?"
                )

        return messages_to_end(self._consumer, set(self._partitions), on_turn=look_up, on_error=self._check)

    def _is_wanted(self, message: Any) -> bool:
        # The embedded broker finds no offsets by time and starts at the beginning.
        late_enough = self._since_ms is None or message.timestamp()[1] >= self._since_ms
        return late_enough and self._keep(message.key() or b"")

    def _record(self, message: Any) -> TopicRecord:
        (headers,) = headers_of([message])
        if isinstance(headers, BadHeaders):
            headers = headers.headers
        content_type = next((text for name, text in headers or () if name == "content-type"), None)
        published_ms = int(message.timestamp()[1])
        return TopicRecord(
            message.value() or b"",
            content_type,
            published_ms,
            self._topic,
            message.partition(),
            message.offset(),
            message.key(),
            tuple(headers or ()),
            message.value() is not None,
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._told > OUTAGE_NOTICE_S:
            self._told = time.monotonic()
            self._tell(f"no broker can be reached at {self._brokers}, waiting for one")

    def _check(self, error: KafkaError, partition: int) -> None:
        """Raise what waiting does not mend."""
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise InputError(f"topic {self._topic}: the user may not read it; give it READ on the topic")
        if error.fatal():
            raise KafkaException(error)


def read_records(
    settings: Settings, name: str, *, since_ms: int | None = None, keep: Callable[[bytes], bool] = lambda key: True
) -> list[TopicRecord]:
    """All committed messages of a topic, in order within a partition; arguments and errors as for `Follower`."""
    with Follower(settings, name, since_ms=since_ms, keep=keep) as follower:
        return list(follower.read_to_end())
