"""AudioChunk: a stretch of sound or vibration of one machine, the value of the `audio` topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

AudioEncoding = Literal["int16", "float32", "flac"]
"""How samples are written: PCM little-endian, channels interleaved (L R L R ..), or a whole FLAC file."""

MICROPHONE_SEPARATOR = "::"
"""Between machine and microphone in the name of what is listened to: 'fan-1::left'."""


def source_name(machine: str, microphone: str) -> str:
    """What alerts, scores and state call one microphone of a machine: the machine alone where the microphone has no name."""
    return f"{machine}{MICROPHONE_SEPARATOR}{microphone}" if microphone else machine


def split_source(name: str) -> tuple[str, str]:
    """Machine and microphone of `source_name`; ('fan-1', '') of 'fan-1'."""
    machine, _, microphone = name.partition(MICROPHONE_SEPARATOR)
    return machine, microphone


# eq=False: a generated == would compare arrays and fail on their truth value.
@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Consecutive samples of one microphone, or of the axes of one accelerometer.

    Attributes:
        machine: the machine's id; not empty.
        microphone: its name, where a machine has several; '' otherwise.
        start: event time of the first sample, microseconds UTC.
        sample_rate: samples a second and channel.
        samples: [n, channels] float32; PCM of integers is scaled to [-1, 1), float32 is taken as it is (g or mm/s of an
            accelerometer too). Always finite.
        attributes: the operating point while it was recorded: speed, load, kind of product; numbers or texts.
        encoding: how it was, or is to be, written.
    """

    machine: str
    microphone: str
    start: int
    sample_rate: int
    samples: np.ndarray
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    encoding: AudioEncoding = "int16"

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def channels(self) -> int:
        """Channels: 1 of a microphone, 3 of a three-axis accelerometer."""
        return int(self.samples.shape[1])

    @property
    def end(self) -> int:
        """Event time (us) behind the last sample."""
        return self.start + round(len(self) * 1e6 / self.sample_rate)

    @property
    def source(self) -> str:
        """See `source_name`."""
        return source_name(self.machine, self.microphone)
