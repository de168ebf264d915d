"""A live microphone, or PCM on standard input, as AudioChunks."""

from __future__ import annotations

import argparse
import queue
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from wheeltapper.schemas.codec import CONTENT_TYPES
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import AUDIO
from wheeltapper.sending import TopicSender, existing_topic, signals_ask, unsent
from wheeltapper.sound.chunks import MICROS, Microphone, even_blocks, frames_of, parse_attributes

# By so much the sample clock may differ from the computer's: a device that is a little fast is no loss of samples.
MOST_SKEW_S = 0.2
# Blocks that may wait for the sender: a minute at the usual size.
_WAITING_BLOCKS = 600


class SampleClock:
    """Event times of samples: the clock's at the first one, then by their number, until both differ too much."""

    def __init__(self, sample_rate: int, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._rate = sample_rate
        self._now_us = now_us
        self._origin: int | None = None
        self._samples = 0
        self.restarts = 0

    def stamp(self, samples: int) -> int:
        """Event time (us) of the first of `samples` that have just arrived, the last of them now."""
        began = self._now_us() - round(samples * MICROS / self._rate)
        if self._origin is None:
            self._origin = began
        expected = self._origin + round(self._samples * MICROS / self._rate)
        if abs(began - expected) > MOST_SKEW_S * MICROS:
            self.restarts += 1
            self._origin, self._samples, expected = began, 0, began
        self._samples += samples
        return expected


def record(arguments: argparse.Namespace) -> int:
    """
    Raises:
        InputError: a bad option, no such device, no Kafka, or a message that it refuses.
    """
    from wheeltapper.kafka_admin import settings_from

    _check(arguments)
    settings = settings_from(arguments)
    microphone = Microphone(
        arguments.machine, arguments.microphone, arguments.rate, parse_attributes(arguments.attribute), arguments.pcm
    )
    frames = frames_of(arguments.chunk_s, arguments.rate)
    topic = existing_topic(arguments.topic, settings, AUDIO)
    sender = TopicSender(topic, settings, CONTENT_TYPES[arguments.encoding], when_too_large="send a shorter --chunk-s")
    clock, key = SampleClock(arguments.rate), arguments.machine.encode()
    left = None if arguments.limit_s is None else round(arguments.limit_s * arguments.rate)
    blocks = (
        pcm_blocks(sys.stdin.buffer, frames, arguments.channels)
        if arguments.stdin
        else even_blocks(device_blocks(arguments, sender.check_for_stop), frames)
    )
    try:
        with signals_ask([sender]):
            for block in blocks:
                known = clock.restarts
                start = clock.stamp(len(block))
                if clock.restarts > known:
                    print(
                        f"wheeltapper: the sample clock was more than {MOST_SKEW_S:g} s off and is set anew: samples were lost, or "
                        "--rate is not the device's",
                        file=sys.stderr,
                    )
                block = block if left is None else block[:left]
                sender.send(microphone.message(block, start, arguments.encoding), key, len(block))
                if left is not None:
                    left -= len(block)
                    if left <= 0:
                        break
            sender.finish()
    except KeyboardInterrupt:
        rest = sender.stop()
        print(
            f"stopped: {sender.units / arguments.rate:.1f} s of sound sent to {topic} as {arguments.machine}"
            + unsent(rest)
        )
        raise
    print(
        f"sent {sender.units / arguments.rate:.1f} s of sound in {sender.messages} messages to {topic} as {arguments.machine}"
    )
    return 0


def pcm_blocks(source: BinaryIO, frames: int, channels: int) -> Iterator[np.ndarray]:
    """Raw little-endian int16 to [n, channels] float32 blocks of `frames`, until the source ends.

    Raises:
        InputError: it ends within a sample.
    """
    width = 2 * channels
    while True:
        data = source.read(frames * width)
        if not data:
            return
        if len(data) % width:
            raise InputError(
                f"standard input ended within a sample: {len(data)} bytes are no multiple of {width} ({channels} channels of "
                "int16); check --channels and the format of the program before"
            )
        yield (np.frombuffer(data, dtype="<i2").reshape(-1, channels) / np.float32(32768)).astype(np.float32)


def device_blocks(arguments: argparse.Namespace, check_for_stop: Callable[[], None]) -> Iterator[np.ndarray]:
    """[n, channels] float32 blocks of a sound device, as they come.

    Raises:
        InputError: no such device, or one that does not take the rate or channels.
    """
    library = sounddevice()
    waiting: queue.Queue[np.ndarray] = queue.Queue(_WAITING_BLOCKS)
    lost = 0

    def take(data: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
        nonlocal lost
        try:
            waiting.put_nowait(data.copy())
            lost += bool(status.input_overflow)
        except queue.Full:
            lost += 1

    device: str | int | None = arguments.device
    if isinstance(device, str) and device.isdigit():
        device = int(device)
    try:
        stream = library.InputStream(
            device=device, samplerate=arguments.rate, channels=arguments.channels, dtype="float32", callback=take
        )
    except (library.PortAudioError, ValueError) as error:
        raise InputError(
            f"device {'of the system' if device is None else device} does not open at {arguments.rate} Hz with "
            f"{arguments.channels} channels ({error}); 'wheeltapper record --list' shows the devices"
        ) from error
    told = 0
    with stream:
        while True:
            check_for_stop()
            try:
                yield waiting.get(timeout=0.2)
            except queue.Empty:
                if not stream.active:
                    raise InputError("the sound device stopped; is it still plugged in?") from None
            if lost > told:
                print(f"wheeltapper: the device lost samples {lost} times; this computer is too slow", file=sys.stderr)
                told = 2 * lost


def list_devices() -> None:
    """Prints the sound devices.

    Raises:
        InputError: sounddevice or PortAudio is missing.
    """
    found = sounddevice().query_devices()
    print(found if len(found) else "no sound device is found")


def sounddevice() -> ModuleType:
    """
    Raises:
        InputError: sounddevice or PortAudio is missing.
    """
    try:
        import sounddevice as library
    except (ImportError, OSError) as error:
        raise InputError(
            f"a live device needs sounddevice and PortAudio ({error}): pip install 'wheeltapper[record]', and on Debian apt install "
            "libportaudio2; --stdin needs neither"
        ) from error
    return library


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.machine or not arguments.machine.strip():
        raise InputError("--machine is missing, expected the machine's id")
    if not 100 <= arguments.rate <= 1_000_000:
        raise InputError(f"--rate {arguments.rate}: expected 100 to 1000000 Hz")
    if not 1 <= arguments.channels <= 64:
        raise InputError(f"--channels {arguments.channels}: expected 1 to 64")
    if arguments.limit_s is not None and not arguments.limit_s > 0:
        raise InputError(f"--limit-s {arguments.limit_s:g}: expected above 0 seconds")
    if arguments.stdin and arguments.device:
        raise InputError("--stdin and --device are two sources; give one of them")
