"""`wheeltapper replay`: send a recorded series as live rows to the sensors topic."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wheeltapper.cli import HelpFormatter
from wheeltapper.schemas.codec import CONTENT_TYPES, MAX_ROWS, encode_sensor_block
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.training.datasets.registry import DATASETS, entity_help

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

    from wheeltapper.training.datasets.series import SensorSeries

# How long rows that are still queued may take to go out after the last one, or after Ctrl-C.
STOP_FLUSH_S = 5.0
PROGRESS_INTERVAL_S = 0.2

EPILOG = """
examples:
  wheeltapper replay smd --data ServerMachineDataset --entity machine-1-1 --speed 0
  wheeltapper replay simulated --entity pump-1 --speed 600 --start now --encoding arrow --rows-per-message 16
"""


class _Formatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults after each option, and the epilog as it is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_admin import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = _Formatter
    parser.add_argument("dataset", choices=DATASETS, help="kind of data set")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data set's own folder; for csv also one file (default: $WHEELTAPPER_DATA/DATASET; simulated needs none)",
    )
    parser.add_argument(
        "--entity", metavar="E", help=f"what to replay: {entity_help()} (default: the only one, where there is one)"
    )
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument("--topic", help="topic to send to (default: the sensors topic of the settings)")
    parser.add_argument(
        "--machine", metavar="ID", help="machine id, also the key of every message (default: the entity)"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="times real time, by the rows' own times: 1 = real time, 60 = an hour a minute, 0 = as fast as possible",
    )
    parser.add_argument("--encoding", choices=tuple(CONTENT_TYPES), default="json", help="encoding of the messages")
    parser.add_argument(
        "--rows-per-message",
        type=int,
        default=1,
        metavar="N",
        help="rows in one message; a message is sent when its last row is due",
    )
    parser.add_argument("--limit", type=int, metavar="ROWS", help="send only the first ROWS rows (default: all)")
    parser.add_argument("--part", choices=("test", "train"), default="test", help="which part of the series to send")
    parser.add_argument(
        "--start",
        metavar="TIME",
        help="event time of the part's first row: 'now', or ISO 8601 (default: the data's own times, or the made-up clock "
        "of one row a minute)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: data that is not there, no Kafka, or a topic or message that it refuses."""
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.training.datasets.registry import load_series

    _check(arguments)
    series = load_series(arguments.dataset, arguments.data, arguments.entity)
    block = _part(series, arguments)
    settings = settings_from(arguments)
    topic = _existing_topic(arguments.topic, settings)
    sender = Sender(topic, settings, arguments.encoding)
    started = time.monotonic()
    try:
        with _signals_ask(sender), _progress(len(block), block.machine) as advance:
            sender.replay(block, arguments.rows_per_message, arguments.speed, advance)
            sender.finish()
    except KeyboardInterrupt:
        left = sender.stop()
        print(f"stopped: {sender.rows} of {len(block)} rows sent to {topic} as {block.machine}" + _unsent(left))
        raise
    elapsed = max(time.monotonic() - started, 1e-9)
    print(
        f"sent {sender.rows} rows in {sender.messages} messages ({arguments.encoding}) to {topic} as {block.machine}: "
        f"{elapsed:.1f} s, {sender.rows / elapsed:,.0f} rows/s"
    )
    return 0


class Sender:
    """Sends rows of one machine to one topic, in order.

    Attributes:
        rows, messages: handed to the producer so far.
    """

    def __init__(self, topic: str, settings: Any, encoding: Any) -> None:
        from wheeltapper.kafka_clients import producer

        self.rows = 0
        self.messages = 0
        self._topic = topic
        self._encoding = encoding
        self._headers: list[tuple[str, str | bytes | None]] = [("content-type", CONTENT_TYPES[encoding].encode())]
        self._failure: KafkaError | None = None
        self._stopping = False
        self._producer: Producer = producer(settings, error_cb=self._on_error)

    def replay(self, block: SensorBlock, rows_per_message: int, speed: float, advance: Callable[[int], None]) -> None:
        """Send a block's rows as messages of `rows_per_message`; each is due when its last row is.

        Raises:
            InputError: the broker refuses a message.
            KeyboardInterrupt: it was asked to stop; what `rows` counts has been handed over, and no more.
        """
        begin = time.monotonic()
        for first in range(0, len(block), rows_per_message):
            self._check_for_stop()
            rows = slice(first, min(first + rows_per_message, len(block)))
            message = SensorBlock(block.machine, block.ts[rows], block.channels, block.values[rows])
            if speed > 0:
                self._wait_until(begin + float(block.ts[rows][-1] - block.ts[0]) / 1e6 / speed)
            self._send(message)
            advance(self.rows)

    def finish(self) -> None:
        """Wait until all is delivered.

        Raises:
            InputError: some of it was not.
            KeyboardInterrupt: it was asked to stop.
        """
        while self._producer.flush(1.0):
            self._check_for_stop()
        self._raise_failure()

    def ask_to_stop(self, _number: int, _frame: object) -> None:
        """Signal handler: sets a flag, because an exception here could come between sending a message and counting it."""
        self._stopping = True

    def stop(self) -> int:
        """Wait briefly for queued messages; return the number that was not delivered."""
        left = int(self._producer.flush(STOP_FLUSH_S))
        self._producer.purge()
        return left

    def _send(self, message: SensorBlock) -> None:
        value, key = encode_sensor_block(message, self._encoding), message.machine.encode()
        while True:
            try:
                # No timestamp: with the rows' own, brokers would delete recordings older than the topic's retention.
                self._producer.produce(self._topic, value, key, headers=self._headers, on_delivery=self._on_delivery)
                break
            except BufferError:  # the local queue is full: the broker is slower than we are
                self._producer.poll(0.1)
                self._check_for_stop()
        self._producer.poll(0)
        self._raise_failure()
        self.rows += len(message)
        self.messages += 1

    def _wait_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            self._producer.poll(min(left, 0.5))
            self._check_for_stop()

    def _check_for_stop(self) -> None:
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
            KafkaError.MSG_SIZE_TOO_LARGE: "send fewer --rows-per-message, or raise the topic's max.message.bytes",
            KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not write to the topic: correct the user or the rights",
            KafkaError._MSG_TIMED_OUT: "the broker could not be reached for too long: check that it runs, and start the replay again",
        }.get(self._failure.code(), "see the broker's log")
        self._producer.purge()
        raise InputError(f"the broker did not accept a message to {self._topic} ({self._failure.str()}); {advice}")


@contextmanager
def _signals_ask(sender: Sender) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the sender to stop; a signal that was ignored before, as in a script's background, stays so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, sender.ask_to_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(arguments: argparse.Namespace) -> None:
    if not (np.isfinite(arguments.speed) and arguments.speed >= 0):
        raise InputError(f"--speed {arguments.speed:g}: expected 0 (as fast as possible) or a number above it")
    if not 1 <= arguments.rows_per_message <= MAX_ROWS:
        raise InputError(f"--rows-per-message {arguments.rows_per_message}: expected 1 to {MAX_ROWS}")
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected 1 row or more")
    if arguments.machine is not None and not arguments.machine.strip():
        raise InputError("--machine is empty, expected the machine's id")


def _part(series: SensorSeries, arguments: argparse.Namespace) -> SensorBlock:
    """The rows to send: part and limit applied, the clock moved to `--start`."""
    from wheeltapper.training.datasets.clock import shift_to

    train = arguments.part == "train"
    times, values = (series.train_ts, series.train) if train else (series.test_ts, series.test)
    if not len(times):
        raise InputError(f"the {arguments.part} part of {series.entity} has no rows; choose the other --part")
    rows = slice(arguments.limit)
    return SensorBlock(
        arguments.machine or series.entity, shift_to(times[rows], arguments.start), series.channels, values[rows]
    )


def _existing_topic(named: str | None, settings: Any) -> str:
    """The topic to send to; the project's own topics are made where they are missing.

    Raises:
        InputError: no Kafka there, or another topic that does not exist.
    """
    from wheeltapper.kafka_admin import connect, create_topics
    from wheeltapper.schemas.topics import SENSORS

    admin = connect(settings)
    sensors = settings.topics.full_name(SENSORS)
    topic: str = named or sensors
    if topic in admin.list_topics(timeout=10.0).topics:
        return topic
    if topic != sensors:
        raise InputError(f"topic {topic} does not exist at {settings.kafka.brokers}; create it, or correct --topic")
    create_topics(admin, settings)
    return topic


def _progress(rows: int, machine: str) -> Any:
    """A context that gives `advance(rows sent)`: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext(lambda sent: None)
    return _Bar(rows, machine)


class _Bar:
    """rich's progress bar, redrawn a few times a second however many rows pass."""

    def __init__(self, rows: int, machine: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(f"replaying {machine}", total=rows)
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


def _unsent(messages: int) -> str:
    return f"; {messages} messages of these were not delivered" if messages else ""
