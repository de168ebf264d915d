"""Live sound: stamps of samples, raw PCM, even chunks, the operating point."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheeltapper.schemas.audio_chunk import AudioEncoding
from wheeltapper.schemas.codec import decode_audio_chunk
from wheeltapper.schemas.errors import InputError
from wheeltapper.sound.chunks import Microphone, even_blocks, frames_of, parse_attributes
from wheeltapper.sound.record import MOST_SKEW_S, SampleClock, pcm_blocks

RATE = 16_000


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


def test_stamps_follow_the_number_of_samples_though_blocks_come_unevenly() -> None:
    # given blocks of 0.1 s that come up to 50 ms late
    clock = Clock()
    samples = SampleClock(RATE, clock)
    late = np.random.default_rng(2).integers(0, 50_000, 100)
    clock.now += 100_000
    first = samples.stamp(1600)
    for number, wait in enumerate(late, start=1):
        clock.now = first + (number + 1) * 100_000 + int(wait)
        # when they are stamped: then each begins where the one before it ended
        assert samples.stamp(1600) == first + number * 100_000
    assert samples.restarts == 0


def test_lost_samples_set_the_clock_anew_once() -> None:
    clock = Clock()
    samples = SampleClock(RATE, clock)
    clock.now += 100_000
    first = samples.stamp(1600)
    # given a pause that no samples came from
    clock.now += 100_000 + int(3 * MOST_SKEW_S * 1e6)
    assert samples.stamp(1600) == first + 100_000 + int(3 * MOST_SKEW_S * 1e6)
    assert samples.restarts == 1
    clock.now += 100_000
    assert samples.stamp(1600) == first + 200_000 + int(3 * MOST_SKEW_S * 1e6)
    assert samples.restarts == 1


@given(lengths=st.lists(st.integers(0, 50), max_size=30), frames=st.integers(1, 60))
def test_even_blocks_hold_the_same_samples(lengths: list[int], frames: int) -> None:
    values = np.arange(sum(lengths), dtype=np.float32)[:, None]
    cuts = np.cumsum(lengths)[:-1] if lengths else []
    blocks = list(even_blocks(np.split(values, cuts) if lengths else [], frames))
    np.testing.assert_array_equal(np.concatenate([values[:0], *blocks]), values)
    assert all(len(block) == frames for block in blocks[:-1])
    assert all(len(block) for block in blocks)


def test_raw_pcm_is_scaled_and_its_channels_stay_apart() -> None:
    codes = np.array([[1, -32768], [2, 32767], [3, 0]], dtype="<i2")
    blocks = list(pcm_blocks(BytesIO(codes.tobytes()), 2, 2))
    assert [len(block) for block in blocks] == [2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks) * 32768, codes)


def test_pcm_that_ends_within_a_sample_is_refused() -> None:
    with pytest.raises(InputError, match="3 bytes are no multiple of 4 \\(2 channels of int16\\)"):
        list(pcm_blocks(BytesIO(b"abc"), 8, 2))


def test_attributes_are_numbers_or_texts() -> None:
    assert parse_attributes(["speed=1500", "product=A", "load = 1e2"]) == {
        "speed": 1500.0,
        "product": "A",
        "load": 100.0,
    }
    assert parse_attributes(["state=nan"]) == {"state": "nan"}


@pytest.mark.parametrize("texts", [["speed"], ["=3"], ["a="], ["a=1", "a=2"]])
def test_attributes_that_say_nothing_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--attribute"):
        parse_attributes(texts)


@pytest.mark.parametrize("pcm", ["int16", "flac"])
def test_samples_beyond_full_scale_are_refused_where_they_do_not_fit(pcm: AudioEncoding) -> None:
    # given an accelerometer's samples in g
    samples = np.array([[0.2], [-3.0]], dtype=np.float32)
    # when they are to be written as whole numbers: then the error names the way out, which takes them
    with pytest.raises(InputError, match=r"samples up to 3 do not fit into .*--pcm float32"):
        Microphone("motor", "", RATE, pcm=pcm).message(samples, 10**15, "avro")
    value = Microphone("motor", "", RATE, pcm="float32").message(samples, 10**15, "avro")
    np.testing.assert_array_equal(decode_audio_chunk(value).samples, samples)


@pytest.mark.parametrize("chunk_s", [0, -1, 61, float("nan")])
def test_a_chunk_has_a_sensible_length(chunk_s: float) -> None:
    with pytest.raises(InputError, match="--chunk-s is"):
        frames_of(chunk_s, RATE)
