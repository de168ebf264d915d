"""Rules that come, change and go while machines are watched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    REPEATABLE,
    START,
    TOPIC,
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    block_of,
    events_of,
    parsed,
    part_of,
    row_by_row,
    scores_of,
)
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.control.log import Change, ControlLog
from wheeltapper.stream.core.alert_life import alert_id
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import PROGRESS, progress_record

BundlePath = Callable[[Recipe], Path]
LogLines = list[MutableMapping[str, Any]]

OLD = Recipe(window=3)
NEW = Recipe(window=6, weighting="mean")
OTHER = Recipe(window=3, detector="other", weighting="mean")


@pytest.fixture
def deployment_of(bundle_path: BundlePath) -> Callable[..., Deployment]:
    """A recipe, and what differs from an active deployment of rule 'distance' everywhere -> Deployment."""

    def deploy(recipe: Recipe | None, **changes: Any) -> Deployment:
        fields: dict[str, Any] = {"rule": "distance", "mode": "active", **changes}
        if recipe is not None:
            path = bundle_path(recipe)
            fields = {"bundle": str(path), "sha256": open_bundle(path).manifest_sha256, **fields}
        return Deployment(**fields)

    return deploy


def command_of(action: Any, **fields: Any) -> AlarmCommand:
    """A command for every machine."""
    return AlarmCommand(
        **{"command_id": action, "machine": "*", "action": action, "who": "somebody", "at": START, **fields}
    )


def rows(count: int, machine: str = "press-1", value: float = 0.5, first: int = 0) -> SensorBlock:
    values = np.random.default_rng(first).normal(value, 0.05, (count, 3))
    return block_of(machine, values, times=START + MINUTE * np.arange(first, first + count))


def feed_rows(pipeline: Pipeline, block: SensorBlock) -> list[Output]:
    position = pipeline.partition(TOPIC, 0).position
    return pipeline.handle([batch_of(row_by_row(block), first=position)], now=0.0)


def bundles_of(outputs: list[Output]) -> list[str]:
    """Bundle of each published score, in order."""
    return [block["bundle"] for block in parsed(outputs, "scores") for _ in block["time"]]


def test_a_rule_is_replaced_between_two_rows(open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]) -> None:
    # given a machine that a bundle with a window of 3 scores
    pipeline = Pipeline(open_routes(OLD), Settings())
    block = rows(20)
    assert bundles_of(feed_rows(pipeline, part_of(block, 0, 10))) == [OLD.bundle_id] * 8
    # when one with a window of 6 takes its place
    outputs = pipeline.command(deployment_of(NEW), now=0.0)
    # then a restart will know of it, with the offset from which it holds
    (record,) = outputs
    assert (record.topic, record.key) == ("state", b"wheeltapper/wheeltapper.sensors/\x00deployments")
    assert b'"since":10' in (record.value or b"")
    # and rows that the short window did not keep are awaited; then every row is scored by the new one
    outputs = feed_rows(pipeline, part_of(block, 10, 20))
    assert bundles_of(outputs) == [NEW.bundle_id] * 7
    times = sorted(time for _, _, time in scores_of(outputs))
    assert times == [START + MINUTE * row for row in range(13, 20)]
    windows = np.stack([block.values[row - 5 : row + 1] for row in range(13, 20)])
    found = [scores[0].score for _, scores in sorted(scores_of(outputs).items())]
    assert found == pytest.approx(NEW.calibrated(windows), rel=1e-5)


def test_what_takes_long_of_a_switch_is_done_while_its_bundle_is_prepared(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    # given a machine that is scored, and a bundle whose reference of drift is read when its judges are made
    pipeline = Pipeline(open_routes(OLD), Settings())
    feed_rows(pipeline, rows(5))
    for mode in ("shadow", "active"):
        # when it is prepared, as another thread does, then that is said
        with capture_logs() as prepared:
            pipeline.prepare(deployment_of(NEW, mode=mode))
        assert bool(prepared) == (mode == "active")  # nobody looks for drift in a shadow
        # and the switch itself has nothing left to do
        with capture_logs() as switched:
            pipeline.command(deployment_of(NEW, mode=mode), now=0.0)
        assert switched == []


def test_an_open_alert_goes_on_where_the_rule_is_replaced(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    # given a machine whose alert is open
    pipeline = Pipeline(open_routes(OLD), Settings())
    feed_rows(pipeline, rows(5, value=9.0))
    # when its bundle is replaced: then nothing is said of the alert
    assert parsed(pipeline.command(deployment_of(NEW), now=0.0), "alerts") == []
    # and the new bundle clears it under its id
    (cleared,) = parsed(feed_rows(pipeline, rows(45, first=5)), "alerts")
    assert cleared["alert_id"] == alert_id("press-1", "distance", OLD.bundle_id, START + 2 * MINUTE)
    assert (cleared["event"], cleared["reason"], cleared["bundle"]) == ("cleared", "recovered", NEW.bundle_id)


def test_a_retired_rule_ends_its_alerts_and_another_may_stay_alone(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    # given two rules of a machine, each with an open alert
    pipeline = Pipeline(open_routes((OLD, OTHER)), Settings())
    outputs = feed_rows(pipeline, rows(5, value=9.0))
    assert {rule for _, rule in events_of(outputs)} == {"distance", "other"}
    # when one is retired: then its alert ends, with the reason
    outputs = pipeline.command(deployment_of(None, mode="retired"), now=0.0)
    (cleared,) = parsed(outputs, "alerts")
    assert (cleared["rule"], cleared["event"], cleared["reason"]) == ("distance", "cleared", "superseded")
    # and the other goes on
    outputs = feed_rows(pipeline, rows(45, first=5))
    assert [(alert["rule"], alert["event"]) for alert in parsed(outputs, "alerts")] == [("other", "cleared")]
    assert set(bundles_of(outputs)) == {OTHER.bundle_id}


def test_a_machine_without_rules_is_watched_by_nobody_until_one_comes(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    pipeline = Pipeline(open_routes(OLD), Settings())
    pipeline.partition(TOPIC, 0)
    pipeline.command(deployment_of(None, mode="retired"), now=0.0)
    assert feed_rows(pipeline, rows(10)) == []
    pipeline.command(deployment_of(OLD), now=0.0)
    # its rows were kept meanwhile
    assert len(scores_of(feed_rows(pipeline, rows(10, first=10)))) == 10


def test_a_shadow_is_scored_and_says_nothing_until_it_takes_over(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    # given a bundle in the shadow of another
    pipeline = Pipeline(open_routes(OLD), Settings())
    pipeline.partition(TOPIC, 0)
    pipeline.command(deployment_of(OTHER, mode="shadow"), now=0.0)
    # when a fault comes: then both give scores, and the one that serves raises the alert
    outputs = feed_rows(pipeline, rows(5, value=9.0))
    assert set(bundles_of(outputs)) == {OLD.bundle_id, OTHER.bundle_id}
    assert {alert["bundle"] for alert in parsed(outputs, "alerts")} == {OLD.bundle_id}
    assert pipeline.counters.alerts == {"opened": 1}
    # and when it takes over, it stands beside nobody
    pipeline.command(deployment_of(OTHER), now=0.0)
    outputs = feed_rows(pipeline, rows(45, first=5))
    assert set(bundles_of(outputs)) == {OTHER.bundle_id}
    assert [alert["event"] for alert in parsed(outputs, "alerts")] == ["cleared"]


def test_a_shadow_ends_alone(open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]) -> None:
    # given a bundle in the shadow of another
    pipeline = Pipeline(open_routes(OLD), Settings())
    pipeline.partition(TOPIC, 0)
    pipeline.command(deployment_of(OTHER, mode="shadow"), now=0.0)
    assert set(bundles_of(feed_rows(pipeline, rows(5)))) == {OLD.bundle_id, OTHER.bundle_id}
    # when its end is told: then the rule goes on without it
    pipeline.command(deployment_of(None, mode="no-shadow"), now=0.0)
    assert set(bundles_of(feed_rows(pipeline, rows(5, first=5)))) == {OLD.bundle_id}


def test_a_canary_serves_its_share_of_the_machines_and_always_the_same(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    # given 200 machines, when a bundle is tried on a fifth of them
    canary = deployment_of(NEW, mode="canary", share=0.2)
    served = []
    for _ in range(2):
        pipeline = Pipeline(open_routes(OLD), Settings())
        pipeline.partition(TOPIC, 0)
        pipeline.command(canary, now=0.0)
        messages = [message for number in range(200) for message in row_by_row(rows(8, f"press-{number}"))]
        outputs = pipeline.handle([batch_of(messages)], now=0.0)
        served.append({block["machine"] for block in parsed(outputs, "scores") if block["bundle"] == NEW.bundle_id})
    # then about so many have it, the same each time, and no machine has both
    assert 25 <= len(served[0]) <= 55
    assert served[0] == served[1]
    assert len({(block["machine"], block["bundle"]) for block in parsed(outputs, "scores")}) == 200


def test_a_deployment_holds_for_the_machines_that_it_names(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    # given machines of one route, when one of them gets another bundle: then the others keep theirs
    pipeline = Pipeline(open_routes((OLD, OTHER)), Settings())
    pipeline.partition(TOPIC, 0)
    pipeline.command(deployment_of(NEW, machines="press-7"), now=0.0)
    messages = [*row_by_row(rows(8, "press-7")), *row_by_row(rows(8, "press-8"))]
    outputs = pipeline.handle([batch_of(messages)], now=0.0)
    found = {(block["machine"], block["bundle"]) for block in parsed(outputs, "scores")}
    assert found == {
        ("press-7", NEW.bundle_id),
        ("press-7", OTHER.bundle_id),
        ("press-8", OLD.bundle_id),
        ("press-8", OTHER.bundle_id),
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bundle": "/nowhere/at/all"}, "no such bundle"),
        ({"sha256": "0" * 64}, "deploy the bundle that is there"),
        ({"kind": "audio"}, "no bundle given at start takes audio"),
    ],
)
def test_a_bundle_that_is_refused_changes_nothing(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment], changes: dict[str, Any], said: str
) -> None:
    # given a worker, when a deployment names a bundle that cannot serve
    pipeline = Pipeline(open_routes(OLD), Settings())
    feed_rows(pipeline, rows(5))
    with pytest.raises(InputError, match=said):
        pipeline.command(deployment_of(NEW, **changes), now=0.0)
    # then the one that serves goes on
    assert bundles_of(feed_rows(pipeline, rows(5, first=5))) == [OLD.bundle_id] * 5
    assert pipeline.partition(TOPIC, 0).in_force == ()


def test_a_bundle_of_other_channels_is_refused(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment]
) -> None:
    pipeline = Pipeline(open_routes(OLD), Settings())
    with pytest.raises(InputError, match="differ in channels"):
        pipeline.command(deployment_of(Recipe(channels=("a", "b"))), now=0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "somehow", "bundle": "b"},
        {"mode": "active"},
        {"mode": "retired", "bundle": "b"},
        {"mode": "canary", "bundle": "b", "share": 1.5},
        {"mode": "active", "bundle": "b", "rule": ""},
    ],
)
def test_a_deployment_that_makes_no_sense_cannot_be_written(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|names|named"):
        Deployment(**{"rule": "distance", **fields})


@settings(REPEATABLE, max_examples=40)
@given(
    commands=st.dictionaries(
        st.integers(0, 59), st.sampled_from(["new", "old", "retire", "shadow", "other"]), max_size=4
    ),
    killed_at=st.integers(1, 60),
    snapshot_at=st.integers(0, 60),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5),
)
def test_a_restart_scores_every_row_with_the_bundle_that_it_had(
    open_routes: OpenRoutes,
    deployment_of: Callable[..., Deployment],
    commands: dict[int, str],
    killed_at: int,
    snapshot_at: int,
    sizes: list[int],
) -> None:
    # given deployments at some offsets, and a fault in mid-stream
    ways = {
        "new": deployment_of(NEW),
        "old": deployment_of(OLD),
        "retire": deployment_of(None, mode="retired"),
        "shadow": deployment_of(OTHER, mode="shadow"),
        "other": deployment_of(OTHER, rule="other"),
    }
    block = rows(60)
    block.values[20:35] += 3
    messages = row_by_row(block)
    routes = open_routes(OLD)

    def run(pipeline: Pipeline, start: int, stop: int, state: dict[bytes, bytes], groups: list[int]) -> list[Output]:
        """Messages [start, stop), a command before the message that it stands at; what is published, state kept apart."""
        partition, published, turn = pipeline.partition(TOPIC, 0), [], 0
        while start < stop:
            if start in commands:
                for output in pipeline.command(ways[commands[start]], now=0.0):
                    if output.topic == "state":
                        state[b"\x00deployments"] = output.value or b""
                    else:
                        published.append(output)
            ahead = [offset for offset in commands if offset > start]
            end = min([start + groups[turn % len(groups)], stop, *ahead])
            published += pipeline.handle([batch_of(messages[start:end], first=start)], now=0.0)
            start, turn = end, turn + 1
            if start == min(snapshot_at, killed_at):
                for record in partition.snapshots(0.0, everything=True):
                    state[record.key or b""] = record.value or b""
        return published

    whole = run(Pipeline(routes, Settings()), 0, 60, {}, [60])
    # when the worker is killed: its snapshot is older than its output, its deployments are known
    state: dict[bytes, bytes] = {}
    committed = min(snapshot_at, killed_at)
    first = Pipeline(routes, Settings())
    published = run(first, 0, committed, state, sizes)
    published += run(first, committed, killed_at, state, sizes)
    state[PROGRESS] = progress_record(killed_at, 0).value or b""
    second = Pipeline(routes, Settings())
    partition = second.partition(TOPIC, 0)
    partition.position = committed
    ended, _ = partition.restore(dict(state))
    assert ended == []
    # and another reads again from the commit, what was handled and what was not
    published += second.handle([batch_of(messages[committed:killed_at], first=committed)], now=0.0)
    published += run(second, killed_at, 60, state, sizes)
    # then alerts and scores are those of a worker that nobody disturbed
    assert_same_alerts(published, whole)
    assert_same_scores(published, whole)


def test_a_bundle_that_is_gone_at_a_restart_leaves_the_one_given_at_start(
    open_routes: OpenRoutes,
    deployment_of: Callable[..., Deployment],
    tmp_path: Path,
    bundle_path: BundlePath,
    log_lines: LogLines,
) -> None:
    # given a deployment whose bundle has vanished since
    place = tmp_path / "bundle"
    shutil.copytree(bundle_path(NEW), place)
    pipeline = Pipeline(open_routes(OLD), Settings())
    feed_rows(pipeline, rows(5))
    (record,) = pipeline.command(deployment_of(NEW, bundle=str(place)), now=0.0)
    shutil.rmtree(place)
    # when another worker takes over
    successor = Pipeline(open_routes(OLD), Settings())
    partition = successor.partition(TOPIC, 0)
    partition.position = 5
    partition.restore({b"\x00deployments": record.value or b""})
    # then the machine is watched all the same, and the log says by what
    (line,) = [line for line in log_lines if line["event"].startswith("a bundle in force cannot be loaded")]
    assert (line["rule"], line["bundle"], line["log_level"]) == ("distance", str(place), "error")
    assert set(bundles_of(feed_rows(successor, rows(5, first=5)))) == {OLD.bundle_id}


def test_a_machine_that_comes_later_finds_its_bundle_opened(
    open_routes: OpenRoutes, deployment_of: Callable[..., Deployment], tmp_path: Path, bundle_path: BundlePath
) -> None:
    # given a deployment for machines that have not been seen yet, whose bundle is gone from disk by then
    place = tmp_path / "bundle"
    shutil.copytree(bundle_path(NEW), place)
    pipeline = Pipeline(open_routes(OLD), Settings())
    pipeline.partition(TOPIC, 0)
    pipeline.command(deployment_of(NEW, bundle=str(place)), now=0.0)
    pipeline.command(deployment_of(OTHER, rule="other", machines="fan-*"), now=0.0)
    shutil.rmtree(place)
    # when the machine comes: then the bundle that was checked when it was deployed scores it
    assert set(bundles_of(feed_rows(pipeline, rows(10)))) == {NEW.bundle_id}


def test_a_log_of_changes_does_not_grow_for_ever() -> None:
    # given many deployments of one rule, two of another, a canary, and one that a restart might meet again
    control = ControlLog()
    changes: list[tuple[int, Change]] = [
        (offset, Deployment("a", "active", bundle=f"b{offset}")) for offset in range(50)
    ]
    changes += [(10, Deployment("b", "shadow", bundle="x")), (20, Deployment("b", "active", bundle="x"))]
    changes += [(30, Deployment("a", "canary", bundle="c", share=0.5))]
    # and commands, of which maintenance holds for rows that come late
    span = {"start": START, "until": START + MINUTE}
    changes += [(5, command_of("accept")), (6, command_of("maintenance", **span)), (45, command_of("accept"))]
    for since, change in sorted(changes, key=lambda each: each[0]):
        control.add(change, since)
    # when a restart reads from offset 40 on: then of those before, the last of each place is enough
    control.forget(40)
    kept = [
        (
            getattr(entry.change, "rule", ""),
            getattr(entry.change, "mode", getattr(entry.change, "action", "")),
            entry.since,
        )
        for entry in control.entries
    ]
    assert kept[:5] == [
        ("", "maintenance", 6),
        ("b", "shadow", 10),
        ("b", "active", 20),
        ("a", "canary", 30),
        ("a", "active", 39),
    ]
    assert len(kept) == 5 + 10 + 1
    # and the record says the same
    again = ControlLog.from_bytes(control.to_bytes(), 40)
    assert again.entries == control.entries
    assert again.in_force == next(entry.number for entry in again.entries if entry.since == 40) - 1
