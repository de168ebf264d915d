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
    TOPIC,
    batch_of,
    block_of,
    feed,
    message_of,
    parsed,
    part_of,
    row_by_row,
    scores_of,
)
from tests.unit.stream.test_chunking import machine_rows
from wheeltapper.stream.core.alert_judge import ALERT, THRESHOLD
from wheeltapper.stream.core.alert_life import AlertState, EndedAlert, alert_id
from wheeltapper.stream.core.row_memory import RowMemory
from wheeltapper.stream.input_life import InputLife, unpacked
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
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
    read_reserved,
    read_snapshot,
    snapshot_offset,
)

LogLines = list[MutableMapping[str, Any]]


def snapshot_of(routes: Routes, chosen: Settings, rows: int = 40, seed: int = 1) -> bytes:
    """Of a machine that has seen some messy rows."""
    pipeline = Pipeline(routes, chosen)
    feed(pipeline, row_by_row(machine_rows("press-1", rows, seed, messy=True)))
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    return record.value or b""


def crafted(header: Any, body: bytes = b"", offset: int = 7) -> bytes:
    """A snapshot with a right checksum around anything."""
    text = orjson.dumps(header)
    checked = HEAD.pack(offset, len(text)) + text + body
    return CHECK.pack(MAGIC, zlib.crc32(checked)) + checked


def header_of(value: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a snapshot, unchecked."""
    _, length = HEAD.unpack_from(value, CHECK.size)
    start = CHECK.size + HEAD.size
    return orjson.loads(value[start : start + length]), value[start + length :]


def partition_of(routes: Routes, chosen: Settings | None = None) -> PartitionState:
    """A partition that nothing has come to yet."""
    return Pipeline(routes, chosen or Settings()).partition(TOPIC, 0)


def restored(
    value: bytes, routes: Routes, name: str = "press-1", chosen: Settings | None = None, life: int = 0
) -> tuple[Machine, list[Output]]:
    """The machine of a snapshot in another worker, and what that publishes of it."""
    partition = partition_of(routes, chosen)
    partition.life = InputLife(life)
    outputs, _ = partition.restore({name.encode(): value})
    machine = partition.find(name)
    assert machine is not None
    return machine, outputs


CLOCK = ("last_time", "stamp", "late_run", "back_run", "back_time", "support")


def contents(machine: Machine) -> dict[str, Any]:
    """Everything that a snapshot keeps of a machine."""
    assert isinstance(machine.memory, RowMemory)
    times, values, absent, offsets = machine.memory.tail.snapshot()
    return {
        "name": machine.name,
        "offset": machine.offset,
        "life": machine.life,
        "silent_since": machine.silent_since,
        "clock": {name: getattr(machine.memory.clock, name) for name in CLOCK},
        "seen": machine.memory.tail.seen,
        "times": times.tolist(),
        "values": values.tolist(),
        "absent": absent.tolist(),
        "offsets": offsets.tolist(),
        "rules": {place: dataclasses.asdict(served.memory) for place, served in machine.rules.items()},
    }


@settings(REPEATABLE, max_examples=60)
@given(
    seed=st.integers(0, 1_000),
    rows=st.integers(0, 40),
    width=st.sampled_from([1, 7, 8, 9, 40]),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    offset=st.integers(0, 2**48 - 1),
    life=st.integers(0, 2**15 - 1),
    late_run=st.integers(0, 1_000),
    silent=st.none() | st.integers(0, 10**15),
    alert=st.builds(
        AlertState,
        opened_at=st.none() | st.integers(-(10**15), 10**15),
        peak_score=st.floats(0, 1e9),
        severity=st.integers(0, 100),
        above_us=st.integers(0, 10**15),
        quiet_us=st.integers(0, 10**15),
        above_since=st.integers(-(10**15), 10**15),
        seen_at=st.integers(-(10**15), 10**15),
        bundle=st.text(max_size=10),
        last=st.none()
        | st.builds(
            EndedAlert,
            opened_at=st.integers(-(10**15), 10**15),
            cleared_at=st.integers(-(10**15), 10**15),
            bundle=st.text(max_size=10),
            peak_score=st.floats(0, 1e9),
        ),
    ),
)
def test_a_snapshot_brings_back_everything(
    open_routes: OpenRoutes,
    seed: int,
    rows: int,
    width: int,
    name: str,
    offset: int,
    life: int,
    late_run: int,
    silent: int | None,
    alert: AlertState,
) -> None:
    # given a machine in any state
    routes = open_routes(Recipe(channels=tuple(f"c{column}" for column in range(width)), window=9))
    rng = np.random.default_rng(seed)
    machine = partition_of(routes).machine(name, routes.routes[0])
    assert isinstance(machine.memory, RowMemory)
    if rows:
        values = rng.normal(size=(rows, width)).astype(np.float32)
        times = np.sort(rng.integers(-(10**15), 10**15, rows))
        machine.memory.tail.append(times, values, rng.random((rows, width)) < 0.2)
        machine.memory.clock.last_time = int(times[-1])
    machine.offset, machine.memory.clock.late_run, machine.silent_since = offset, late_run, silent
    machine.life = life
    (served,) = machine.rules.values()
    served.memory.slots[ALERT] = alert
    # when it is written and read
    record = machine_snapshot(machine, partition=5)
    again, outputs = restored(record.value or b"", routes, name, life=life)
    # then nothing has changed
    assert contents(again) == contents(machine)
    assert len(outputs) == (silent is not None)  # said again, as the worker before may not have come to it
    assert (record.topic, record.key, record.partition) == ("state", name.encode(), 5)
    assert unpacked(snapshot_offset(record.value or b"")) == (life, offset)
    assert again.dirty_from is None


def test_what_was_learned_is_in_a_snapshot(open_routes: OpenRoutes) -> None:
    # given a machine with a learned threshold, when it is restored: then the threshold is the same, to the last digit
    chosen = Settings(threshold=ThresholdSettings(method="spot", false_alarms_per_day=20, spot_tail=0.1))
    routes = open_routes(Recipe(), chosen)
    value = snapshot_of(routes, chosen, rows=80)
    machine, _ = restored(value, routes, chosen=chosen)
    (served,) = machine.rules.values()
    assert served.memory.slots[THRESHOLD].seen > 500
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
        read_snapshot(bytes(damaged))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(REPEATABLE, max_examples=200)
@given(
    field=st.sampled_from(["machine", "heard_at", "silent_since", "memory", "rules", None]),
    inner=st.sampled_from(["last_time", "late_run", "seen", "channels", "bundle", "detector", "slots", None]),
    value=json_values,
    gone=st.booleans(),
)
def test_a_header_of_another_version_is_refused_or_understood(
    open_routes: OpenRoutes, field: str | None, inner: str | None, value: Any, gone: bool, log_lines: LogLines
) -> None:
    # given a whole snapshot whose header has a field too few, or one of another kind, or is no object
    routes = open_routes()
    header, body = header_of(snapshot_of(routes, Settings()))
    places = {"memory": header["memory"], "rules": header["rules"]["distance"]}
    if field is None:
        header = value
    else:
        place, name = (places[field], inner) if field in places and inner in places[field] else (header, field)
        if gone:
            del place[name]
        else:
            place[name] = value
    strange = crafted(header, body)
    # when a partition takes it over: then nothing is raised
    partition_of(routes).restore({b"press-1": strange})
    # and the machine's snapshot is refused with its own error, or read
    with suppress(SnapshotError):
        read_snapshot(strange).restore(routes.routes[0], routes.routes[0].layout)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"WTS1",
        b"WTS2",
        b"WTS2" + bytes(40),
        b"WTS0" + bytes(40),
        bytes(100),
        b"\xff" * 100,
        orjson.dumps({"a": 1}),
    ],
)
def test_what_is_no_snapshot_is_refused(value: bytes) -> None:
    with pytest.raises(SnapshotError):
        read_snapshot(value)
    assert snapshot_offset(value) in (-1, 0)


def test_progress_is_read_back_or_counts_as_none() -> None:
    # given a progress record, and records that are none, when they are read: then what is not known is published again
    record = progress_record(12_345, partition=3)
    assert (record.key, record.partition, read_progress(record.value or b"")) == (PROGRESS, 3, 12_345)
    for value in (b"", b"{", b"[]", b"null", b'{"published": null}', b'{"published": "x"}', b'{"else": 1}'):
        assert read_progress(value) == 0
        assert read_reserved(value) == 0
    # and so is how far output may be out, which older records do not say
    assert read_reserved(progress_record(5, 0, 9).value or b"") == 9
    assert read_reserved(b'{"published": 5}') == 0


# -- what a partition makes of them -----------------------------------------------------------------------------------


def take_over(
    records: dict[bytes, bytes], routes: Routes, rows: slice, chosen: Settings | None = None
) -> tuple[Pipeline, list[Output]]:
    """Another worker with the snapshots, fed with rows of press-1 behind them."""
    chosen = chosen or Settings()
    pipeline = Pipeline(routes, chosen)
    partition = pipeline.partition(TOPIC, 0)
    partition.position = rows.start
    partition.restore(dict(records))
    messages = row_by_row(part_of(calm_rows(routes), rows.start, rows.stop))
    return pipeline, pipeline.handle([batch_of(messages, first=rows.start)], now=0.0)


def calm_rows(routes: Routes) -> Any:
    channels = routes.routes[0].layout.channels
    values = np.random.default_rng(4).normal(0.5, 0.1, (60, len(channels)))
    return block_of("press-1", values, channels=channels)


def records_after(routes: Routes, rows: int, key: bytes = b"press-1") -> dict[bytes, bytes]:
    pipeline = Pipeline(routes, Settings())
    feed(pipeline, row_by_row(part_of(calm_rows(routes), 0, rows)))
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
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
    assert pipeline.partition(TOPIC, 0).machines == 1


def test_other_channels_cost_a_warm_up(open_routes: OpenRoutes, log_lines: LogLines) -> None:
    # given a snapshot, and a bundle of other channels that now serves the machine, when it takes over
    old, new = open_routes(Recipe(window=6)), open_routes(Recipe(window=6, channels=("a", "b", "d")))
    _, outputs = take_over(records_after(old, 20), new, slice(20, 40))
    # then the window fills up first, and the log says why
    assert scored_rows(outputs) == list(range(25, 40))
    assert "its bundle's channels have changed" in log_lines[-1]["error"]


@pytest.mark.parametrize(("detector", "told"), [("old", None), ("new", "superseded")])
def test_other_channels_cost_no_open_alert(open_routes: OpenRoutes, detector: str, told: str | None) -> None:
    # given a machine whose alert is open, when a bundle of other channels takes over
    records = with_an_open_alert(open_routes(Recipe(window=3, detector="old")))
    partition = partition_of(open_routes(Recipe(window=3, detector=detector, channels=("a", "b", "d"))))
    outputs, _ = partition.restore(records)
    # then the alert goes on where its rule serves, and ends with the reason where it does not
    assert [(alert["event"], alert["reason"]) for alert in parsed(outputs, "alerts")] == (
        [] if told is None else [("cleared", told)]
    )
    machine = partition.find("press-1")
    assert machine is not None
    assert (alert_of(machine, detector).opened_at is None) == (told is not None)


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


def with_an_open_alert(routes: Routes) -> dict[bytes, bytes]:
    """The snapshot of press-1 while its alert of the third row is open."""
    pipeline = Pipeline(routes, Settings())
    feed(pipeline, [message_of(block_of("press-1", np.full((4, 3), 9.5)))])
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    return {b"press-1": record.value or b""}


def alert_of(machine: Machine, rule: str) -> AlertState:
    state: AlertState = machine.rules[rule].memory.slots[ALERT]
    return state


def test_an_alert_whose_rule_is_gone_is_cleared_and_says_why(open_routes: OpenRoutes) -> None:
    # given a machine whose alert is open
    records = with_an_open_alert(open_routes(Recipe(window=3, detector="old")))
    # when a bundle of another detector takes over
    partition = partition_of(open_routes(Recipe(window=3, detector="new")))
    partition.position = 1
    outputs, unused = partition.restore(records)
    # then its rows are kept, and subscribers hear that the alert has ended by it
    machine = partition.find("press-1")
    assert machine is not None
    assert isinstance(machine.memory, RowMemory)
    assert machine.memory.tail.seen == 4
    assert alert_of(machine, "new") == AlertState()
    (cleared,) = parsed(outputs, "alerts")
    bundle = Recipe(window=3, detector="old").bundle_id
    assert cleared["alert_id"] == alert_id("press-1", "old", bundle, START + 2 * MINUTE)
    assert (cleared["event"], cleared["reason"], cleared["rule"]) == ("cleared", "superseded", "old")
    assert cleared["time"] == START + 3 * MINUTE
    assert unused == []
    # and the next snapshots know nothing of it
    (record,) = partition.snapshots(now=0.0)
    assert restored(record.value or b"", open_routes(Recipe(window=3, detector="new")))[1] == []


def test_an_alert_goes_on_under_its_id_where_its_rule_serves_with_another_bundle(open_routes: OpenRoutes) -> None:
    # given a machine whose alert is open
    old, new = Recipe(window=3), Recipe(window=3, weighting="mean")
    assert old.bundle_id != new.bundle_id
    records = with_an_open_alert(open_routes(old))
    # when a retrained bundle of the same detector takes over, and the machine recovers
    pipeline = Pipeline(open_routes(new), Settings())
    partition = pipeline.partition(TOPIC, 0)
    partition.position = 1
    outputs, _ = partition.restore(records)
    assert outputs == []
    calm = block_of("press-1", np.full((40, 3), 0.5), times=START + MINUTE * np.arange(4, 44))
    outputs = pipeline.handle([batch_of([message_of(calm)], first=1)], now=0.0)
    # then the alert that the old one opened is cleared under the id that it had
    (cleared,) = parsed(outputs, "alerts")
    assert cleared["alert_id"] == alert_id("press-1", "distance", old.bundle_id, START + 2 * MINUTE)
    assert (cleared["event"], cleared["reason"], cleared["bundle"]) == ("cleared", "recovered", new.bundle_id)


def test_rules_side_by_side_know_what_they_knew(open_routes: OpenRoutes) -> None:
    # given a machine whose alert is open
    records = with_an_open_alert(open_routes(Recipe(window=3, detector="old")))
    # when a second rule comes to the first
    both = open_routes((Recipe(window=3, detector="old"), Recipe(window=3, detector="new")))
    machine, outputs = restored(records[b"press-1"], both)
    # then the first goes on, and the second begins
    assert [alert_of(machine, rule).opened_at for rule in ("old", "new")] == [START + 2 * MINUTE, None]
    assert outputs == []


@pytest.mark.parametrize("slot", [ALERT, THRESHOLD])
def test_a_part_that_cannot_be_read_costs_that_part_alone(
    open_routes: OpenRoutes, log_lines: LogLines, slot: str
) -> None:
    # given the snapshot of a machine with an open alert and a learned threshold, of which one is not as it should be
    chosen = Settings(threshold=ThresholdSettings(method="spot", false_alarms_per_day=20))
    routes = open_routes(Recipe(window=3), chosen)
    pipeline = Pipeline(routes, chosen)
    values = np.random.default_rng(4).normal(0.5, 0.1, (100, 3))
    values[-1] = 9.5
    feed(pipeline, [message_of(block_of("press-1", values))])
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    header, body = header_of(record.value or b"")
    header["rules"]["distance"]["slots"][slot] = {"of": "another version"}
    # when it is restored
    machine, _ = restored(crafted(header, body), routes, chosen=chosen)
    # then the other is there, the rows too, and the log says what is not
    slots = machine.rules["distance"].memory.slots
    assert (slots[ALERT].opened_at is not None) == (slot != ALERT)
    assert (slots[THRESHOLD].seen > 550) == (slot != THRESHOLD)
    assert isinstance(machine.memory, RowMemory)
    assert machine.memory.tail.seen == 100
    (line,) = [line for line in log_lines if line["event"].startswith("part of a snapshot cannot be read")]
    assert (line["machine"], line["rule"], line["part"]) == ("press-1", "distance", slot)


def test_a_machine_that_nobody_serves_any_more_ends_its_alerts(open_routes: OpenRoutes, log_lines: LogLines) -> None:
    # given the snapshot of a machine with an open alert
    records = with_an_open_alert(open_routes(Recipe(window=3)))
    # when the bundles of another worker serve other machines
    partition = partition_of(open_routes(Recipe(), pattern="fan-*"))
    outputs, unused = partition.restore(records)
    # then it is left out, its alert ends with the reason, its record is of no use any more, and the log says so
    assert partition.machines == 0
    (cleared,) = parsed(outputs, "alerts")
    assert (cleared["event"], cleared["reason"], cleared["machine"]) == ("cleared", "machine-retired", "press-1")
    assert cleared["alert_id"] == alert_id("press-1", "distance", Recipe(window=3).bundle_id, START + 2 * MINUTE)
    assert unused == [b"press-1"]
    assert log_lines[-1] == {
        "event": "no bundle serves this machine any more: its alerts end",
        "machine": "press-1",
        "log_level": "warning",
    }


def test_records_of_another_group_are_not_taken_for_ours(open_routes: OpenRoutes) -> None:
    # given the group 'plant' and another one called 'plant/topic', whose keys start like ours
    routes = open_routes(Recipe())
    records = records_after(routes, 20, key=b"topic/press-1")
    # when state is restored: then the other's machine is not ours
    partition = partition_of(routes)
    assert partition.restore(records) == ([], [])
    assert partition.machines == 0


def test_a_snapshot_is_about_as_large_as_its_rows(open_routes: OpenRoutes) -> None:
    # given 38 channels and a window of 64 rows: 63 rows of 38 float32 and two int64 are 10.6 kB
    recipe = Recipe(channels=tuple(f"c{column:02d}" for column in range(38)), window=64)
    routes = open_routes(recipe)
    pipeline = Pipeline(routes, Settings(state=StateSettings(snapshot_windows=1)))
    values = np.random.default_rng(1).random((100, 38))
    feed(pipeline, [message_of(block_of("press-1", values, channels=recipe.channels), "arrow")])
    # when a snapshot is taken: then it is not much larger
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0)
    assert 63 * (38 * 4 + 16) < len(record.value or b"") < 12_000
