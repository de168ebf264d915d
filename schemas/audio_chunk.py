"""AudioChunk: a stretch of sound or vibration of one machine, the value of the `audio` topic; and what it is on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from wheeltapper.schemas.events import Micros
from wheeltapper.schemas.limits import MAX_AUDIO_CHANNELS, MAX_SAMPLE_RATE

if TYPE_CHECKING:  # the table of topics names this type, and is read where nothing else needs numpy
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


def record_key(name: str) -> bytes:
    """Key of records about a machine or one of its microphones: all of a machine lies in one partition."""
    return split_source(name)[0].encode()


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


class AudioChunkAvro(BaseModel):
    """Consecutive samples of one microphone, or of the axes of one accelerometer. Value of the `audio` topic."""

    model_config = ConfigDict(defer_build=True)

    machine: str = Field(description="the machine's id; empty: the message's key")
    microphone: str = Field(default="", description="its name, where a machine has several")
    start: Micros = Field(description="event time of the first sample, microseconds UTC")
    sample_rate: Annotated[int, Field(ge=1, le=MAX_SAMPLE_RATE)] = Field(description="samples a second and channel")
    channels: Annotated[int, Field(ge=1, le=MAX_AUDIO_CHANNELS)] = Field(default=1, description="of each sample time")
    # No enum: an older reader would take samples of an encoding that it does not know for those of another.
    encoding: str = Field(default="int16", description="of samples: int16, float32 or flac")
    attributes: dict[str, float | str] = Field(
        default={}, description="the operating point while it was recorded: speed, load, kind of product"
    )
    samples: bytes = Field(
        description="int16, float32: PCM, little-endian, channels interleaved; flac: a whole FLAC file with the same rate and channels"
    )
