"""From a message's fields to an AudioChunk: what Avro and Arrow have in common, and what every chunk is held to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from wheeltapper.schemas.audio_chunk import MICROPHONE_SEPARATOR, AudioChunk, AudioEncoding, source_name, split_source
from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.codec import checks
from wheeltapper.schemas.codec.checks import no_block, shown
from wheeltapper.schemas.codec.flac import read_flac, write_flac
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.limits import (
    MAX_ATTRIBUTES,
    MAX_AUDIO_CHANNELS,
    MAX_NAME_LENGTH,
    MAX_SAMPLE_RATE,
    MAX_VALUES,
)

ENCODINGS: tuple[AudioEncoding, ...] = get_args(AudioEncoding)
INT16_SCALE = 32_768.0
"""int16 over this is PCM in [-1, 1), exactly in float32."""


def chunk_of(
    fields: Mapping[str, Any], samples: np.ndarray, encoding: AudioEncoding, machine: str | None
) -> AudioChunk:
    """A chunk of checked fields.

    Args:
        fields: `machine`, `microphone`, `start`, `sample_rate` (checked already) and `attributes` as the message has them.
        samples: [n, C] float32.
        machine: stands in where the message's own is empty.

    Raises:
        DecodeError.
    """
    finite = np.isfinite(samples)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DecodeError(
            Reason.NOT_FINITE, f"sample {row} of channel {column} is {samples[row, column]}, expected finite numbers"
        )
    start = fields["start"]
    if type(start) is not int or not MIN_MICROS <= start <= MAX_MICROS - len(samples) * 10**6 // fields["sample_rate"]:
        raise DecodeError(
            Reason.BAD_TIME,
            f"start is {shown(start)}, outside of the years 1 to 9999; expected microseconds since 1970 UTC",
        )
    named = checks.checked_machine(fields["machine"], machine)
    microphone = fields["microphone"] or ""
    if not isinstance(microphone, str) or len(microphone) > MAX_NAME_LENGTH:
        raise DecodeError(
            Reason.TOO_LARGE, f"microphone is {shown(microphone)}, expected at most {MAX_NAME_LENGTH} characters"
        )
    if not has_clear_name(named, microphone) or named[0] == "\0":
        raise DecodeError(
            Reason.NO_MACHINE,
            f"machine {shown(named)} and microphone {shown(microphone)}: '{MICROPHONE_SEPARATOR}' stands between them in alerts; "
            "expected a machine without it, and no zero byte at its start",
        )
    attributes = checked_attributes(fields["attributes"])
    return AudioChunk(named, microphone, start, fields["sample_rate"], samples, attributes, encoding)


def has_clear_name(machine: str, microphone: str) -> bool:
    """False where the name of both together would be taken for that of others."""
    return split_source(source_name(machine, microphone)) == (machine, microphone)


def checked_rate(rate: Any) -> int:
    """Samples a second."""
    if type(rate) is not int or not 1 <= rate <= MAX_SAMPLE_RATE:
        raise DecodeError(
            Reason.WRONG_RATE, f"sample_rate is {shown(rate)}, expected 1 to {MAX_SAMPLE_RATE} samples a second"
        )
    return rate


def checked_encoding(encoding: Any) -> AudioEncoding:
    """How the samples are written."""
    for known in ENCODINGS:
        if encoding == known:
            return known
    raise no_block(f"encoding is {shown(encoding)}, expected one of {', '.join(ENCODINGS)}")


def check_channels(channels: Any) -> int:
    """At least one, at most MAX_AUDIO_CHANNELS."""
    if type(channels) is not int or channels < 1:
        raise DecodeError(Reason.WRONG_WIDTH, f"channels is {shown(channels)}, expected at least 1")
    if channels > MAX_AUDIO_CHANNELS:
        raise DecodeError(Reason.TOO_LARGE, f"{channels} channels, at most {MAX_AUDIO_CHANNELS} are read")
    return channels


def most_frames(rate: int, channels: int, longest_s: float) -> int:
    """Samples a channel that a chunk may have."""
    most = MAX_VALUES // channels
    return most if math.isinf(longest_s) else min(most, max(1, math.floor(longest_s * rate)))


def check_length(frames: int, rate: int, channels: int, longest_s: float) -> None:
    """At least one sample, and no more than may be read; called before memory is taken for them."""
    if frames < 1:
        raise no_block("no samples, expected at least one")
    most = most_frames(rate, channels, longest_s)
    if frames > most:
        raise DecodeError(
            Reason.TOO_LARGE,
            f"{frames} samples of {channels} channels at {rate} Hz are {frames / rate:.6g} s of sound, at most "
            f"{most / rate:.6g} s are read at a time; send shorter chunks",
        )


def pcm_samples(
    data: bytes | memoryview, encoding: AudioEncoding, rate: int, channels: int, longest_s: float
) -> np.ndarray:
    """[n, C] float32 of a message's bytes.

    Raises:
        DecodeError: no whole number of samples, too long, or not what the encoding says.
    """
    if encoding == "flac":
        samples = read_flac(bytes(data), rate, channels, most_frames(rate, channels, longest_s))
        check_length(len(samples), rate, channels, longest_s)
        return samples
    width = channels * (2 if encoding == "int16" else 4)
    frames, rest = divmod(len(data), width)
    if rest:
        raise DecodeError(
            Reason.WRONG_WIDTH,
            f"samples are {len(data)} bytes, no whole number of {channels} channels of {encoding} ({width} bytes)",
        )
    check_length(frames, rate, channels, longest_s)
    if encoding == "int16":
        return scaled(np.frombuffer(data, dtype="<i2").reshape(frames, channels))
    return np.frombuffer(data, dtype="<f4").reshape(frames, channels).astype(np.float32)


def scaled(integers: np.ndarray) -> np.ndarray:
    """int16 to float32 in [-1, 1)."""
    return integers.astype(np.float32) / np.float32(INT16_SCALE)


def checked_attributes(attributes: Any) -> dict[str, float | str]:
    """Numbers and texts by name; NaN and null are missing ones."""
    if attributes is None:
        return {}
    if not isinstance(attributes, dict):
        raise no_block(f"attributes are {shown(attributes)}, expected names with numbers or texts")
    if len(attributes) > MAX_ATTRIBUTES:
        raise DecodeError(Reason.TOO_LARGE, f"{len(attributes)} attributes, at most {MAX_ATTRIBUTES} are read")
    found: dict[str, float | str] = {}
    for name, value in attributes.items():
        if not name or len(name) > MAX_NAME_LENGTH or (isinstance(value, str) and len(value) > MAX_NAME_LENGTH):
            raise DecodeError(
                Reason.TOO_LARGE,
                f"attribute {shown(name)}: expected a name, and texts of at most {MAX_NAME_LENGTH} characters",
            )
        if isinstance(value, str):
            found[name] = value
        elif value is not None:
            number = _number(name, value)
            if not math.isnan(number):
                found[name] = number
    return found


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise DecodeError(
            Reason.NOT_A_NUMBER, f"attribute {shown(name)} is {shown(value)}, expected a number or a text"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise DecodeError(Reason.NOT_FINITE, f"attribute {shown(name)} is {shown(value)}, expected a finite number")
    return number


def check_writable(chunk: AudioChunk) -> None:
    """What the encoders promise their readers.

    Raises:
        ValueError: the chunk is not what `AudioChunk` promises.
    """
    who = f"chunk of machine {chunk.machine!r}"
    if chunk.samples.ndim != 2 or not len(chunk) or not 1 <= chunk.channels <= MAX_AUDIO_CHANNELS or not chunk.machine:
        raise ValueError(
            f"{who}: samples are {chunk.samples.shape}, expected a machine and [n, 1..{MAX_AUDIO_CHANNELS}] samples, n at least 1"
        )
    if not 1 <= chunk.sample_rate <= MAX_SAMPLE_RATE or chunk.encoding not in ENCODINGS:
        raise ValueError(
            f"{who}: {chunk.sample_rate} Hz in {chunk.encoding!r}, expected 1..{MAX_SAMPLE_RATE} Hz and one of "
            f"{', '.join(ENCODINGS)}"
        )
    if not has_clear_name(chunk.machine, chunk.microphone):
        raise ValueError(f"{who}, microphone {chunk.microphone!r}: the machine must not hold '{MICROPHONE_SEPARATOR}'")
    if not np.isfinite(chunk.samples).all():
        raise ValueError(f"{who} holds samples that are no finite numbers; leave them out, a gap is noticed")


def integers_of(chunk: AudioChunk) -> np.ndarray:
    """[n, C] int16 of PCM in [-1, 1]; 1.0 itself becomes the largest integer.

    Raises:
        ValueError: samples outside of [-1, 1]: they are of a sensor's own unit, which float32 carries.
    """
    peak = float(np.abs(chunk.samples).max())
    if peak > 1.0:
        raise ValueError(
            f"chunk of machine {chunk.machine!r}: samples up to {peak:g} do not fit into {chunk.encoding}, expected -1 to 1; "
            "send float32"
        )
    whole = np.rint(chunk.samples * INT16_SCALE)
    return np.clip(whole, -INT16_SCALE, INT16_SCALE - 1).astype("<i2")


def written(chunk: AudioChunk) -> bytes:
    """The samples as the chunk's encoding has them, channels interleaved."""
    if chunk.encoding == "float32":
        return np.ascontiguousarray(chunk.samples, dtype="<f4").tobytes()
    integers = integers_of(chunk)
    return write_flac(integers, chunk.sample_rate) if chunk.encoding == "flac" else integers.tobytes()
