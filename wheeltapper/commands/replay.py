"""`wheeltapper replay`: send a recorded series as live rows to the sensors topic, or recordings to the audio topic."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.command_line import RawFormatter
from wheeltapper.loaded import load_told
from wheeltapper.schemas.codec import CONTENT_TYPES, MAX_ROWS, Encoding, encode_sensor_block
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import SENSORS
from wheeltapper.sending import TopicSender, existing_topic, progress_bar, signals_ask, unsent
from wheeltapper.sound.replay import add_sound_arguments, replay_files
from wheeltapper.training.datasets.registry import DATASETS, entity_help

if TYPE_CHECKING:
    from wheeltapper.training.datasets.series import SensorSeries

EPILOG = """
examples:
  wheeltapper replay smd --data ServerMachineDataset --entity machine-1-1 --speed 0
  wheeltapper replay simulated --entity pump-1 --speed 600 --encoding arrow --rows-per-message 16
  wheeltapper replay wav recordings/fan-1 --machine fan-1 --speed 0
"""

WAV = "wav"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "dataset",
        choices=tuple(dict.fromkeys((*DATASETS, WAV))),
        help=f"kind of data set; {WAV}: sound files, to the audio topic",
    )
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="DIR|FILE", help=f"{WAV}: a sound file, or a folder of them in one rate"
    )
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
    parser.add_argument("--topic", help="topic to send to (default: the sensors, or audio, topic of the settings)")
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
    parser.add_argument(
        "--encoding", choices=tuple(CONTENT_TYPES), help="encoding of the messages (default: json; avro for sound)"
    )
    parser.add_argument(
        "--rows-per-message",
        type=int,
        default=1,
        metavar="N",
        help="rows in one message; a message is sent when its last row is due",
    )
    parser.add_argument(
        "--limit", type=int, metavar="ROWS", help="send only the first ROWS rows, or samples (default: all)"
    )
    parser.add_argument("--part", choices=("test", "train"), default="test", help="which part of the series to send")
    parser.add_argument(
        "--start",
        metavar="TIME",
        help="event time of the part's first row: 'now', or ISO 8601 (default: the data's own times, or the made-up clock "
        "of one row a minute)",
    )
    add_sound_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: data that is not there, no Kafka, or a topic or message that it refuses."""
    from wheeltapper.kafka_admin import settings_from

    _check(arguments)
    if arguments.dataset == WAV:
        return replay_files(arguments, settings_from(arguments))
    if arguments.path is not None:
        raise InputError(f"{arguments.path}: a path follows '{WAV}' alone; give --data DIR for {arguments.dataset}")
    arguments.encoding = arguments.encoding or "json"
    series = load_told(arguments.dataset, arguments.data, arguments.entity, file=sys.stdout)
    block = _part(series, arguments)
    settings = settings_from(arguments)
    topic = existing_topic(arguments.topic, settings, SENSORS)
    sender = TopicSender(
        topic, settings, CONTENT_TYPES[arguments.encoding], when_too_large="send fewer --rows-per-message"
    )
    started = time.monotonic()
    try:
        with signals_ask([sender]), progress_bar(len(block), f"replaying {block.machine}", "rows") as advance:
            send_rows(sender, block, arguments.encoding, arguments.rows_per_message, arguments.speed, advance)
            sender.finish()
    except KeyboardInterrupt:
        left = sender.stop()
        print(f"stopped: {sender.units} of {len(block)} rows sent to {topic} as {block.machine}" + unsent(left))
        raise
    elapsed = max(time.monotonic() - started, 1e-9)
    print(
        f"sent {sender.units} rows in {sender.messages} messages ({arguments.encoding}) to {topic} as {block.machine}: "
        f"{elapsed:.1f} s, {sender.units / elapsed:,.0f} rows/s"
    )
    return 0


def send_rows(
    sender: TopicSender,
    block: SensorBlock,
    encoding: Encoding,
    rows_per_message: int,
    speed: float,
    advance: Callable[[int], None],
) -> None:
    """Send a block's rows as messages of `rows_per_message`; each is due when its last row is.

    Raises:
        InputError, KeyboardInterrupt: as `TopicSender.send`.
    """
    begin = time.monotonic()
    for first in range(0, len(block), rows_per_message):
        rows = slice(first, min(first + rows_per_message, len(block)))
        message = SensorBlock(block.machine, block.ts[rows], block.channels, block.values[rows])
        if speed > 0:
            sender.wait_until(begin + float(block.ts[rows][-1] - block.ts[0]) / 1e6 / speed)
        sender.send(encode_sensor_block(message, encoding), message.machine.encode(), len(message))
        advance(sender.units)


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
