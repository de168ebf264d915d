"""Scenarios: what is known of a made stream is true of its rows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.simulated import DAY, simulate
from wheeltapper.training.lab.shifts import changes
from wheeltapper.training.lab.shifts.changes import AffineChange
from wheeltapper.training.lab.shifts.faults import KINDS as FAULT_KINDS
from wheeltapper.training.lab.shifts.faults import RECORDED, Fault, place_faults, write_fault
from wheeltapper.training.lab.shifts.scenarios import KINDS, NONE, SWAP, Scenario, make_scenario

CHANGED = tuple(name for name in KINDS if name != NONE)
LASTING = tuple(name for name, kind in KINDS.items() if kind.is_fault)


@lru_cache(maxsize=2)
def pump(entity: str) -> SensorSeries:
    return simulate(entity, train_rows=2 * DAY, test_rows=6 * DAY)


def scenario(name: str, seed: int = 0) -> Scenario:
    return make_scenario(name, pump("pump-1"), seed=seed, other=pump("pump-2"))


@given(st.sampled_from(tuple(KINDS)), st.integers(0, 1000))
@settings(max_examples=24)
def test_a_seed_gives_the_same_stream_each_time(name: str, seed: int) -> None:
    # given a scenario, when it is made twice
    first, second = scenario(name, seed), scenario(name, seed)
    # then all of it is the same, and the series that it was made from is as it was
    assert np.array_equal(first.rows, second.rows)
    assert np.array_equal(first.exam.rows, second.exam.rows)
    assert (first.faults, first.change) == (second.faults, second.change)
    assert np.array_equal(pump("pump-1").test, simulate("pump-1", train_rows=2 * DAY, test_rows=6 * DAY).test)


@given(st.sampled_from(CHANGED), st.integers(0, 1000))
@settings(max_examples=24)
def test_rows_before_the_change_are_untouched_but_for_the_faults(name: str, seed: int) -> None:
    # given a scenario with a change
    made = scenario(name, seed)
    assert made.change is not None
    # when its rows before the change are compared with the machine's own, where no fault was written
    written = np.zeros(len(made.rows), dtype=bool)
    for fault in made.faults:
        if fault.kind != RECORDED:
            written[fault.start : fault.stop] = True
    before = np.arange(len(made.rows)) < made.change.row
    # then they are the same; and with the faults they are those of the stream without the change
    own = pump("pump-1").test[: len(made.rows)]
    assert np.array_equal(made.rows[before & ~written], own[before & ~written])
    assert np.array_equal(made.rows[before], made.unchanged[before])


@given(st.sampled_from([name for name in CHANGED if name != SWAP]), st.integers(0, 1000))
@settings(max_examples=24)
def test_the_change_moves_its_channels_and_no_other(name: str, seed: int) -> None:
    made = scenario(name, seed)
    assert made.change is not None
    after = slice(made.change.row, None)
    moved = np.abs(made.rows[after] - made.unchanged[after]).max(axis=0) > 0
    # then exactly the named channels move, and they go on doing so to the end
    assert tuple(np.flatnonzero(moved)) == made.change.channels
    end = slice(-DAY, None)
    assert (np.abs(made.rows[end] - made.unchanged[end]).max(axis=0) > 0)[list(made.change.channels)].all()


def test_after_a_swap_the_rows_are_the_other_machine_s() -> None:
    made = scenario(SWAP)
    assert made.change is not None
    normal = made.labels == 0
    after = np.arange(len(made.rows)) >= made.change.row
    assert np.array_equal(made.rows[normal & after], pump("pump-2").test[normal & after])
    assert made.regime is not None
    assert np.array_equal(made.regime.train, pump("pump-2").train)


@given(st.integers(0, 1000))
@settings(max_examples=24)
def test_faults_lie_apart_and_change_their_channels_alone(seed: int) -> None:
    # given faults that are placed into rows, some of which take none
    random = np.random.default_rng(seed)
    moving = np.array([True, True, False, True, True])
    blocked = [(300, 400), (1500, 1501)]
    faults = place_faults(random, 4000, 12, moving, blocked)
    values = random.standard_normal((4000, 5)).astype(np.float32)
    for fault in faults:
        # when one is written, then only its rows and channels change, and all of its rows do somewhere
        written = values.copy()
        write_fault(written, fault, np.ones(5), random)
        changed = written != values
        assert changed[fault.start : fault.stop][:, list(fault.channels)].any(axis=0).all()
        changed[fault.start : fault.stop, list(fault.channels)] = False
        assert not changed.any()
        assert all(moving[channel] for channel in fault.channels)
        assert all(fault.stop <= start or fault.start >= stop for start, stop in blocked)
    # then none touches another
    assert all(one.stop < two.start for one, two in itertools.pairwise(faults))


def test_every_kind_of_fault_comes_before_and_after_the_change() -> None:
    random = np.random.default_rng(0)
    faults = place_faults(random, 20_000, 24, np.ones(4, dtype=bool))
    for half in (range(10_000), range(10_000, 20_000)):
        assert {fault.kind for fault in faults if fault.start in half} == set(FAULT_KINDS)


def test_faults_of_the_data_set_stay_faults() -> None:
    # given a machine with a fault of its own across the middle
    segment = LabelledSegment(4 * DAY, 4 * DAY + 50, (2,))
    series = replace(pump("pump-1"), segments=(segment,))
    made = make_scenario("sensor-offset", series)
    assert Fault(4 * DAY, 4 * DAY + 50, RECORDED, (2,)) in made.faults
    assert made.labels[4 * DAY : 4 * DAY + 50].all()


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_is_one_to_the_end_and_half_of_its_examination(name: str) -> None:
    made = scenario(name)
    assert made.change is not None
    assert made.change.accept_after_s is None
    assert made.regime is None
    assert made.labels[made.change.row :].all()
    half = len(made.exam.labels) // 2
    assert made.exam.labels[half:].all()
    assert 0 < made.exam.labels[:half].mean() < 0.5


@given(st.floats(0.2, 3.0), st.floats(-5, 5), st.integers(0, 99))
@settings(max_examples=24)
def test_an_affine_change_by_no_weight_is_none_and_by_all_is_gain_and_offset(
    gain: float, offset: float, at: int
) -> None:
    values = np.random.default_rng(at).standard_normal((100, 2)).astype(np.float32)
    change = AffineChange(np.array([gain, 1.0]), np.zeros(2), np.array([offset, 0.0]))
    changed = change.apply(values, changes.step(100, at))
    assert np.array_equal(changed[:at], values[:at])
    assert np.array_equal(changed[:, 1], values[:, 1])
    assert changed[at:, 0] == pytest.approx(values[at:, 0] * gain + offset, abs=1e-4)


def test_weights_begin_at_their_row_and_reach_all_of_it() -> None:
    times = pump("pump-1").test_ts
    random = np.random.default_rng(0)
    weights = (
        changes.ramp(len(times), 100, 200),
        changes.season(times, 100, 2000),
        changes.mode(random, len(times), 100, 60.0),
        changes.noise(random, len(times), 100),
    )
    for weight in weights:
        assert not weight[:100].any()
        assert weight[100:].any()
    assert weights[0][200:].min() == 1.0
    assert weights[1][2000:].max() == pytest.approx(1.0)
    assert 0.2 < weights[2][100:].mean() < 0.8


def test_what_cannot_be_made_is_refused_with_the_reason() -> None:
    short = replace(pump("pump-1"), test=pump("pump-1").test[:999], test_ts=pump("pump-1").test_ts[:999])
    with pytest.raises(InputError, match="expected one of none, machine-swap"):
        make_scenario("flood", pump("pump-1"))
    with pytest.raises(InputError, match="machine-swap needs another machine"):
        make_scenario(SWAP, pump("pump-1"))
    with pytest.raises(InputError, match=r"999 rows in 0\.7 days, expected at least"):
        make_scenario(NONE, short)
