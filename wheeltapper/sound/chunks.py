"""Blocks of samples to AudioChunks of even length on a topic, paced by the sample clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from wheeltapper.schemas.audio_chunk import AudioChunk, AudioEncoding
from wheeltapper.schemas.codec import Encoding, encode_audio_chunk
from wheeltapper.schemas.errors import InputError
from wheeltapper.sending import TopicSender
from wheeltapper.training.datasets.sound.files import value_of

MICROS = 1_000_000


@dataclass(frozen=True)
class Microphone:
    """Whose samples they are, and how they are written.

    Attributes:
        machine, microphone, sample_rate, attributes, pcm: as `AudioChunk` has them.
    """

    machine: str
    microphone: str
    sample_rate: int
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    pcm: AudioEncoding = "int16"

    def chunk(self, samples: np.ndarray, start: int) -> AudioChunk:
        """[n, channels] float32 that begin at `start` (us)."""
        return AudioChunk(
            self.machine, self.microphone, start, self.sample_rate, samples, dict(self.attributes), self.pcm
        )

    def message(self, samples: np.ndarray, start: int, encoding: Encoding) -> bytes:
        """`chunk` as one message.

        Raises:
            InputError: the samples do not fit into `pcm`, or are no finite numbers.
        """
        try:
            return encode_audio_chunk(self.chunk(samples, start), encoding)
        except ValueError as error:
            raise InputError(f"{error} (--pcm float32 takes a sensor's own unit)") from error


def even_blocks(blocks: Iterable[np.ndarray], frames: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of exactly `frames`; the last may be shorter."""
    kept: list[np.ndarray] = []
    count = 0
    for block in blocks:
        kept.append(block)
        count += len(block)
        while count >= frames:
            joined = kept[0] if len(kept) == 1 else np.concatenate(kept)
            yield joined[:frames]
            kept, count = [joined[frames:]], len(joined) - frames
    if count:
        yield np.concatenate(kept)


def send_chunks(
    sender: TopicSender,
    microphone: Microphone,
    blocks: Iterable[np.ndarray],
    *,
    start: int,
    encoding: Encoding,
    chunk_s: float,
    speed: float,
    advance: Callable[[int], None] = lambda sent: None,
) -> None:
    """Send blocks as chunks of `chunk_s`; each is due when its last sample is.

    Args:
        start: event time (us) of the first sample; others follow by their number.
        speed: times real time; 0: as fast as possible.
        advance: told how many samples (of a channel) have been sent.

    Raises:
        InputError, KeyboardInterrupt: as `TopicSender.send`.
    """
    rate, key = microphone.sample_rate, microphone.machine.encode()
    begin, done = time.monotonic(), 0
    for block in even_blocks(blocks, frames_of(chunk_s, rate)):
        value = microphone.message(block, start + round(done * MICROS / rate), encoding)
        done += len(block)
        if speed > 0:
            sender.wait_until(begin + done / rate / speed)
        sender.send(value, key, len(block))
        advance(sender.units)


def frames_of(chunk_s: float, sample_rate: int) -> int:
    """Samples of a chunk.

    Raises:
        InputError: not a length that a chunk may have.
    """
    if not 0 < chunk_s <= 60:
        raise InputError(f"--chunk-s is {chunk_s:g}, expected above 0 and at most 60 seconds")
    return max(1, round(chunk_s * sample_rate))


def parse_attributes(texts: Iterable[str]) -> dict[str, float | str]:
    """['speed=1500', 'product=A'] to {'speed': 1500.0, 'product': 'A'}.

    Raises:
        InputError: a text without '=', or a name twice.
    """
    found: dict[str, float | str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise InputError(f"--attribute {text}: expected NAME=VALUE, e.g. --attribute speed=1500")
        if name in found:
            raise InputError(f"--attribute {name} is given twice; give it once")
        found[name] = value_of(value)
    return found
