"""Drift is told from faults and spikes, and told the same however rows come."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.core.drift_machines import DAY, START, Stream, minutes, normal_rows, write_drift_bundle
from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.core.drift import DRIFT, DriftPolicy
from wheeltapper.stream.core.drift.evidence import agree

CHANGE = 3 * 1440
"""Row of the change: three days in."""
FAMILIES = (("page-hinkley", "shift", "adwin"), ("inputs", "channel"), ("embedding",))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drift_bundle(tmp_path_factory.mktemp("drift"))


def stepped(rows: np.ndarray, move: float) -> np.ndarray:
    rows = rows.copy()
    rows[CHANGE:, :3] += np.float32(move)
    return rows


def events(stream: Stream) -> list[str]:
    return [finding.event for _, finding in stream.found]


def test_a_step_of_some_channels_is_one_drift_that_names_them(bundle: Path) -> None:
    # given a machine of which three channels of six stand 0.5 higher (2.3 standard deviations) from the fourth day on
    rows = stepped(normal_rows(8, seed=2), 0.5)
    # when the stream has passed
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    # then one drift has started, at about the time of the change, and names these channels with their values
    assert events(stream) == ["started"]
    time, drift = stream.found[0]
    assert abs(drift.since - (START + 3 * DAY)) <= DAY / 4
    assert START + 3 * DAY < time < START + 5 * DAY
    assert {moved.index for moved in drift.channels} == {0, 1, 2}
    mean = next(moved for moved in drift.channels if moved.index == 0)
    assert mean.after - mean.before == pytest.approx(0.5, abs=0.2)
    assert mean.effect > 1
    assert drift.score_after > drift.score_before
    assert abs(drift.first_offset - CHANGE) <= 360


def test_what_comes_back_ends_the_drift(bundle: Path) -> None:
    # given a change that lasts three days
    rows = stepped(normal_rows(12, seed=3), 0.5)
    back = 6 * 1440
    rows[back:, :3] -= np.float32(0.5)
    # when the stream has passed
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    # then the drift has ended, and is the same one
    assert events(stream) == ["started", "ended"]
    (_, started), (time, ended) = stream.found
    assert (ended.since, ended.bundle) == (started.since, started.bundle)
    assert time > START + 6 * DAY


def test_slow_ageing_is_noticed(bundle: Path) -> None:
    # given channels that rise by 0.8 within nine days
    rows = normal_rows(12, seed=4)
    rows[CHANGE:, :3] += np.linspace(0, 0.8, len(rows) - CHANGE, dtype=np.float32)[:, None]
    # when the stream has passed, then a drift has started while they rose, and is told again as they leave that state too
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    assert events(stream) == ["started", "ended", "started"]
    (_, first), _, (_, second) = stream.found
    assert second.since > first.since


def test_a_machine_whose_normal_wanders_is_not_told_of_that_and_is_told_of_a_change(tmp_path: Path) -> None:
    # given a machine whose channels wander by half the size of their noise, in its train part too
    folder = write_drift_bundle(tmp_path, wander=0.1)
    # when two of its kind stay so for a month, then no more is told than was asked for
    told = []
    for seed in (20, 21):
        same = Stream(folder)
        same.feed(normal_rows(30, seed=seed, wander=0.1), minutes(30 * 1440))
        told += [event for event in events(same) if event == "started"]
    assert len(told) <= 2 * same.policy.false_drifts_per_month
    # when half of its channels move by 0.6 on the fourth day, then that is told within two days, and when it began
    changed = Stream(folder, reference=same.watch.reference)
    rows = stepped(normal_rows(8, seed=70, wander=0.1), 0.6)
    changed.feed(rows, minutes(len(rows)))
    assert events(changed)[0] == "started"
    time, drift = changed.found[0]
    assert START + 3 * DAY < time <= START + 5 * DAY
    assert abs(drift.since - (START + 3 * DAY)) <= DAY / 4
    assert {0, 1} <= {moved.index for moved in drift.channels} <= {0, 1, 2}


def test_scores_alone_that_no_channel_explains_are_no_drift(bundle: Path) -> None:
    # given a watch that would speak often, and a machine of which every channel moves so little that none can be named
    rows = normal_rows(9, seed=14)
    rows[CHANGE:] += np.float32(0.035)
    stream = Stream(bundle, DriftPolicy(false_drifts_per_month=30, agreement=1))
    stream.feed(rows, minutes(len(rows)))
    # then nothing is told, and it was counted
    assert events(stream) == []
    assert stream.counters.drift_blocks["no channel"] > 0


def test_what_an_operator_accepts_ends_the_drift_and_is_told_again_only_if_nothing_adapts(bundle: Path) -> None:
    # given an open drift
    rows = stepped(normal_rows(11, seed=9), 0.5)
    times = minutes(len(rows))
    stream = Stream(bundle)
    cut = 5 * 1440
    stream.feed(rows[:cut], times[:cut])
    assert events(stream) == ["started"]
    # when the operator accepts, and the worker restarts
    assert stream.runtime.command(stream.memory, "accept", int(times[cut - 1])) == []
    stream.restart()
    # then the drift ends with the next window, and for three days nothing is told
    stream.feed(rows[cut : cut + 10], times[cut : cut + 10])
    assert events(stream) == ["started", "ended"]
    stream.feed(rows[cut + 10 : 8 * 1440], times[cut + 10 : 8 * 1440])
    assert events(stream) == ["started", "ended"]
    # and after that it is told again, since the same bundle still serves
    stream.feed(rows[8 * 1440 :], times[8 * 1440 :])
    assert events(stream) == ["started", "ended", "started"]


def test_an_accept_of_a_machine_that_has_not_changed_does_not_make_it_deaf(bundle: Path) -> None:
    # given a machine under no alert and no drift, of which an operator says that it is normal
    rows = stepped(normal_rows(5, seed=9), 0.5)
    times, said = minutes(len(rows)), CHANGE - 720
    stream = Stream(bundle)
    stream.feed(rows[:said], times[:said])
    assert events(stream) == []
    stream.runtime.command(stream.memory, "accept", int(times[said - 1]))
    # when it changes half a day later, then that is told within two days, not after three
    stream.feed(rows[said:], times[said:])
    assert events(stream) == ["started"]


def test_a_confirmed_alert_leaves_the_drift(bundle: Path) -> None:
    stream = Stream(bundle)
    rows = stepped(normal_rows(6, seed=9), 0.5)
    stream.feed(rows[: 5 * 1440], minutes(5 * 1440))
    stream.runtime.command(stream.memory, "confirm", START + 5 * DAY)
    stream.feed(rows[5 * 1440 :], minutes(len(rows))[5 * 1440 :])
    assert events(stream) == ["started"]


@pytest.mark.parametrize(
    ("statistics", "agreed"),
    [
        ({"page-hinkley": 1.2, "inputs": 1.0}, True),
        ({"page-hinkley": 2.0, "shift": 0.9, "inputs": 0.9}, False),  # a sum that has grown for long is not loud
        ({"shift": 1.5, "inputs": 0.6}, True),
        ({"shift": 1.5, "inputs": 0.5}, False),
        ({"shift": 3.0, "adwin": 1.0}, False),  # one family
        ({"channel": 1.6, "inputs": 0.2, "embedding": 0.7}, True),
    ],
)
def test_a_loud_family_lowers_the_bar_of_the_others(statistics: dict[str, float], agreed: bool) -> None:
    assert agree(statistics, 2) is agreed
    # and with a channel that gives no evidence, both must speak
    strict = sum(max(statistics.get(name, 0) for name in family) >= 1 for family in FAMILIES) >= 2
    assert agree(statistics, 2, complete=False) is strict


def spike(rows: np.ndarray) -> None:
    rows[CHANGE : CHANGE + 90, 0] += 8


def stuck(rows: np.ndarray) -> None:
    rows[CHANGE:, 0] = rows[CHANGE, 0]


def missing(rows: np.ndarray) -> None:
    rows[CHANGE:, :2] = np.nan


@pytest.mark.parametrize("fault", [None, spike, stuck, missing])
def test_nothing_and_faults_of_data_are_no_drift(bundle: Path, fault: object) -> None:
    # given a month of normal, or ten days with a spike of one channel, a stuck one, two that are missing
    rows = normal_rows(30 if fault is None else 10, seed=5)
    if callable(fault):
        fault(rows)
    # when the stream has passed
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    # then nothing has drifted, and what gave no evidence was counted
    assert events(stream) == []
    assert stream.counters.drift_blocks["judged"] > 100
    wanted = {stuck: "stuck channels", missing: "missing channels"}.get(fault)  # type: ignore[call-overload]
    assert wanted is None or stream.counters.drift_blocks[wanted] > 50


def test_another_rate_gives_no_evidence(bundle: Path) -> None:
    # given rows that come every four minutes from the fourth day on, and are moved
    rows = stepped(normal_rows(6, seed=6), 1.0)
    times = minutes(len(rows))
    times[CHANGE:] = times[CHANGE] + 4 * (times[CHANGE:] - times[CHANGE])
    # when the stream has passed, then its blocks are passed over
    stream = Stream(bundle)
    stream.feed(rows, times)
    assert events(stream) == []
    assert stream.counters.drift_blocks["rate"] > 50


def test_a_lasting_fault_with_an_open_alert_says_so(bundle: Path) -> None:
    # given channels so far out that an alert opens and stays
    rows = stepped(normal_rows(7, seed=7), 3.0)
    # when the stream has passed, then the drift says that it may be a fault
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    assert events(stream) == ["started"]
    assert stream.found[0][1].alert_open


def test_one_channel_with_an_open_alert_is_an_anomaly(bundle: Path) -> None:
    # given one channel far out for good
    rows = normal_rows(7, seed=8)
    rows[CHANGE:, 0] += 4
    # when the stream has passed, then there is an alert and no drift
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    assert events(stream) == []
    assert stream.counters.alerts["opened"] >= 1
    assert stream.counters.drift_blocks["anomaly"] > 0


def test_another_bundle_ends_the_drift(bundle: Path) -> None:
    # given an open drift
    rows = stepped(normal_rows(7, seed=9), 0.5)
    stream = Stream(bundle)
    stream.feed(rows, minutes(len(rows)))
    assert events(stream) == ["started"]
    # when the memory goes on under another bundle
    memory = stream.memory.slots[DRIFT]
    memory.bundle = memory.open.bundle = "earlier"
    stream.restart()
    more = normal_rows(1, seed=10)
    stream.feed(more, minutes(len(rows) + len(more))[len(rows) :])
    # then the drift of the earlier one has ended, and nothing of its memory is left
    assert events(stream) == ["started", "ended"]
    assert stream.found[1][1].bundle == "earlier"
    assert stream.memory.slots[DRIFT].open is None


def test_an_old_bundle_is_too_little_and_says_so(tmp_path: Path) -> None:
    # given a bundle without drift.parquet and with four short reference windows
    stream = Stream(write_drift_bundle(tmp_path, blocks=False))
    # then the inputs are left out, with a reason
    assert not stream.watch.can_agree
    assert any("no drift.parquet" in warning for warning in stream.watch.reference.warnings)


@pytest.mark.parametrize("changes", [{"run": 0}, {"run": 0.5}, {"open": {}}, {"open": False}])
def test_a_snapshot_whose_run_or_drift_is_none_starts_anew(bundle: Path, changes: dict[str, Any]) -> None:
    # given what drift is remembered by, with something that is neither null nor what belongs there
    stream = Stream(bundle)
    stream.feed(normal_rows(1, seed=3), minutes(1440))
    saved = stream.runtime.dump(stream.memory)
    saved[DRIFT] |= changes
    # when it is read: then it is noticed there and then, not blocks later
    refused: list[str] = []
    loaded = stream.runtime.load(saved, lambda slot, error: refused.append(slot))
    assert refused == [DRIFT]
    assert (loaded.slots[DRIFT].run, loaded.slots[DRIFT].open) == (None, None)


@settings(REPEATABLE, max_examples=8)
@given(cuts=st.lists(st.integers(1, 7 * 1440 - 1), max_size=30, unique=True), restarts=st.sets(st.integers(0, 30)))
def test_grouping_and_restarts_change_nothing(bundle: Path, cuts: list[int], restarts: set[int]) -> None:
    # given a stream with a drift and an alert in it, and what it leads to in one batch
    rows = stepped(normal_rows(7, seed=11), 0.5)
    rows[4000:4050] += 2
    times = minutes(len(rows))
    whole = Stream(bundle)
    whole.feed(rows, times)
    # when it comes in parts, with a restart from a snapshot after some
    parts = Stream(bundle, reference=whole.watch.reference)
    edges = [0, *sorted(cuts), len(rows)]
    for index, (start, stop) in enumerate(pairwise(edges)):
        parts.feed(rows[start:stop], times[start:stop])
        if index in restarts:
            parts.restart()
    # then it finds the same
    assert [time for time, _ in parts.found] == [time for time, _ in whole.found]
    for (_, found), (_, wanted) in zip(parts.found, whole.found, strict=True):
        assert replace(found, score_after=0.0) == replace(wanted, score_after=0.0)
        assert found.score_after == pytest.approx(wanted.score_after, rel=1e-5)
    # and remembers the same, to the bit but for scores, whose last digits the graph gives by how windows were batched
    saved, known = (stream.runtime.dump(stream.memory)[DRIFT] for stream in (parts, whole))
    for name in ("sums", "shift"):
        assert saved[name] == pytest.approx(known[name], abs=1e-3)
    settled = [memory["open"].pop("settled") for memory in (saved, known)]
    assert settled[0][0] == settled[1][0]
    assert settled[0][1:] == pytest.approx(settled[1][1:], abs=1e-3)
    assert known["run"] is None
    assert {name for name in known if saved[name] != known[name]} <= {"scores", "values", "sums", "shift"}
