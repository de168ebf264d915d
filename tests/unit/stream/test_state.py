"""Snapshots: what goes in comes out, and what is damaged or of another bundle costs a warm-up, nothing else."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    REPEATABLE,
    START,
    batch_of,
    block_of,
    feed,
    message_of,
    part_of,
    row_by_row,
    scores_of,
)
from tests.unit.stream.test_chunking import machine_rows
from wheeltapper.stream.core.alert_life import RuleState
from wheeltapper.stream.core.windows import Machine
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import Routes
from wheeltapper.stream.settings import Settings, StateSettings, ThresholdSettings
from wheeltapper.stream.state import (
    CHECK,
    HEAD,
    MAGIC,
    PROGRESS,
    SnapshotError,
    machine_snapshot,
    progress_record,
    read_progress,
    restore_machine,
    snapshot_header,
    snapshot_offset,
)

LogLines = list[MutableMapping[str, Any]]


def snapshot_of(routes: Routes, chosen: Settings, rows: int = 40, seed: int = 1) -> bytes:
    """Of a machine that has seen some messy rows."""
    pipeline = Pipeline(routes, chosen)
    feed(pipeline, row_by_row(machine_rows("press-1", rows, seed, messy=True)))
    (record,) = pipeline.partition(0).snapshots(now=0.0, everything=True)
    return record.value or b""


def crafted(header: Any, body: bytes = b"", offset: int = 7) -> bytes:
    """A snapshot with a right checksum around anything."""
    text = orjson.dumps(header)
    checked = HEAD.pack(offset, len(text)) + text + body
    return CHECK.pack(MAGIC, zlib.crc32(checked)) + checked


def contents(machine: Machine) -> dict[str, Any]:
    """Everything that a snapshot keeps of a machine."""
    times, values, absent = machine.tail.snapshot()
    return {
        "name": machine.name,
        "offset": machine.offset,
        "last_time": machine.last_time,
        "late_run": machine.late_run,
        "seen": machine.tail.seen,
        "times": times.tolist(),
        "values": values.tolist(),
        "absent": absent.tolist(),
        "rules": [dataclasses.asdict(rule) for rule in machine.rules],
    }


@settings(REPEATABLE, max_examples=60)
@given(
    seed=st.integers(0, 1_000),
    rows=st.integers(0, 40),
    width=st.sampled_from([1, 7, 8, 9, 40]),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    offset=st.integers(0, 2**62),
    late_run=st.integers(0, 1_000),
    rule=st.builds(
        RuleState,
        opened_at=st.none() | st.integers(-(10**15), 10**15),
        peak_score=st.floats(0, 1e9),
        severity=st.integers(0, 100),
        above_run=st.integers(0, 50),
        below_run=st.integers(0, 50),
        above_since=st.integers(-(10**15), 10**15),
    ),
)
def test_a_snapshot_brings_back_everything(
    open_routes: OpenRoutes, seed: int, rows: int, width: int, name: str, offset: int, late_run: int, rule: RuleState
) -> None:
    # given a machine in any state
    route = open_routes(Recipe(channels=tuple(f"c{column}" for column in range(width)), window=9)).routes[0]
    rng = np.random.default_rng(seed)
    machine = Machine(name, route)
    if rows:
        values = rng.normal(size=(rows, width)).astype(np.float32)
        machine.tail.append(np.sort(rng.integers(0, 10**15, rows)), values, rng.random((rows, width)) < 0.2)
        machine.last_time = int(rng.integers(-(10**15), 10**15))
    machine.offset, machine.late_run, machine.rules = offset, late_run, [rule]
    # when it is written and read
    record = machine_snapshot(machine, partition=5)
    restored, orphans = restore_machine(record.value or b"", route)
    # then nothing has changed
    assert contents(restored) == contents(machine)
    assert orphans == {}
    assert (record.topic, record.key, record.partition) == ("state", name.encode(), 5)
    assert snapshot_offset(record.value or b"") == offset
    assert restored.dirty_from is None


def test_what_was_learned_is_in_a_snapshot(open_routes: OpenRoutes) -> None:
    # given a machine with a learned threshold, when it is restored: then the threshold is the same, to the last digit
    chosen = Settings(threshold=ThresholdSettings(method="spot", false_alarms_per_day=20, spot_tail=0.1))
    routes = open_routes(Recipe(), chosen)
    value = snapshot_of(routes, chosen, rows=80)
    machine, _ = restore_machine(value, routes.routes[0])
    learned = machine.rules[0].spot
    assert learned is not None
    assert learned.seen > 500
    again = machine_snapshot(machine, 0).value
    assert again == value


@settings(REPEATABLE, max_examples=200)
@given(
    place=st.integers(0, 10_000),
    byte=st.integers(1, 255),
    cut=st.none() | st.integers(0, 2_000),
    more=st.binary(max_size=20),
)
def test_damaged_bytes_are_noticed(
    open_routes: OpenRoutes, place: int, byte: int, cut: int | None, more: bytes
) -> None:
    # given a snapshot of which a byte was changed, or that was cut off or continued
    chosen = Settings(threshold=ThresholdSettings(method="spot"))
    routes = open_routes(Recipe(), chosen)
    good = snapshot_of(routes, chosen)
    damaged = bytearray(good[:cut] if cut is not None else good)
    if damaged and not more:
        damaged[place % len(damaged)] ^= byte
    damaged += more
    if bytes(damaged) == good:
        return
    # when it is read: then that is an error of one type
    with pytest.raises(SnapshotError):
        restore_machine(bytes(damaged), routes.routes[0])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(REPEATABLE, max_examples=200)
@given(
    field=st.sampled_from(["machine", "last_time", "late_run", "seen", "channels", "rules", None]),
    value=json_values,
    gone=st.booleans(),
)
def test_a_header_of_another_version_is_refused_or_understood(
    open_routes: OpenRoutes, field: str | None, value: Any, gone: bool, log_lines: LogLines
) -> None:
    # given a whole snapshot whose header has a field too few, or one of another kind, or is no object
    routes = open_routes()
    header, body = snapshot_header(snapshot_of(routes, Settings()))
    if field is None:
        header = value
    elif gone:
        del header[field]
    else:
        header[field] = value
    strange = crafted(header, bytes(body))
    # when a partition takes it over: then nothing is raised
    Pipeline(routes, Settings()).partition(0).restore({b"press-1": strange}, routes)
    # and the machine's snapshot is refused with its own error, or read
    with suppress(SnapshotError):
        restore_machine(strange, routes.routes[0])


@pytest.mark.parametrize(
    "value", [b"", b"WTS1", b"WTS0" + bytes(40), bytes(100), b"\xff" * 100, orjson.dumps({"a": 1})]
)
def test_what_is_no_snapshot_is_refused(open_routes: OpenRoutes, value: bytes) -> None:
    with pytest.raises(SnapshotError):
        snapshot_header(value)
    with pytest.raises(SnapshotError):
        restore_machine(value, open_routes().routes[0])
    assert snapshot_offset(value) in (-1, 0)


def test_progress_is_read_back_or_counts_as_none() -> None:
    # given a progress record, and records that are none, when they are read: then what is not known is published again
    record = progress_record(12_345, partition=3)
    assert (record.key, record.partition, read_progress(record.value or b"")) == (PROGRESS, 3, 12_345)
    for value in (b"", b"{", b"[]", b"null", b'{"published": null}', b'{"published": "x"}', b'{"else": 1}'):
        assert read_progress(value) == 0


# -- what a partition makes of them -----------------------------------------------------------------------------------


def take_over(
    records: dict[bytes, bytes], routes: Routes, rows: slice, chosen: Settings | None = None
) -> tuple[Pipeline, list[Output]]:
    """Another worker with the snapshots, fed with rows of press-1 behind them."""
    chosen = chosen or Settings()
    pipeline = Pipeline(routes, chosen)
    partition = pipeline.partition(0)
    partition.position = rows.start
    partition.restore(dict(records), routes)
    messages = row_by_row(part_of(calm_rows(routes), rows.start, rows.stop))
    return pipeline, pipeline.handle([batch_of(messages, first=rows.start)], now=0.0)


def calm_rows(routes: Routes) -> Any:
    channels = routes.routes[0].channels
    values = np.random.default_rng(4).normal(0.5, 0.1, (60, len(channels)))
    return block_of("press-1", values, channels=channels)


def records_after(routes: Routes, rows: int, key: bytes = b"press-1") -> dict[bytes, bytes]:
    pipeline = Pipeline(routes, Settings())
    feed(pipeline, row_by_row(part_of(calm_rows(routes), 0, rows)))
    (record,) = pipeline.partition(0).snapshots(now=0.0, everything=True)
    return {key: record.value or b""}


def scored_rows(outputs: list[Output]) -> list[int]:
    return sorted({(time - START) // MINUTE for _, _, time in scores_of(outputs)})


def test_a_machine_goes_on_where_its_snapshot_ends(open_routes: OpenRoutes) -> None:
    # given a snapshot after 20 rows, and rows from the 15th on, as after an older commit
    routes = open_routes(Recipe(window=6, stride=4))
    # when another worker takes over: then windows end where they would have ended: at rows 5, 9, 13, ..
    _, outputs = take_over(records_after(routes, 20), routes, slice(15, 40))
    assert scored_rows(outputs) == [21, 25, 29, 33, 37]


def test_damage_costs_a_warm_up_and_a_line_in_the_log(open_routes: OpenRoutes, log_lines: LogLines) -> None:
    # given a damaged snapshot of one machine and a good one of another
    routes = open_routes(Recipe(window=6))
    records = records_after(routes, 20)
    pipeline, outputs = take_over({b"press-1": records[b"press-1"][:-3], b"press-2": b"?"}, routes, slice(20, 40))
    # when another worker takes over: then the machine's window fills up first
    assert scored_rows(outputs) == list(range(25, 40))
    lines = [line for line in log_lines if line["event"].startswith("snapshot cannot be used")]
    assert {line["key"] for line in lines} == {b"press-1", b"press-2"}
    assert pipeline.partition(0).machines == 1


def test_other_channels_cost_a_warm_up(open_routes: OpenRoutes, log_lines: LogLines) -> None:
    # given a snapshot, and a bundle of other channels that now serves the machine, when it takes over
    old, new = open_routes(Recipe(window=6)), open_routes(Recipe(window=6, channels=("a", "b", "d")))
    _, outputs = take_over(records_after(old, 20), new, slice(20, 40))
    # then the window fills up first, and the log says why
    assert scored_rows(outputs) == list(range(25, 40))
    assert "its bundle's channels have changed" in log_lines[-1]["error"]


def test_a_longer_window_fills_up_first(open_routes: OpenRoutes) -> None:
    # given a snapshot of a window of 6 rows: it holds 5
    records = records_after(open_routes(Recipe(window=6)), 20)
    # when a bundle with a window of 12 takes over: then the 7th row completes the first, with values that were seen
    longer = open_routes(Recipe(window=12))
    _, outputs = take_over(records, longer, slice(20, 40))
    assert scored_rows(outputs) == list(range(26, 40))
    windows = np.stack([calm_rows(longer).values[end - 11 : end + 1] for end in range(26, 40)])
    found = [scores[0].score for _, scores in sorted(scores_of(outputs).items())]
    assert found == pytest.approx(Recipe(window=12).calibrated(windows), rel=1e-5)


def test_a_shorter_window_goes_on_at_once(open_routes: OpenRoutes) -> None:
    records = records_after(open_routes(Recipe(window=12)), 20)
    _, outputs = take_over(records, open_routes(Recipe(window=6)), slice(20, 40))
    assert scored_rows(outputs) == list(range(20, 40))


def test_another_bundle_starts_without_the_memory_of_the_old_one(open_routes: OpenRoutes, log_lines: LogLines) -> None:
    # given a machine whose alert is open
    old = open_routes(Recipe(window=3, detector="old"))
    pipeline = Pipeline(old, Settings())
    feed(pipeline, [message_of(block_of("press-1", np.full((4, 3), 9.5)))])
    (record,) = pipeline.partition(0).snapshots(now=0.0, everything=True)
    records = {b"press-1": record.value or b""}
    # when another bundle of the same channels takes over: then rows are kept, the alert is forgotten, the log says so
    machine, orphans = restore_machine(records[b"press-1"], open_routes(Recipe(window=3, detector="new")).routes[0])
    assert machine.rules == [RuleState()]
    assert machine.tail.seen == 4
    assert [state.opened_at for state in orphans.values()] == [START + 2 * MINUTE]
    Pipeline(old, Settings()).partition(0).restore(records, open_routes(Recipe(window=3, detector="new")))
    assert log_lines[-1]["event"] == "its bundle serves no more: open alert is forgotten"
    # and beside the old one both know what they knew
    both = open_routes((Recipe(window=3, detector="old"), Recipe(window=3, detector="new")))
    machine, orphans = restore_machine(records[b"press-1"], both.routes[0])
    assert [rule.opened_at for rule in machine.rules] == [START + 2 * MINUTE, None]
    assert orphans == {}


def test_a_machine_that_nobody_serves_any_more_is_left_out(open_routes: OpenRoutes, log_lines: LogLines) -> None:
    # given a snapshot, when the bundles of another worker serve other machines: then it is left out, with a line in the log
    records = records_after(open_routes(Recipe()), 20)
    fans = open_routes(Recipe(), pattern="fan-*")
    assert Pipeline(fans, Settings()).partition(0).restore(records, fans) == 0
    assert log_lines[-1] == {
        "event": "no bundle serves this machine any more",
        "machine": "press-1",
        "log_level": "warning",
    }


def test_records_of_another_group_are_not_taken_for_ours(open_routes: OpenRoutes) -> None:
    # given the group 'plant' and another one called 'plant/topic', whose keys start like ours
    routes = open_routes(Recipe())
    records = records_after(routes, 20, key=b"topic/press-1")
    # when state is restored: then the other's machine is not ours
    assert Pipeline(routes, Settings()).partition(0).restore(records, routes) == 0


def test_a_snapshot_is_about_as_large_as_its_rows(open_routes: OpenRoutes) -> None:
    # given 38 channels and a window of 64 rows: 63 rows of 38 float32 and an int64 are 10 kB
    recipe = Recipe(channels=tuple(f"c{column:02d}" for column in range(38)), window=64)
    routes = open_routes(recipe)
    pipeline = Pipeline(routes, Settings(state=StateSettings(snapshot_windows=1)))
    values = np.random.default_rng(1).random((100, 38))
    feed(pipeline, [message_of(block_of("press-1", values, channels=recipe.channels), "arrow")])
    # when a snapshot is taken: then it is not much larger
    (record,) = pipeline.partition(0).snapshots(now=0.0)
    assert 63 * (38 * 4 + 8) < len(record.value or b"") < 11_500
