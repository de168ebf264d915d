"""Deployments and operators' commands at any moment, kills at any moment: as if each change had come at its offset, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    REPEATABLE,
    START,
    TOPIC,
    assert_same_alerts,
    batch_of,
    block_of,
    events_of,
    parsed,
    row_by_row,
)
from tests.unit.stream.test_restart import Broker, Worker
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.topics import ALARM_COMMANDS, MODELS
from wheeltapper.stream.control.log import Change, ControlMessage
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings, StateSettings
from wheeltapper.stream.state import CONTROL

OLD = Recipe(window=3)
NEW = Recipe(window=3, weighting="mean")
WIDE = Recipe(window=6, weighting="mean")
OTHER = Recipe(window=3, detector="other", weighting="mean")

CHOSEN = Settings(state=StateSettings(snapshot_interval_s=20, snapshot_windows=4))
MACHINES = ("press-0", "press-1", "press-2")


class ControlledWorker(Worker):
    """A worker that is told of changes, as `Shell` and `Control` tell it.

    Attributes:
        since: number of a change -> input offset from which it held when it was met last.
    """

    def __init__(
        self,
        broker: Broker,
        routes: Routes,
        changes: Sequence[ControlMessage],
        since: dict[int, int],
        *,
        transactional: bool,
    ) -> None:
        self._records: list[Output] = []
        super().__init__(broker, routes, CHOSEN, transactional=transactional)
        self.since = since
        reads = self.partition.control.read
        reads[ALARM_COMMANDS] = reads[ALARM_COMMANDS] or 0
        self.tell(changes)

    def tell(self, changes: Sequence[ControlMessage]) -> None:
        self._publish(self.pipeline.apply([], self.now))
        for number, change in enumerate(changes):
            before = self.partition.control.number
            outputs = self.pipeline.apply([change], self.now)
            if self.partition.control.number > before:
                self.since[number] = self.partition.control.entries[-1].since
            self._records += [output for output in outputs if output.topic == "state"]
            if not self.transactional:
                self._keep_records()
            self._publish([output for output in outputs if output.topic != "state"])

    def commit(self, *, wait_s: float, everything: bool, killed_after: str) -> None:
        if self.transactional and killed_after != "commit":
            return
        self._keep_records()
        super().commit(wait_s=wait_s, everything=everything, killed_after=killed_after)

    def _keep_records(self) -> None:
        for record in self._records:
            self.broker.state[CONTROL] = record.value or b""
        self._records = []


@pytest.fixture
def ways(bundle_path: Callable[[Recipe], Path]) -> dict[str, Change]:
    def deployment(recipe: Recipe, **fields: Any) -> Deployment:
        path = bundle_path(recipe)
        fields = {"rule": "distance", "mode": "active", **fields}
        return Deployment(bundle=str(path), sha256=open_bundle(path).manifest_sha256, **fields)

    def command(action: Any, machine: str = "*", **fields: Any) -> AlarmCommand:
        return AlarmCommand(command_id="c", machine=machine, action=action, who="ann", at=START, **fields)

    return {
        "new": deployment(NEW),
        "wide": deployment(WIDE),
        "old": deployment(OLD),
        "canary": deployment(NEW, mode="canary", share=0.5),
        "shadow": deployment(OTHER, mode="shadow"),
        "other": deployment(OTHER, rule="other"),
        "retire": Deployment("distance", "retired"),
        "no shadow": Deployment("distance", "no-shadow"),
        "accept": command("accept"),
        "accept one": command("accept", "press-1"),
        "reset": command("reset", "press-[01]"),
        "reject": command("reject"),
        "confirm": command("confirm", "press-2"),
        "maintenance": command("maintenance", "press-[02]", start=START + 22 * MINUTE, until=START + 30 * MINUTE),
    }


WAYS = st.sampled_from(
    [
        *("new", "wide", "old", "canary", "shadow", "other", "retire", "no shadow"),
        *("accept", "accept one", "reset", "reject", "confirm", "maintenance"),
    ]
)

lives = st.lists(
    st.tuples(
        # changes that come, messages to handle, how long until a commit (none: no commit)
        st.lists(
            st.tuples(st.lists(WAYS, max_size=2), st.integers(1, 25), st.sampled_from([None, 0.0, 5.0, 40.0])),
            min_size=1,
            max_size=5,
        ),
        st.booleans(),
        st.sampled_from(["snapshots", "progress", "commit"]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("transactional", [True, False])
@settings(REPEATABLE, max_examples=12)
@given(history=lives, seed=st.integers(0, 50))
# Killed with output out of which no record says so; the change comes before the next life.
@example(history=[([([], 7, None)], False, "snapshots"), ([(["new"], 1, None)], False, "snapshots")], seed=0)
def test_kills_change_nothing_of_changes(
    open_routes: OpenRoutes, ways: dict[str, Change], transactional: bool, history: list[Any], seed: int
) -> None:
    # given machines with a fault that lasts a while, in turn
    rng = np.random.default_rng(seed)
    blocks = []
    for name in MACHINES:
        values = rng.normal(0.5, 0.05, (50, 3))
        values[18:38] += 2
        blocks.append(row_by_row(block_of(name, values)))
    messages = [message for turn in zip(*blocks, strict=True) for message in turn]
    routes = open_routes(OLD)
    # when changes come while a worker is killed again and again
    broker = Broker(messages, committed=0)
    changes: list[ControlMessage] = []
    since: dict[int, int] = {}
    for steps, everything, killed_after in history:
        worker = ControlledWorker(broker, routes, changes, since, transactional=transactional)
        for names, count, wait_s in steps:
            for name in names:
                change = ways[name]
                topic = MODELS if isinstance(change, Deployment) else ALARM_COMMANDS
                if isinstance(change, Deployment):
                    worker.pipeline.prepare(change)
                changes.append(ControlMessage(topic, len(changes), change))
                worker.tell(changes)
            worker.handle(count)
            if wait_s is not None:
                worker.commit(wait_s=wait_s, everything=False, killed_after="commit")
        worker.commit(wait_s=1.0, everything=everything, killed_after=killed_after)
    worker = ControlledWorker(broker, routes, changes, since, transactional=transactional)
    while worker.partition.position < len(messages):
        worker.handle(7)
    worker.commit(wait_s=0.0, everything=True, killed_after="commit")
    # then it is as if each change had come once, at the offset from which it held
    expected = undisturbed(Pipeline(routes, CHOSEN), messages, changes, since)
    assert len(since) == len(changes)
    if transactional:
        assert scored_by(broker.outputs) == scored_by(expected)
        assert_same_alerts(broker.outputs, expected)
    assert {key: set(scores) for key, scores in scored_by(broker.outputs).items()} == {
        key: set(scores) for key, scores in scored_by(expected).items()
    }
    said, meant = events_of(broker.outputs), events_of(expected)
    assert {key: set(events) for key, events in said.items()} == {key: set(events) for key, events in meant.items()}


def undisturbed(
    pipeline: Pipeline, messages: Sequence[Any], changes: Sequence[ControlMessage], since: dict[int, int]
) -> list[Output]:
    partition = pipeline.partition(TOPIC, 0)
    outputs: list[Output] = []
    order = sorted(since, key=lambda number: (since[number], number))
    cuts = sorted({0, *since.values(), len(messages)})
    for start, stop in zip(cuts, [*cuts[1:], len(messages)], strict=True):
        for number in order:
            if since[number] == start:
                change = changes[number].change
                assert change is not None
                outputs += [each for each in pipeline.command(change, 0.0) if each.topic != "state"]
        if stop > start:
            assert partition.position == start
            outputs += pipeline.handle([batch_of(messages[start:stop], first=start)], now=0.0)
    return outputs


def scored_by(outputs: Sequence[Output]) -> dict[tuple[str, str, int], Counter[tuple[str, float, float, bool]]]:
    """(machine, rule, time) -> how often which bundle, score, level and maintenance was published; a shadow is among them."""
    found: dict[tuple[str, str, int], Counter[tuple[str, float, float, bool]]] = {}
    for block in parsed(outputs, "scores"):
        marks = block.get("maintenance") or [False] * len(block["time"])
        for time, score, level, mark in zip(block["time"], block["score"], block["threshold"], marks, strict=True):
            key = (block["machine"], block["rule"], time)
            # As far as it does not depend on how windows were batched.
            found.setdefault(key, Counter())[block["bundle"], float(f"{score:.3g}"), float(f"{level:.3g}"), mark] += 1
    return found
