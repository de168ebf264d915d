"""Killed at any moment and started again, a worker comes to the same alerts as one that ran through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.covering import covering
from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    REPEATABLE,
    TOPIC,
    Message,
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    events_of,
    feed,
    letters_of,
    parsed,
    row_by_row,
    scores_of,
)
from tests.unit.stream.test_chunking import BUNDLES, THRESHOLDS, grouped, machine_rows
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings, StateSettings, ThresholdSettings, WindowSettings
from wheeltapper.stream.state import snapshot_offset

# Messages that a worker reserves beyond those that it handles.
RESERVED = 4


@dataclass
class Broker:
    """One partition of the input with what a worker leaves behind: its output, the `state` topic, its commit."""

    messages: Sequence[Message]
    outputs: list[Output] = field(default_factory=list)
    state: dict[bytes, bytes] = field(default_factory=dict)
    committed: int | None = None

    def keep(self, record: Output) -> None:
        """As the `state` topic is read: of two snapshots the one with the higher input offset."""
        key, value = record.key or b"", record.value or b""
        if key not in self.state or snapshot_offset(value) >= snapshot_offset(self.state[key]):
            self.state[key] = value


class Worker:
    """What `wheeltapper.stream.engine` does around a pipeline, in the same order, with steps at which it can be killed."""

    def __init__(self, broker: Broker, routes: Routes, chosen: Settings, *, transactional: bool) -> None:
        self.broker = broker
        self.transactional = transactional
        self.pipeline = Pipeline(routes, chosen)
        self.partition = self.pipeline.partition(TOPIC, 0)
        if broker.committed is not None:
            self.partition.position = broker.committed
            self.partition.restore(dict(broker.state))
            self.partition.handled_before = min(self.partition.reserved, len(broker.messages))
        self.now = 0.0
        self._pending: list[Output] = []

    def handle(self, count: int) -> None:
        """The next messages; without transactions, output can be read at once."""
        self.now += 1.0
        position = self.partition.position
        batch = batch_of(self.broker.messages[position : position + count], first=position)
        if not self.transactional and batch.offsets and batch.offsets[-1] >= self.partition.reserved:
            self.partition.reserved = batch.offsets[-1] + 1 + RESERVED
            self.broker.keep(self.partition.progress_record())
        self._publish(self.pipeline.handle([batch], self.now))

    def commit(self, *, wait_s: float, everything: bool, killed_after: str) -> None:
        """Snapshots that are due, progress, commit; with transactions all of them or nothing."""
        self.now += wait_s
        snapshots = self.partition.snapshots(self.now, everything=everything)
        committable, position = self.partition.committable, self.partition.position
        if self.transactional and killed_after != "commit":
            return
        self.broker.outputs += self._pending
        self._pending = []
        for record in snapshots:
            self.broker.keep(record)
        if killed_after == "snapshots":
            return
        if position > self.partition.progress_written:
            self.partition.progress_written = position
            self.broker.keep(self.partition.progress_record())
        if killed_after == "progress":
            return
        self.broker.committed = committable

    def _publish(self, outputs: list[Output]) -> None:
        if self.transactional:
            self._pending += outputs
        else:
            self.broker.outputs += outputs


lives = st.lists(
    st.tuples(
        st.lists(
            # messages to handle, then how long until a commit; none: no commit
            st.tuples(st.integers(1, 20), st.sampled_from([None, 0.0, 5.0, 40.0])),
            min_size=1,
            max_size=6,
        ),
        st.booleans(),  # whether its last commit snapshots everything
        st.sampled_from(["snapshots", "progress", "commit"]),  # what it still gets done before it is killed
    ),
    min_size=1,
    max_size=6,
)
"""Every life of the worker but the last, which ends with the stream."""

small_messages = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(0, 2)), min_size=1, max_size=8)

CHOICES = {
    "fixed": Settings(threshold=THRESHOLDS["fixed"]),
    "patient": Settings(threshold=THRESHOLDS["patient"]),
    "budget": Settings(threshold=THRESHOLDS["budget"]),
    "spot": Settings(threshold=THRESHOLDS["spot"]),
}


def live(
    broker: Broker, routes: Routes, chosen: Settings, history: list[Any], *, transactional: bool
) -> tuple[Pipeline, list[int]]:
    """The lives of a worker, the last one to the end; its last pipeline, and where each life began."""
    starts = []
    for steps, everything, killed_after in history:
        worker = Worker(broker, routes, chosen, transactional=transactional)
        starts.append(worker.partition.position)
        for count, wait_s in steps:
            worker.handle(count)
            if wait_s is not None:
                worker.commit(wait_s=wait_s, everything=False, killed_after="commit")
        worker.commit(wait_s=1.0, everything=everything, killed_after=killed_after)
    worker = Worker(broker, routes, chosen, transactional=transactional)
    starts.append(worker.partition.position)
    while worker.partition.position < len(broker.messages):
        worker.handle(7)
    worker.commit(wait_s=0.0, everything=True, killed_after="commit")
    return worker.pipeline, starts


@covering(
    bundles=["stride 3", "lag 2", "window 1", "two rules", "warm-up"], threshold=CHOICES, transactional=[True, False]
)
@settings(REPEATABLE, max_examples=12)  # of each combination
@given(
    seed=st.integers(0, 10_000),
    history=lives,
    plan=small_messages,
    messy=st.booleans(),
    snapshot_windows=st.sampled_from([1, 4]),
)
def test_kills_change_nothing(
    open_routes: OpenRoutes,
    bundles: str,
    threshold: str,
    transactional: bool,
    seed: int,
    history: list[Any],
    plan: list[tuple[int, int, int]],
    messy: bool,
    snapshot_windows: int,
) -> None:
    # given a stream, with messages that nobody can read among the others, and a run that was not interrupted
    chosen = CHOICES[threshold].model_copy(
        update={
            "state": StateSettings(snapshot_interval_s=20, snapshot_windows=snapshot_windows),
            "windows": WindowSettings(clock_restart_rows=2, max_gap_intervals=5),
        }
    )
    routes = open_routes(BUNDLES[bundles], chosen)
    blocks = [machine_rows(f"press-{index}", 60, seed, messy=messy) for index in range(3)]
    messages = grouped(blocks, plan)
    messages[5:5] = messages[25:25] = [Message(b"{"), Message(None)]
    expected = feed(Pipeline(routes, chosen), messages, batch_sizes=[9])
    # when a worker is killed now and then, between any two of its steps
    broker = Broker(messages)
    live(broker, routes, chosen, history, transactional=transactional)
    # then the same has been said in the end
    if transactional:
        assert_same_scores(broker.outputs, expected)
        assert_same_alerts(broker.outputs, expected)
    said, meant = events_of(broker.outputs), events_of(expected)
    assert {key: set(events) for key, events in said.items()} == {key: set(events) for key, events in meant.items()}
    assert scores_of(broker.outputs).keys() == scores_of(expected).keys()
    assert {letter.offset for letter in letters_of(broker.outputs)} == {
        letter.offset for letter in letters_of(expected)
    }
    # and nothing need be read again
    assert broker.committed == len(messages)


@settings(REPEATABLE, max_examples=60)
@given(seed=st.integers(0, 1_000), cut=st.integers(1, 119), commits=st.lists(st.integers(1, 118), max_size=4))
def test_output_that_is_out_does_not_come_twice(
    open_routes: OpenRoutes, seed: int, cut: int, commits: list[int]
) -> None:
    # given a worker that published all that came of its messages and said so, with snapshots newer than its commit
    chosen = Settings(threshold=THRESHOLDS["spot"], state=StateSettings(snapshot_windows=2, snapshot_interval_s=1_000))
    routes = open_routes(Recipe(), chosen)
    messages = grouped([machine_rows(f"press-{index}", 40, seed, messy=False) for index in range(3)], [(1, 1, 0)])
    expected = feed(Pipeline(routes, chosen), messages)
    broker = Broker(messages)
    worker = Worker(broker, routes, chosen, transactional=False)
    for position in range(cut):
        worker.handle(1)
        if position in commits:
            worker.commit(wait_s=0.0, everything=False, killed_after="commit")
    worker.commit(wait_s=0.0, everything=False, killed_after="commit")
    # when it is killed, and another one carries on from the commit
    live(broker, routes, chosen, [], transactional=False)
    # then every score, alert and localization is out once
    assert_same_scores(broker.outputs, expected)
    assert_same_alerts(broker.outputs, expected)


def test_a_clean_stop_leaves_nothing_to_replay(open_routes: OpenRoutes) -> None:
    # given a worker that stops cleanly in the middle of an alert
    chosen = Settings()
    routes = open_routes(Recipe(window=4), chosen)
    block = machine_rows("press-0", 60, 5, messy=False)
    messages = row_by_row(block)
    broker = Broker(messages)
    worker = Worker(broker, routes, chosen, transactional=False)
    worker.handle(33)
    worker.commit(wait_s=0.0, everything=True, killed_after="commit")
    # when another takes over
    assert broker.committed == 33
    pipeline, starts = live(broker, routes, chosen, [], transactional=False)
    # then it handles only what is new, and says nothing twice
    assert starts == [33]
    assert pipeline.counters.messages == 27
    expected = feed(Pipeline(routes, chosen), messages)
    assert Counter(_texts(broker.outputs)) == Counter(_texts(expected))


def _texts(outputs: Sequence[Output]) -> list[bytes]:
    return [output.value or b"" for output in outputs if output.topic in ("alerts", "localizations")]


def test_snapshots_are_due_by_age_and_by_rows(open_routes: OpenRoutes) -> None:
    # given a machine with many rows, then one with few
    chosen = Settings(state=StateSettings(snapshot_interval_s=30, snapshot_windows=2))
    pipeline = Pipeline(open_routes(Recipe(window=5), chosen), chosen)
    busy, calm = (row_by_row(machine_rows(name, rows, 1, messy=False)) for name, rows in (("busy", 10), ("calm", 9)))
    pipeline.handle([batch_of(calm)], now=100.0)
    pipeline.handle([batch_of(busy, first=9)], now=101.0)
    partition = pipeline.partition(TOPIC, 0)
    # when snapshots are asked for: then that of 2 windows' worth of rows is due at once, once
    assert [record.key for record in partition.snapshots(now=101.0)] == [b"busy"]
    assert partition.snapshots(now=129.9) == []
    assert partition.committable == 0  # calm's rows are only in memory
    # and the other when it is 30 s old
    (record,) = partition.snapshots(now=130.0)
    assert (record.topic, record.key, record.partition) == ("state", b"calm", 0)
    assert partition.committable == partition.position == 19


def test_a_commit_reaches_up_to_the_oldest_row_without_a_snapshot(open_routes: OpenRoutes) -> None:
    # given rows of two machines in turn
    chosen = Settings(state=StateSettings(snapshot_windows=1, snapshot_interval_s=1_000))
    pipeline = Pipeline(open_routes(Recipe(window=5), chosen), chosen)
    blocks = [machine_rows(name, 6, 1, messy=False) for name in ("one", "two")]
    messages = [message for pair in zip(*map(row_by_row, blocks), strict=True) for message in pair]
    partition = pipeline.partition(TOPIC, 0)
    # when the first has its snapshot at offset 8 and the second has none
    pipeline.handle([batch_of(messages[:9])], now=0.0)
    assert [record.key for record in partition.snapshots(now=0.0)] == [b"one"]
    # then the second's first row bounds the commit
    assert partition.committable == 1
    # and once that has one too, rows of the first that came meanwhile do
    pipeline.handle([batch_of(messages[9:11], first=9)], now=0.0)
    assert [record.key for record in partition.snapshots(now=0.0)] == [b"two"]
    assert partition.committable == 10


def test_late_rows_alone_are_state_too(open_routes: OpenRoutes) -> None:
    # given a worker that was stopped when all but one of the late rows had come that prove a restarted clock
    chosen = Settings(windows=WindowSettings(clock_restart_rows=4))
    routes = open_routes(Recipe(), chosen)
    block = machine_rows("press-0", 20, 1, messy=False)
    messages = row_by_row(block) + row_by_row(block)[:3]
    broker = Broker([*messages, *row_by_row(block)[3:]])
    worker = Worker(broker, routes, chosen, transactional=False)
    worker.handle(20)
    worker.commit(wait_s=0.0, everything=True, killed_after="commit")
    worker.handle(3)
    worker.commit(wait_s=0.0, everything=True, killed_after="commit")
    # when another takes over
    pipeline, _ = live(broker, routes, chosen, [], transactional=False)
    # then the next late row is the fourth
    assert pipeline.counters.clock_restarts == 1
    assert pipeline.counters.late_rows == 0
    assert pipeline.counters.rows == 17


def test_a_changed_method_takes_effect_on_machines_with_snapshots(open_routes: OpenRoutes) -> None:
    # given a machine whose threshold was learned, far below the bundle's alarm level
    block = machine_rows("press-0", 60, 5, messy=False)
    recipe = Recipe(alarm_level=10.0, calibration=tuple(0.001 * rank for rank in range(500)))
    learned = Settings(threshold=ThresholdSettings(method="spot", false_alarms_per_day=100))
    routes = open_routes(recipe, learned)
    broker = Broker(row_by_row(block))
    worker = Worker(broker, routes, learned, transactional=False)
    worker.handle(30)
    worker.commit(wait_s=0.0, everything=True, killed_after="commit")
    assert scores_of(broker.outputs)[("press-0", "distance", int(block.ts[29]))][0].threshold < 0.2
    # when it starts again with the fixed method
    broker.outputs.clear()
    fixed = Settings(threshold=ThresholdSettings(method="fixed", raise_level=1.0))
    live(broker, routes, fixed, [], transactional=False)
    # then the fixed level is in force at once
    assert {score.threshold for scores in scores_of(broker.outputs).values() for score in scores} == {1.0}
    # and an alert that was open then is judged by it
    assert all(alert["threshold"] == 1.0 for alert in parsed(broker.outputs, "alerts"))
