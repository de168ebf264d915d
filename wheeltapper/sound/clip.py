"""The sound of an alert: its localization's pointer, the messages that it points to, one stretch of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.follow.follower import Follower
from wheeltapper.follow.messages import read_messages
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.codec import decode_audio_chunk
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.events import ClipPointer, Localization
from wheeltapper.schemas.topics import AUDIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from wheeltapper.stream.settings import Settings


@dataclass(frozen=True, eq=False)
class CutClip:
    """Samples as the topic holds them.

    Attributes:
        samples: [n, channels] float32; 0 where no message has them.
        start: event time (us) of the first.
        measured: share of the samples that messages have.
    """

    samples: np.ndarray
    sample_rate: int
    start: int
    measured: float


def find_localization(settings: Settings, alert: str, on_problem: Callable[[str], None]) -> Localization:
    """The last localization of an alert that points to sound.

    Args:
        alert: the alert's id, or its first letters.

    Raises:
        InputError: no such alert, several, or one without sound; the cluster does not answer.
    """
    if not alert.strip():
        raise InputError("ALERT is empty, expected an alert's id, or its first letters")
    every = read_messages(settings, Localization, on_problem=on_problem)
    found = [each for each in every if each.alert_id.startswith(alert)]
    if not found:
        raise InputError(
            f"no localization of alert '{alert}' on the topic; 'wheeltapper alerts --json' shows ids of the alerts that are there"
        )
    ids = sorted({each.alert_id for each in found})
    if len(ids) > 1:
        raise InputError(f"'{alert}' begins the ids of {len(ids)} alerts ({ids[0]}, {ids[1]}, ..); give more letters")
    with_sound = [each for each in found if each.clip is not None]
    if not with_sound:
        raise InputError(f"alert {ids[0]} of {found[0].machine} comes from sensor rows: it has no sound to cut")
    return with_sound[-1]


def cut(settings: Settings, pointer: ClipPointer) -> CutClip:
    """Read the messages that a pointer names and cut the clip out of them.

    Raises:
        InputError: the messages are gone, or the audio topic of the settings is another.
    """
    topic = settings.topics.full_name(AUDIO)
    if pointer.topic != topic:
        raise InputError(
            f"the alert's sound lies on topic {pointer.topic}, the settings' audio topic is {topic}: give --prefix or --config"
        )
    chunks = _chunks(settings, pointer)
    if not chunks:
        raise InputError(
            f"the sound of the alert, {topic} [{pointer.partition}] offsets {pointer.first_offset} to {pointer.last_offset}, is no "
            "longer on the topic; raise its retention.ms to keep sound longer"
        )
    rate, channels = chunks[0].sample_rate, chunks[0].channels
    count = round((pointer.end - pointer.start) * rate / 1e6)
    samples = np.zeros((count, channels), dtype=np.float32)
    filled = np.zeros(count, dtype=np.bool_)
    for chunk in chunks:
        if (chunk.sample_rate, chunk.channels) != (rate, channels):
            continue  # a microphone that was replaced in between
        first = round((chunk.start - pointer.start) * rate / 1e6)
        into = slice(max(0, first), max(0, min(count, first + len(chunk))))
        part = chunk.samples[into.start - first : into.stop - first]
        samples[into], filled[into] = part, True
    return CutClip(samples, rate, pointer.start, float(filled.mean()) if count else 0.0)


def _chunks(settings: Settings, pointer: ClipPointer) -> list[AudioChunk]:
    """The microphone's chunks of the pointer's messages."""
    found: list[AudioChunk] = []
    offsets = {pointer.partition: pointer.first_offset}
    with Follower(settings, AUDIO, offsets=offsets, partitions=[pointer.partition]) as follower:
        for record in follower.read_to_end():
            if record.offset > pointer.last_offset:
                break
            try:
                chunk = decode_audio_chunk(
                    record.value, record.content_type, (record.key or b"").decode("utf-8", "replace")
                )
            except DecodeError:
                continue  # a dead letter: the worker could not use it either
            if (chunk.machine, chunk.microphone) == (pointer.machine, pointer.microphone):
                found.append(chunk)
    return found
