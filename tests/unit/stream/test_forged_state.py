"""Records of the `state` topic that were made by an attacker, or by mistake: none blinds a machine or ends a worker."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np
import orjson
import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, TOPIC, batch_of, block_of, feed, parsed, row_by_row
from tests.unit.stream.test_state import crafted, header_of
from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import CONTROL, PROGRESS

ROWS = 40
NOW = START + 41 * MINUTE
SLOTS = ("rules", "distance", "slots")
HUGE = 2**63 - 1


def snapshot(routes: Routes) -> bytes:
    """Of a machine that has sent 40 normal rows, one a message."""
    pipeline = Pipeline(routes, Settings())
    feed(pipeline, row_by_row(block_of("press-1", np.full((ROWS, 3), 0.5))))
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    assert record.value is not None
    return record.value


def changed(value: bytes, place: tuple[str, ...], what: Any) -> bytes:
    """The snapshot with another value at one place of its header."""
    header, body = header_of(value)
    table = header
    for name in place[:-1]:
        table = table[name]
    table[place[-1]] = what
    return crafted(header, body, offset=ROWS - 1)


def alert(**fields: Any) -> dict[str, Any]:
    usual = {"opened_at": START, "peak_score": 2.0, "severity": 60, "above_us": 0, "quiet_us": 0, "above_since": START}
    return {**usual, "seen_at": START, "bundle": "b", "last": None, **fields}


def control(**fields: Any) -> dict[str, Any]:
    usual = {"of": Recipe().bundle_id, "opening": 4 * 86_400_000_000, "lift": 0, "accepted": 1.0, "seen": START}
    return {**usual, "frozen": None, "shadow": 0, "shadow_quiet": 0, "alarms": 0, **fields}


def alerts_after(routes: Routes, records: dict[bytes, bytes]) -> tuple[list[str], Pipeline]:
    """What a worker that finds these records tells of 60 more rows, 15 of which are a fault; its pipeline."""
    pipeline = Pipeline(routes, Settings())
    partition = pipeline.partition(TOPIC, 0)
    partition.position = partition.input_end = ROWS
    outputs, _ = partition.restore(records, 0.0, NOW)
    rows = np.full((60, 3), 0.5)
    rows[30:45] += 4
    later = block_of("press-1", rows, times=START + MINUTE * np.arange(ROWS, ROWS + 60))
    outputs += pipeline.handle([batch_of(row_by_row(later), first=ROWS)], now=1.0)
    # what it writes itself can be written, and read by the next one
    written = {
        b"press-1": partition.snapshots(2.0, everything=True)[0].value or b"",
        CONTROL: partition.control.to_bytes(),
    }
    Pipeline(routes, Settings()).partition(TOPIC, 0).restore(written, 0.0, NOW + 60 * MINUTE)
    return [event["event"] for event in parsed(outputs, "alerts")], pipeline


@pytest.mark.parametrize(
    ("place", "what", "reason"),
    [
        (("memory", "last_time"), MAX_MICROS - 1, "clock"),
        (("memory", "last_time"), "soon", "unreadable"),
        (("memory", "last_time"), 1e300, "unreadable"),
        (("memory", "last_time"), True, "unreadable"),
        (("memory", "late_run"), -(10**18), "unreadable"),
        (("memory", "seen"), HUGE, "unreadable"),
        (("memory",), [1], "unreadable"),
        (("heard_at",), [1], "unreadable"),
        (("silent_since",), 2**62, "unreadable"),
        (("silent_since",), "x", "unreadable"),
        (("applied",), "1", "unreadable"),
        (("rules",), [1], "unreadable"),
        (("rules",), {"distance": {"bundle": 1, "detector": "", "slots": {}}}, "unreadable"),
        ((*SLOTS, "alert"), alert(opened_at="x"), "slot"),
        ((*SLOTS, "alert"), alert(opened_at=HUGE), "slot"),
        ((*SLOTS, "alert"), alert(opened_at=MAX_MICROS - 1), "slot"),
        ((*SLOTS, "alert"), alert(severity=10**9), "slot"),
        ((*SLOTS, "alert"), alert(peak_score=-5.0), "slot"),
        ((*SLOTS, "alert"), alert(opened_at=None, above_us="x"), "slot"),
        ((*SLOTS, "alert"), alert(last=[1, 2]), "slot"),
        ((*SLOTS, "alert"), alert(opened_at=None, last=0), "slot"),
        ((*SLOTS, "threshold"), "high", "slot"),
        ((*SLOTS, "threshold"), control(accepted=0.0), "slot"),
        ((*SLOTS, "threshold"), control(accepted=1e300), "slot"),
        ((*SLOTS, "threshold"), control(opening=0), "slot"),
        ((*SLOTS, "threshold"), control(seen="x"), "slot"),
        ((*SLOTS, "recent"), {"of": "x", "blocks": [1] * 100_000, "largest": [1.0] * 100_000}, "slot"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_costs_what_it_stands_in_and_nothing_else(
    open_routes: OpenRoutes, place: tuple[str, ...], what: Any, reason: str
) -> None:
    # given a snapshot with one value changed, and a right checksum around it
    routes = open_routes()
    # when a worker takes it over: then the fault behind it is told, and what was refused is counted
    events, pipeline = alerts_after(routes, {b"press-1": changed(snapshot(routes), place, what)})
    assert events == ["opened"]
    assert pipeline.counters.state_refused == {reason: 1}


def test_an_untouched_snapshot_is_taken_over(open_routes: OpenRoutes) -> None:
    events, pipeline = alerts_after(open_routes(), {b"press-1": snapshot(open_routes())})
    assert (events, pipeline.counters.state_refused) == (["opened"], {})


def test_a_snapshot_of_input_that_there_is_not_is_deleted(
    open_routes: OpenRoutes, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given a snapshot that says it holds rows which nobody has sent yet: they would be dropped as known when they come
    header, body = header_of(snapshot(open_routes()))
    for offset in (ROWS, 10**15, HUGE):
        forged = crafted(header, body, offset=offset)
        events, pipeline = alerts_after(open_routes(), {b"press-1": forged})
        # when it is taken over: then rows are scored, and the record is deleted
        assert (events, pipeline.counters.state_refused) == (["opened"], {"offset": 1})
        partition = Pipeline(open_routes(), Settings()).partition(TOPIC, 0)
        partition.input_end = ROWS
        assert partition.restore({b"press-1": forged}) == ([], [b"press-1"])
    assert any("has not handled" in line["event"] for line in log_lines)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (PROGRESS, {"published": 10**15, "reserved": 0}, "progress"),
        (PROGRESS, {"published": 1e30, "reserved": 1e30}, ""),
        (PROGRESS, {"published": "x", "reserved": []}, ""),
        (PROGRESS, {"published": ROWS, "reserved": 10**15}, ""),
        (CONTROL, {"writes": 1, "number": 2**64 - 1, "read": {}, "changes": []}, "changes"),
        (CONTROL, ["x"], "changes"),
        (CONTROL, {"writes": 1, "number": 1, "read": 5, "changes": []}, "changes"),
        (CONTROL, {"writes": 1, "number": 1, "read": {"models": -5}, "changes": []}, "changes"),
    ],
    ids=str,
)
def test_records_of_the_partition_that_cannot_be_change_nothing(
    open_routes: OpenRoutes, key: bytes, value: Any, reason: str
) -> None:
    records = {b"press-1": snapshot(open_routes()), key: orjson.dumps(value)}
    events, pipeline = alerts_after(open_routes(), records)
    assert (events, pipeline.counters.state_refused) == (["opened"], {reason: 1} if reason else {})


@pytest.mark.parametrize(
    "changes",
    [
        [{"number": 1, "since": 10**15, "deployment": {"rule": "distance", "mode": "retired"}}],
        [{"number": 1, "since": 3, "deployment": {"rule": 5, "mode": "retired"}}],
        [{"number": 1, "since": 3, "deployment": {"rule": "a", "mode": "retired", "share": "0.5"}}],
        [{"number": 9, "since": 3, "deployment": {"rule": "a", "mode": "retired"}}],
        [{"number": 1, "since": -3, "command": {"action": "maintenance"}}],
    ],
    ids=str,
)
def test_a_control_log_that_cannot_be_is_not_used(open_routes: OpenRoutes, changes: list[Any]) -> None:
    value = orjson.dumps({"writes": 1, "number": 1, "read": {"models": 1, "alarm-commands": 1}, "changes": changes})
    events, pipeline = alerts_after(open_routes(), {b"press-1": snapshot(open_routes()), CONTROL: value})
    assert (events, pipeline.counters.state_refused) == (["opened"], {"changes": 1})


@pytest.mark.parametrize(
    "header",
    [b"[" * 100_000, b'{"machine":"press-1","rules":{},"memory":' + b"[" * 900 + b"]" * 900 + b"}", b"{}", b""],
)
def test_headers_of_any_depth_cost_a_warm_up(open_routes: OpenRoutes, header: bytes) -> None:
    from wheeltapper.stream.state import CHECK, HEAD, MAGIC, zlib

    checked = HEAD.pack(ROWS - 1, len(header)) + header
    events, pipeline = alerts_after(open_routes(), {b"press-1": CHECK.pack(MAGIC, zlib.crc32(checked)) + checked})
    assert (events, pipeline.counters.state_refused) == (["opened"], {"unreadable": 1})


def test_bodies_of_other_sizes_or_without_numbers_cost_a_warm_up(open_routes: OpenRoutes) -> None:
    # given four rows whose values are NaN, rows from the future, and a body of half a row
    header, _ = header_of(snapshot(open_routes()))
    times = (START + MINUTE * np.arange(4)).astype("<i8")
    nothing = times.tobytes() + np.full((4, 3), np.nan, "<f4").tobytes() + bytes(4)
    ahead = (times + 10**15).tobytes() + np.zeros((4, 3), "<f4").tobytes() + bytes(4)
    for body in (nothing, ahead, nothing[:-3]):
        events, pipeline = alerts_after(open_routes(), {b"press-1": crafted(header, body, offset=ROWS - 1)})
        assert (events, pipeline.counters.state_refused) == (["opened"], {"unreadable": 1})


def test_a_machine_that_says_it_has_met_every_change_still_meets_the_next(open_routes: OpenRoutes) -> None:
    # given a snapshot that claims the highest number of changes, when a worker takes it over
    pipeline = Pipeline(open_routes(), Settings())
    partition = pipeline.partition(TOPIC, 0)
    partition.position = ROWS
    partition.restore({b"press-1": changed(snapshot(open_routes()), ("applied",), HUGE)}, 0.0, NOW)
    # then it is at the partition's own
    machine = partition.find("press-1")
    assert machine is not None
    assert machine.applied == 0
