"""Sends messages to one topic, in order: what `replay` and `record` share."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

# How long what is still queued may take to go out after the last one, or after Ctrl-C.
STOP_FLUSH_S = 5.0
PROGRESS_INTERVAL_S = 0.2


class TopicSender:
    """Sends messages to one topic, in order, and stops where a signal asks for it.

    Attributes:
        units: what the messages held (rows, samples), handed to the producer so far.
        messages: handed to the producer so far.
    """

    def __init__(self, topic: str, settings: Any, content_type: str, *, when_too_large: str) -> None:
        """
        Args:
            topic: full name.
            settings: the worker's, for [kafka].
            when_too_large: what to do where the broker finds a message too large, for the error's text.

        Raises:
            InputError: settings that make no client.
        """
        from wheeltapper.kafka_clients import producer

        self.units = 0
        self.messages = 0
        self._topic = topic
        self._headers: list[tuple[str, str | bytes | None]] = [("content-type", content_type.encode())]
        self._when_too_large = when_too_large
        self._failure: KafkaError | None = None
        self._stopping = False
        self._producer: Producer = producer(settings, error_cb=self._on_error)

    def send(self, value: bytes, key: bytes, units: int) -> None:
        """Hand one message over; waits where the broker is slower than the sender.

        Raises:
            InputError: the broker refuses a message.
            KeyboardInterrupt: it was asked to stop; what `units` counts has been handed over, and no more.
        """
        self.check_for_stop()
        while True:
            try:
                # No timestamp: with the data's own, brokers would delete recordings older than the topic's retention.
                self._producer.produce(self._topic, value, key, headers=self._headers, on_delivery=self._on_delivery)
                break
            except BufferError:  # the local queue is full: the broker is slower than we are
                self._producer.poll(0.1)
                self.check_for_stop()
        self._producer.poll(0)
        self._raise_failure()
        self.units += units
        self.messages += 1

    def wait_until(self, due: float) -> None:
        """Until a monotonic time (s).

        Raises:
            InputError, KeyboardInterrupt: as `send`.
        """
        while (left := due - time.monotonic()) > 0:
            self._producer.poll(min(left, 0.5))
            self.check_for_stop()

    def finish(self) -> None:
        """Wait until all is delivered.

        Raises:
            InputError: some of it was not.
            KeyboardInterrupt: it was asked to stop.
        """
        while self._producer.flush(1.0):
            self.check_for_stop()
        self._raise_failure()

    def ask_to_stop(self, _number: int, _frame: object) -> None:
        """Signal handler: sets a flag, because an exception here could come between sending a message and counting it."""
        self._stopping = True

    def stop(self) -> int:
        """Wait briefly for queued messages; return the number that was not delivered."""
        left = int(self._producer.flush(STOP_FLUSH_S))
        self._producer.purge()
        return left

    def check_for_stop(self) -> None:
        """
        Raises:
            InputError, KeyboardInterrupt: as `send`.
        """
        if self._stopping:
            raise KeyboardInterrupt
        self._raise_failure()

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() and self._failure is None:
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        from confluent_kafka import KafkaError

        advice = {
            KafkaError.MSG_SIZE_TOO_LARGE: f"{self._when_too_large}, or raise the topic's max.message.bytes",
            KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not write to the topic: correct the user or the rights",
            KafkaError._MSG_TIMED_OUT: "the broker could not be reached for too long: check that it runs, and start again",
        }.get(self._failure.code(), "see the broker's log")
        self._producer.purge()
        raise InputError(f"the broker did not accept a message to {self._topic} ({self._failure.str()}); {advice}")


@contextmanager
def signals_ask(senders: Sequence[TopicSender]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the senders to stop; a signal that was ignored before, as in a script's background, stays so."""

    def ask(number: int, frame: object) -> None:
        for sender in senders:
            sender.ask_to_stop(number, frame)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def existing_topic(named: str | None, settings: Any, name: str) -> str:
    """The topic to send to; the project's own topics are made where they are missing.

    Args:
        named: full name of another topic; None: the project's own.
        name: of the project's own, without prefix.

    Raises:
        InputError: no Kafka there, or another topic that does not exist.
    """
    from wheeltapper.kafka_admin import connect, create_topics

    admin = connect(settings)
    own = settings.topics.full_name(name)
    topic: str = named or own
    known = admin.list_topics(timeout=10.0).topics
    if topic in known:
        return topic
    if topic != own:
        hint = did_you_mean(topic, known)
        raise InputError(
            f"topic {topic} does not exist at {settings.kafka.brokers}; create it, or correct --topic{hint}"
        )
    create_topics(admin, settings)
    return topic


def unsent(messages: int) -> str:
    """What to say of messages that a stop left behind."""
    return f"; {messages} messages of these were not delivered" if messages else ""


def progress_bar(total: int, text: str, unit: str) -> Any:
    """A context that gives `advance(units sent)`: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext(lambda sent: None)
    return _Bar(total, text, unit)


class _Bar:
    """rich's progress bar, redrawn a few times a second however much passes."""

    def __init__(self, total: int, text: str, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(text, total=total)
        self._drawn = 0.0

    def __enter__(self) -> Callable[[int], None]:
        self._bar.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _advance(self, sent: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= PROGRESS_INTERVAL_S:
            self._drawn = now
            self._bar.update(self._task, completed=sent)
