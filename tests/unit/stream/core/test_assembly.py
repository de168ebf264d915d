"""Readings that come one by one become rows on a grid, whatever groups them and whenever the assembler is put away and taken up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan, nan
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.core.assembly import Assembler
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.policies import WindowPolicy
from wheeltapper.stream.core.readings import MOST_INTERVALS, AssemblyRules, ReadingBlock

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class Reading(NamedTuple):
    """Time in seconds since START."""

    time: float
    column: int
    value: float


class Row(NamedTuple):
    """Offset of the reading that brought it out, seconds since START, values; None where missing."""

    offset: int
    time: float
    values: tuple[float | None, ...]


def block_of(
    readings: Sequence[Reading],
    rules: AssemblyRules,
    first: int = 0,
    stamps: Callable[[Reading], int] | None = None,
) -> ReadingBlock:
    """One reading a message; stamps: timestamps (ms) of the records, None: they have none."""
    return ReadingBlock(
        np.arange(first, first + len(readings), dtype=np.int64),
        np.array([START + round(reading.time * SECOND) for reading in readings], dtype=np.int64),
        np.array([reading.column for reading in readings], dtype=np.int64),
        np.array([reading.value for reading in readings], dtype=np.float32),
        np.array([-1 if stamps is None else stamps(reading) for reading in readings], dtype=np.int64),
        rules,
    )


def rows_of(blocks: Any) -> list[Row]:
    return [
        Row(offset, (time - START) / SECOND, tuple(None if isnan(value) else value for value in values))
        for block in blocks
        for offset, time, values in zip(
            block.offsets.tolist(), block.times.tolist(), block.values.tolist(), strict=True
        )
    ]


def assembled(
    readings: Sequence[Reading],
    rules: AssemblyRules,
    *,
    channels: int = 2,
    sizes: Sequence[int] = (),
    put_away: bool = False,
    restart_rows: int = 0,
    jump: int = 0,
    stamps: Callable[[Reading], int] | None = None,
    counters: Counters | None = None,
    to_the_end: bool = False,
    interval_s: float = 1.0,
) -> list[Row]:
    """Rows of readings that come in blocks of these sizes; put away: the assembler goes through a snapshot between them."""
    counters = counters or Counters()
    interval = round(interval_s * SECOND)
    policy = WindowPolicy(clock_restart_rows=restart_rows, max_jump_intervals=jump)
    assembler, blocks, start, turn = Assembler(channels, interval), [], 0, 0
    while start < len(readings):
        size = sizes[turn % len(sizes)] if sizes else len(readings)
        block = block_of(readings[start : start + size], rules, start, stamps)
        blocks += [rows for _, rows in assembler.take(block, policy, counters, "pump-1")]
        start, turn = start + size, turn + 1
        if put_away:
            saved = orjson.loads(orjson.dumps(assembler.dump()))
            assembler = Assembler(channels, interval)
            assembler.load(saved)
    if to_the_end:
        blocks.append(assembler.rest(rules, counters, "pump-1"))
    return rows_of(blocks)


def final_at(readings: Sequence[Reading], channels: int, grid: float, grace: float) -> int | None:
    """Index of the reading with which a row can come out; None where none has come yet."""
    newest, latest = -inf, [-inf] * channels
    for index, reading in enumerate(readings):
        newest = max(newest, reading.time)
        latest[reading.column] = max(latest[reading.column], reading.time)
        if min(latest) >= grid or newest >= grid + grace:
            return index
    return None


def by_definition(readings: Sequence[Reading], channels: int, grace: float, hold: float) -> list[Row]:
    """The rows as docs/gateways.md defines them, for an interval of a second; by looking at all readings for each row."""
    rows = []
    times = [reading.time for reading in readings]
    for grid in range(int(min(times)) - 1, int(max(times)) + 1):
        index = final_at(readings, channels, grid, grace)
        if index is None:
            continue
        values: list[float | None] = []
        is_row = False
        for column in range(channels):
            known = [r for r in readings[: index + 1] if r.column == column and grid - hold < r.time <= grid]
            is_row = is_row or bool(known)
            value = max(known, key=lambda reading: reading.time).value if known else nan
            values.append(None if isnan(value) else value)
        if is_row:
            rows.append(Row(index, float(grid), tuple(values)))
    return rows


def value_at(time: float, column: int) -> float:
    """A value that tells its reading; some are missing."""
    return nan if int(time * 4) % 11 == 0 else float(np.float32(column * 1_000 + time))


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Readings of three channels, a quarter of a second apart or more, some before others that are older, some twice."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0, 0, 1, 2, 3, 4, 4, 4, 5, 9, -1, -3, -9, 40]),  # quarters of a second
                st.integers(0, 2),
            ),
            min_size=1,
            max_size=60,
        )
    )
    time, readings = 100.0, []
    for quarters, column in steps:
        time = max(0.0, time + quarters / 4)
        readings.append(Reading(time, column, value_at(time, column)))
    return readings


limits = st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.25]), st.sampled_from([0.25, 1.0, 3.5, 20.0]))
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(REPEATABLE, max_examples=150)
@given(readings=streams(), limit=limits)
def test_rows_are_as_defined(readings: list[Reading], limit: tuple[float, float]) -> None:
    # given readings in any order, a grace period and an age limit, when rows are put together
    grace, hold = limit
    rules = AssemblyRules(round(grace * SECOND), round(hold * SECOND))
    found = assembled(readings, rules, channels=3)
    # then they are the ones of the definition, each out with the reading that made it final
    assert found == by_definition(readings, 3, grace, hold)


@settings(REPEATABLE, max_examples=150)
@given(
    readings=streams(),
    limit=limits,
    groups=sizes,
    put_away=st.booleans(),
    restart_rows=st.sampled_from([0, 1]),
    jump=st.sampled_from([0, 2]),
    phase=st.sampled_from([0.0, 0.5]),
)
def test_grouping_and_restarts_change_nothing(
    readings: list[Reading],
    limit: tuple[float, float],
    groups: list[int],
    put_away: bool,
    restart_rows: int,
    jump: int,
    phase: float,
) -> None:
    # given readings taken in at once
    rules = AssemblyRules(round(limit[0] * SECOND), round(limit[1] * SECOND), round(phase * SECOND))
    once, other = Counters(), Counters()
    whole = assembled(readings, rules, channels=3, counters=once, to_the_end=True, restart_rows=restart_rows, jump=jump)
    # when they come in groups of any size, and the assembler goes through snapshots between them
    found = assembled(
        readings,
        rules,
        channels=3,
        sizes=groups,
        put_away=put_away,
        counters=other,
        to_the_end=True,
        restart_rows=restart_rows,
        jump=jump,
    )
    # then rows and counts are the same
    assert found == whole
    assert other.readings == once.readings
    assert other.clock_restarts == once.clock_restarts


def test_the_properties_are_about_something() -> None:
    # given readings that are late, repeated and held for too long, and a clock that is set back
    counters = Counters()
    readings = [Reading(float(t), t % 2, 1.0) for t in (10, 11, 11, 20, 21, 25, 15, 21, 2, 3, 2, 3, 4, 5, 6)]
    # when rows of them are put together, then each is counted
    assembled(readings, AssemblyRules(SECOND, 3 * SECOND), counters=counters, restart_rows=1)
    assert counters.readings == {"late": 2, "repeated": 4, "expired": 4}
    assert counters.clock_restarts == 1


def test_a_row_is_out_at_once_when_all_channels_are_there() -> None:
    # given two channels read at the same time, when the second has come, then the row needs no grace
    found = assembled([Reading(5, 0, 1.5), Reading(5, 1, 2.5)], AssemblyRules(grace_us=60 * SECOND))
    assert found == [Row(1, 5.0, (1.5, 2.5))]


def test_a_slow_channel_is_held_and_does_not_stop_the_others() -> None:
    # given a channel of every second and one of every four
    readings = [Reading(t, 0, float(t)) for t in range(10)]
    readings = [r for t in readings for r in ([Reading(t.time, 1, 100 + t.time), t] if t.time % 4 == 0 else [t])]
    # when rows are put together with a second of grace
    found = assembled(readings, AssemblyRules(grace_us=SECOND))
    # then there is one a second, with the slow channel's last value
    assert [(row.time, row.values) for row in found] == [(float(t), (float(t), 100.0 + t // 4 * 4)) for t in range(9)]


def test_bad_and_old_readings_are_missing() -> None:
    # given a reading that is not good (NaN), and a channel that is silent for longer than the limit
    readings = [Reading(0, 0, 1.0), Reading(0, 1, 2.0), Reading(1, 0, nan)]
    readings += [Reading(t, 0, 3.0) for t in (2, 3, 4)]
    # when rows are put together, then they are missing, not held
    found = assembled(readings, AssemblyRules(hold_us=3 * SECOND), to_the_end=True)
    assert [row.values for row in found] == [(1.0, 2.0), (None, 2.0), (3.0, 2.0), (3.0, None), (3.0, None)]


def test_a_pause_gives_no_rows_beyond_the_age_limit() -> None:
    # given a machine that was off for a year, at a reading a second
    year = 365 * 86_400
    readings = [Reading(0, 0, 1.0), Reading(0, 1, 1.0), Reading(year, 0, 2.0), Reading(year, 1, 2.0)]
    # when rows are put together, then the pause has as many as a value is held, by default 60
    found = assembled(readings, AssemblyRules())
    assert [row.time for row in found] == [*map(float, range(60)), float(year)]


def test_limits_are_bounded() -> None:
    # given limits far beyond what a row can need, then they are cut: one reading can bring about so many rows and no more
    assert AssemblyRules(2**60, 2**60).limits(SECOND) == (MOST_INTERVALS * SECOND, MOST_INTERVALS * SECOND)


def test_a_late_reading_is_held_from_then_on_if_it_is_the_newest_of_its_channel() -> None:
    # given a channel whose readings come three seconds late
    readings = [Reading(0, 1, 50.0)]
    for t in range(6):
        readings += [Reading(t, 0, float(t))] + ([Reading(t - 3, 1, 100.0 + t - 3)] if t > 3 else [])
    counters = Counters()
    # when rows are put together with a second of grace, then it lags behind, and is counted
    found = assembled(readings, AssemblyRules(grace_us=SECOND), counters=counters)
    assert [row.values[1] for row in found] == [50.0, 50.0, 50.0, 50.0, 101.0]
    assert counters.readings == {"late": 2}


def test_a_clock_that_was_set_back_starts_anew_after_rows_worth_of_late_readings() -> None:
    # given two channels whose clock jumps back an hour
    before = [Reading(3_600 + t, column, 1.0) for t in range(3) for column in (0, 1)]
    after = [Reading(t, column, 2.0) for t in range(5) for column in (0, 1)]
    counters = Counters()
    # when two rows' worth of late readings have come
    found = assembled(before + after, AssemblyRules(), restart_rows=2, counters=counters)
    # then rows go on from there, the last of them being the first
    assert [row.time for row in found] == [3600.0, 3601.0, 3602.0, 1.0, 2.0, 3.0, 4.0]
    assert found[3].values == (None, 2.0)
    assert counters.clock_restarts == 1


@pytest.mark.parametrize(
    ("readings_a_second", "said"), [(1, False), (10, True), (0.1, True)], ids=["as trained", "faster", "slower"]
)
def test_another_rate_than_the_bundles_is_said_once(readings_a_second: float, said: bool) -> None:
    # given readings at a rate, one channel ten times slower than the other
    readings = [
        Reading(n / readings_a_second, column, 1.0)
        for n in range(200)
        for column in (0, 1)
        if column == 0 or n % 10 == 0
    ]
    counters = Counters()
    # when rows of a second are put together
    with capture_logs() as lines:
        assembled(readings, AssemblyRules(), counters=counters)
    # then one line says so where the fastest channel's is another
    assert [line["every_s"] for line in lines] == ([1 / readings_a_second] if said else [])
    assert counters.odd_rates == int(said)


@pytest.mark.parametrize(
    "broken",
    [
        {"held": [1.0]},
        {"held_times": [None, None, None], "held": [None, None, None]},
        {"waiting": [[START, 2, 1.0]]},
        {"waiting": [[2**62, 0, 1.0]]},
        {"waiting": [["soon", 0, 1.0]]},
        {"far": [[START, 5, 1.0, -1]]},
        {"interval": 0},
        {"until": 2**63},
        {"held": ["x", "y"]},
    ],
)
def test_a_snapshot_that_cannot_be_read_is_refused(broken: dict[str, Any]) -> None:
    # given an assembler's snapshot with a part that cannot be, when it is taken up, then it says so
    assembler = Assembler(2, SECOND)
    list(assembler.take(block_of([Reading(5, 0, 1.5)], AssemblyRules()), WindowPolicy(), Counters(), "pump-1"))
    with pytest.raises((LookupError, TypeError, ValueError)):
        Assembler(2, SECOND).load(assembler.dump() | broken)


def test_another_interval_goes_on_with_what_is_held() -> None:
    # given readings on a grid of seconds
    assembler, counters, rules = Assembler(1, SECOND), Counters(), AssemblyRules()
    rows = [
        r
        for _, r in assembler.take(
            block_of([Reading(t, 0, t) for t in range(4)], rules), WindowPolicy(), counters, "pump-1"
        )
    ]
    # when a bundle of two seconds serves from then on
    assembler.fit(2 * SECOND)
    rows += [
        r
        for _, r in assembler.take(
            block_of([Reading(t, 0, t) for t in range(4, 9)], rules, 4), WindowPolicy(), counters, "pump-1"
        )
    ]
    # then rows lie on its grid
    assert [row.time for row in rows_of(rows)] == [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0]


def steady(first: int, last: int, value: float = 1.0) -> list[Reading]:
    """Two channels, once a second."""
    return [Reading(float(t), column, value) for t in range(first, last) for column in (0, 1)]


@pytest.mark.parametrize("bad", [1, 2, 6])
def test_readings_from_the_future_blind_no_machine(bad: int) -> None:
    # given some readings of which the first bear a time a year ahead
    year = 365 * 86_400
    future = [Reading(float(year + n // 2), n % 2, 9.0) for n in range(bad)]
    counters = Counters()
    # when others go on from before
    with capture_logs() as lines:
        found = assembled(steady(0, 5) + future + steady(5, 9), AssemblyRules(), jump=60, counters=counters)
    # then rows go on without them, they are counted, and one line tells of them
    assert [(row.time, row.values) for row in found] == [(float(t), (1.0, 1.0)) for t in range(9)]
    assert counters.readings == {"ahead": bad}
    assert [line["readings"] for line in lines] == [bad]


def test_a_jump_that_others_prove_is_taken() -> None:
    # given a machine that was off for a day, whose records have no timestamps
    found = assembled(steady(0, 3) + steady(86_400, 86_412, 2.0), AssemblyRules(hold_us=SECOND), jump=60)
    # when ten seconds of readings go on from there, then none of them is lost
    assert [row.time for row in found] == [0.0, 1.0, 2.0, *(float(86_400 + t) for t in range(12))]


def test_a_jump_that_the_records_show_too_needs_no_proof() -> None:
    # given the same, and records with timestamps of a broker, two seconds behind
    readings = steady(0, 3) + steady(86_400, 86_402, 2.0)
    found = assembled(
        readings,
        AssemblyRules(hold_us=SECOND),
        jump=60,
        stamps=lambda reading: START // 1_000 + round(reading.time * 1_000) + 2_000,
    )
    # when the first readings come, then their rows are out
    assert [row.time for row in found] == [0.0, 1.0, 2.0, 86_400.0, 86_401.0]


def test_tags_sent_on_change_are_no_jumps() -> None:
    # given a tag that is sent every two minutes, held for ten, on a grid of seconds
    readings = [Reading(120.0 * n, 0, float(n)) for n in range(4)]
    found = assembled(readings, AssemblyRules(hold_us=600 * SECOND), jump=60, channels=1)
    # when rows are put together, then each reading brings out its own at once
    assert [row.offset for row in found if row.time % 120 == 0] == [0, 1, 2, 3]
