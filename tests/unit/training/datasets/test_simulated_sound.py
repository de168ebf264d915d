"""The simulated machines: the same each time, normal recordings that differ, faults where they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.simulated import (
    FAULTS,
    LOUDNESS,
    MACHINES,
    RATE,
    Fault,
    FaultKind,
    add_fault,
    make_fault,
    make_series,
    make_stream,
    recording,
)


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("entity", MACHINES)
def test_a_series_is_the_same_each_time_and_its_recordings_differ(entity: str) -> None:
    one, other = (make_series(entity, train_recordings=3, test_recordings=2, clip_s=1.0) for _ in range(2))
    for first, second in zip((*one.train, *one.test), (*other.train, *other.test), strict=True):
        np.testing.assert_array_equal(first.samples, second.samples)
    assert (len(one.train), len(one.test)) == (12, 8)
    assert [clip.order for clip in one.train] == list(range(12))
    assert all(clip.anomalous is False for clip in one.train)
    # the gain is another in each recording
    levels = [loudness(recording(entity, 2.5, number=number)) for number in range(8)]
    assert 0.05 < np.std(levels) / np.mean(levels) < 0.5
    # on the steps of 16 bits, and never clipped
    steps = one.train[0].samples * 32_768
    np.testing.assert_array_equal(steps, np.round(steps))
    assert np.abs(one.train[0].samples).max() < 0.9
    different = make_series(entity, seed=1, train_recordings=1, test_recordings=0, clip_s=1.0)
    assert not np.array_equal(one.train[0].samples, different.train[0].samples)


@pytest.mark.parametrize("kind", FAULTS)
def test_the_energy_of_a_fault_lies_where_it_is_said_to_be(kind: FaultKind) -> None:
    # given a normal recording and the same with a fault
    normal = recording("gearbox-1", 5.0, number=3)
    faulty = normal.copy()
    fault = make_fault(kind, 5.0, seed=3)
    add_fault(faulty, fault, seed=3)
    # when one is taken from the other
    difference = (faulty - normal)[:, 0]
    # then there is nothing before and after, and hardly anything outside of its band
    assert not difference[: round(fault.start_s * RATE)].any()
    assert not difference[round(fault.end_s * RATE) :].any()
    power = np.abs(np.fft.rfft(difference)) ** 2
    frequency = np.fft.rfftfreq(len(difference), 1 / RATE)
    inside = (frequency >= fault.low_hz) & (frequency <= fault.high_hz)
    assert power[inside].sum() > 0.95 * power.sum()
    # and it is about as loud as the machine
    assert 0.3 * LOUDNESS < loudness(difference[difference != 0]) < 3 * LOUDNESS


def test_labels_say_which_clips_have_a_fault() -> None:
    series = make_series("fan-1", train_recordings=1, test_recordings=3, clip_s=1.0)
    assert [clip.anomalous for clip in series.test] == [False, True] * 6
    assert all(bool(clip.disturbed) == clip.anomalous for clip in series.test)
    assert {clip.name.rpartition("_")[2] for clip in series.test if clip.anomalous} == {
        f"{kind}.wav" for kind in FAULTS
    }


def test_a_stream_holds_its_faults_at_their_times() -> None:
    fault = Fault("squeal", 2.0, 3.0, 2_000.0, 2_200.0)
    quiet, loud = make_stream("fan-1", 5.0), make_stream("fan-1", 5.0, [fault])
    assert quiet.shape == loud.shape == (5 * RATE, 1)
    changed = np.flatnonzero((quiet != loud)[:, 0])
    assert changed.min() >= 2 * RATE
    assert changed.max() < 3 * RATE
    with pytest.raises(InputError, match="squeal from 4 to 6 s does not lie in 5 s of sound"):
        make_stream("fan-1", 5.0, [Fault("squeal", 4.0, 6.0, 2_000.0, 2_200.0)])
    with pytest.raises(InputError, match="no simulated machine 'fan-2'; expected one of fan-1"):
        recording("fan-2", 1.0)
