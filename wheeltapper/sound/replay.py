"""`wheeltapper replay wav`: recordings as the chunks of a live microphone."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wheeltapper.schemas.codec import CONTENT_TYPES, Encoding
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import AUDIO
from wheeltapper.sending import TopicSender, existing_topic, progress_bar, signals_ask, unsent
from wheeltapper.sound.chunks import Microphone, frames_of, parse_attributes, send_chunks
from wheeltapper.sound.files import SoundFile, find_files

CHUNK_S = 1.0


def add_sound_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `replay` that count for sound alone."""
    group = parser.add_argument_group("sound (replay wav)")
    group.add_argument("--microphone", default="", metavar="NAME", help="microphone, where a machine has several")
    group.add_argument("--chunk-s", type=float, default=CHUNK_S, metavar="S", help="seconds of sound in one message")
    group.add_argument(
        "--pcm", choices=("int16", "float32", "flac"), default="int16", help="how the samples of a message are written"
    )
    group.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="operating point of every message, e.g. speed=1500; may be given several times",
    )


def replay_files(arguments: argparse.Namespace, settings: Any) -> int:
    """Send a file, or a folder's files one after another, as one microphone.

    Raises:
        InputError: nothing to send, no Kafka, or a topic or message that it refuses.
    """
    from wheeltapper.training.datasets.clock import MADE_UP_TEST_START, shift_to

    place = arguments.path or arguments.data
    if place is None:
        raise InputError("replay wav needs a file or folder: wheeltapper replay wav DIR|FILE")
    encoding: Encoding = arguments.encoding or "avro"
    if encoding == "json":
        raise InputError("--encoding json: samples travel in avro or arrow; choose one of them")
    files = find_files(place)
    first = files[0]
    frames_of(arguments.chunk_s, first.sample_rate)
    total = sum(file.frames for file in files)
    if arguments.limit is not None:
        total = min(total, arguments.limit)
    microphone = Microphone(
        arguments.machine or place.resolve().stem,
        arguments.microphone,
        first.sample_rate,
        parse_attributes(arguments.attribute),
        arguments.pcm,
    )
    topic = existing_topic(arguments.topic, settings, AUDIO)
    sender = TopicSender(topic, settings, CONTENT_TYPES[encoding], when_too_large="send a shorter --chunk-s")
    name = f"{topic} as {microphone.machine}" + (
        f", microphone {microphone.microphone}" if microphone.microphone else ""
    )
    started = time.monotonic()
    try:
        with signals_ask([sender]), progress_bar(total, f"replaying {microphone.machine}", "samples") as advance:
            send_chunks(
                sender,
                microphone,
                _limited(files, total),
                start=int(shift_to(np.array([MADE_UP_TEST_START]), arguments.start)[0]),
                encoding=encoding,
                chunk_s=arguments.chunk_s,
                speed=arguments.speed,
                advance=advance,
            )
            sender.finish()
    except KeyboardInterrupt:
        left = sender.stop()
        print(f"stopped: {sender.units / first.sample_rate:.1f} s of sound sent to {name}" + unsent(left))
        raise
    elapsed = max(time.monotonic() - started, 1e-9)
    seconds = sender.units / first.sample_rate
    print(
        f"sent {seconds:.1f} s of sound ({len(files)} files, {first.sample_rate} Hz, {first.channels} channels) in "
        f"{sender.messages} messages ({encoding}, {arguments.pcm}) to {name}: {elapsed:.1f} s, {seconds / elapsed:,.0f} times "
        "real time"
    )
    return 0


def _limited(files: Sequence[SoundFile], frames: int) -> Iterator[np.ndarray]:
    """The files' samples one after another, at most `frames` of them."""
    left = frames
    for file in files:
        for block in file.blocks(file.sample_rate):
            if left <= 0:
                return
            yield block[:left]
            left -= len(block)
