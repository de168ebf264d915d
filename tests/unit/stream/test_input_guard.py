"""What a worker makes of looks at its input topics: which say nothing, which are told, and which mean that it must take over anew."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import TOPIC, batch_of, block_of, row_by_row
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.input_guard import InputGuard
from wheeltapper.stream.input_life import FoundInput, InputEvent, InputLife
from wheeltapper.stream.input_watch import InputLook, InputWatch
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import Settings

KEY = (TOPIC, 0)


@dataclass
class Bench:
    """A guard around a pipeline that has handled 20 messages, and looks at a broker as the test says they were."""

    pipeline: Pipeline
    watch: InputWatch
    grown: list[int] = field(default_factory=list)
    begun: float = 10.0

    def __post_init__(self) -> None:
        self.guard = InputGuard(self.pipeline, self.watch, self.grown.append)
        self.guard.assigned(5.0)

    def look(self, found: FoundInput | None, partitions: int | None = 1, position: int | None = None) -> bool:
        """Whether the worker must take over anew, after a look with this result."""
        self.begun += 10.0
        stood = self.pipeline.partition(*KEY).position if position is None else position
        there = {} if found is None else {KEY: found}
        self.watch._look = InputLook(self.begun, {KEY: stood}, there, {TOPIC: partitions})
        return self.guard.must_take_over()

    def handle(self, rows: int, first: int) -> None:
        """Messages with offsets from `first`."""
        times = 1_700_000_000_000_000 + 60_000_000 * np.arange(first, first + rows)
        batch = batch_of(row_by_row(block_of("pump", np.zeros((rows, 3)), times=times)), first=first)
        self.guard.note([batch])
        self.pipeline.handle([batch], self.begun)


@pytest.fixture
def bench(open_routes: OpenRoutes) -> Bench:
    settings = Settings.model_validate({"kafka": {"brokers": "127.0.0.1:1"}})
    pipeline = Pipeline(open_routes(settings=settings), settings)
    pipeline.partition(*KEY).life = InputLife(0, "id-1", "cluster")
    bench = Bench(pipeline, InputWatch(settings))
    bench.handle(20, 0)
    return bench


def told_of(log_lines: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """What was logged of the input."""
    return [line for line in log_lines if "input" in line["event"]]


def test_a_topic_that_is_what_it_was_says_nothing(bench: Bench, log_lines: list[MutableMapping[str, Any]]) -> None:
    assert not bench.look(FoundInput("id-1", "cluster", 0, 20))
    assert not bench.look(FoundInput("id-1", "cluster", 20, 50))
    assert not bench.look(FoundInput())  # a leader that does not answer
    assert not bench.look(None)
    assert told_of(log_lines) == []
    assert bench.pipeline.counters.input_events == {}


@pytest.mark.parametrize(
    "found", [FoundInput("id-2", "cluster", 0, 90), FoundInput("id-1", "cluster", 0, 19), FoundInput("", "", None, 0)]
)
def test_another_topic_or_one_that_ends_before_what_was_handled_is_taken_over_anew(
    bench: Bench, found: FoundInput
) -> None:
    assert bench.look(found)
    # but not by a look from before the last take-over
    bench.guard.assigned(bench.begun + 11)
    assert not bench.look(found)


def test_a_leader_epoch_that_fell_is_believed_at_the_second_look(bench: Bench) -> None:
    # given a partition whose messages were of epoch 7
    assert not bench.look(FoundInput("id-1", "cluster", 0, 20, 7))
    assert bench.pipeline.partition(*KEY).life.epoch == 7
    # when a look says 6 once, then that may be a leader that is behind
    assert not bench.look(FoundInput("id-1", "cluster", 0, 20, 6))
    assert not bench.look(FoundInput("id-1", "cluster", 0, 20, 7))
    assert not bench.look(FoundInput("id-1", "cluster", 0, 20, 6))
    # and twice in a row it is an older copy
    assert bench.look(FoundInput("id-1", "cluster", 0, 20, 6))


def test_an_end_that_was_asked_for_before_rows_were_handled_is_no_step_back(bench: Bench) -> None:
    # given an end of 20, asked when the worker stood at 15: it has handled 5 more meanwhile
    assert not bench.look(FoundInput("id-1", "cluster", 0, 18), position=15)


def test_messages_passed_over_count_as_expired_where_the_topic_begins_behind_them(
    bench: Bench, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given offsets 20 to 39 that never came: a transaction's markers, as the topic still begins before them
    bench.handle(5, 40)
    assert not bench.look(FoundInput("id-1", "cluster", 3, 45))
    assert bench.pipeline.counters.expired_messages == 0
    # when more are passed over, and the topic begins behind some of them
    bench.handle(5, 100)
    assert not bench.look(FoundInput("id-1", "cluster", 90, 105))
    # then those are counted and told, once
    assert bench.pipeline.counters.expired_messages == 45
    assert bench.pipeline.counters.input_events == {"expired": 1}
    (line,) = told_of(log_lines)
    assert (line["messages"], line["topic"], line["partitions"]) == (45, TOPIC, [0])
    assert "offsets 45 to 90" in line["event"]
    assert not bench.look(FoundInput("id-1", "cluster", 104, 105))
    assert bench.pipeline.counters.expired_messages == 45


def test_a_session_that_meets_expired_messages_again_counts_none_twice(
    bench: Bench, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given messages that were told to be gone by a session that ended before its first commit
    event = InputEvent("expired", "up to 5 messages expired or were deleted unread: offsets 20 to 25", 5)
    bench.guard.tell([(KEY, event)])
    # when the next session, with a guard of its own, meets them again: then that is nothing new
    again = InputGuard(bench.pipeline, bench.watch, bench.grown.append)
    again.tell([(KEY, event)])
    assert bench.pipeline.counters.expired_messages == 5
    assert len(told_of(log_lines)) == 1
    # and once the topic was made anew, the same offsets are others
    again.tell([(KEY, InputEvent("made-anew", "it was deleted and made anew"))])
    again.tell([(KEY, event)])
    assert bench.pipeline.counters.expired_messages == 10


def test_messages_that_expired_before_a_worker_that_gets_none_are_passed_over_at_the_second_look(bench: Bench) -> None:
    # given a topic that begins behind the worker's place: at first the client may hold messages from before
    assert not bench.look(FoundInput("id-1", "cluster", 60, 60))
    assert bench.pipeline.partition(*KEY).position == 20
    # when nothing has come by the next look
    assert not bench.look(FoundInput("id-1", "cluster", 60, 60))
    # then they are lost, and reading goes on behind them
    assert bench.pipeline.partition(*KEY).position == 60
    assert bench.pipeline.counters.expired_messages == 40


def test_a_topic_that_is_gone_makes_the_worker_unready_until_it_is_back(
    bench: Bench, log_lines: list[MutableMapping[str, Any]]
) -> None:
    assert bench.guard.problem() is None
    for _ in range(3):
        assert not bench.look(None, partitions=None)
        assert bench.guard.problem() == f"topic {TOPIC} does not exist"
    assert len(told_of(log_lines)) == 1
    assert not bench.look(FoundInput("id-1", "cluster", 0, 20))
    assert bench.guard.problem() is None


def test_partitions_that_are_added_get_theirs_of_the_state_and_are_told(
    bench: Bench, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given four partitions of the input at first
    same = FoundInput("id-1", "cluster", 0, 20)
    assert not bench.look(same, partitions=4)
    assert bench.grown == []
    # when there are six, then `state` gets as many, and a line says what that means
    assert not bench.look(same, partitions=6)
    assert not bench.look(same, partitions=6)
    assert bench.grown == [6]
    assert bench.pipeline.counters.input_events == {"partitions-added": 1}
    (line,) = told_of(log_lines)
    assert "2 partitions were added" in line["event"]


def test_where_the_state_cannot_be_given_partitions_the_worker_ends_with_advice(open_routes: OpenRoutes) -> None:
    settings = Settings.model_validate({"kafka": {"brokers": "127.0.0.1:1"}})
    pipeline = Pipeline(open_routes(settings=settings), settings)
    watch = InputWatch(settings)

    def refuse(partitions: int) -> None:
        raise InputError(f"topic state needs {partitions} partitions")

    guard = InputGuard(pipeline, watch, refuse)
    for begun, partitions in ((1.0, 4), (2.0, 6)):
        watch._look = InputLook(begun, {}, {}, {TOPIC: partitions})
        if partitions == 4:
            assert not guard.must_take_over()
    with pytest.raises(InputError, match="topic state needs 6 partitions"):
        guard.must_take_over()


@pytest.mark.parametrize(
    ("told", "anew", "gone"), [("id-1", None, ()), ("", None, ()), ("id-2", TOPIC, ()), (None, None, (TOPIC,))]
)
def test_before_a_commit_the_topics_id_is_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, told: str | None, anew: str | None, gone: tuple[str, ...]
) -> None:
    monkeypatch.setattr(bench.watch.asker, "id_of", lambda topic: told)
    assert bench.guard.topic_made_anew() == anew
    assert bench.guard.gone == frozenset(gone)


@pytest.mark.parametrize("failure", [KafkaException(KafkaError(KafkaError._TIMED_OUT)), TimeoutError()])
def test_a_broker_that_does_not_answer_holds_no_commit_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def ask(topic: str) -> str:
        raise failure

    monkeypatch.setattr(bench.watch.asker, "id_of", ask)
    assert bench.guard.topic_made_anew() is None


def test_a_topic_that_is_written_and_made_anew_is_told_and_the_state_saved_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given topics that are what they were, and one that this worker has no use for
    ids: dict[str, str | None] = {"wheeltapper.alerts": "a-1", "wheeltapper.state": "s-1", "wheeltapper.drift": None}
    monkeypatch.setattr(bench.watch.asker, "ids_of", lambda topics: ids)
    saved: list[bool] = []
    bench.guard = InputGuard(bench.pipeline, bench.watch, bench.grown.append, lambda: saved.append(True))
    same = FoundInput("id-1", "cluster", 0, 20)

    def look() -> None:
        bench.watch.look_at_outputs()
        assert not bench.look(same)

    look()
    look()
    log_lines.clear()
    # when one is deleted: that is told once, as whoever writes to it meets it too
    ids["wheeltapper.alerts"] = None
    look()
    look()
    assert [line["event"] for line in log_lines] == ["a topic that this worker writes does not exist any more"]
    # and when both are there again under other ids, then each is told, and what the state held is written once more
    ids |= {"wheeltapper.alerts": "a-2", "wheeltapper.state": "s-2"}
    look()
    look()
    assert [line["topic"] for line in log_lines[1:]] == ["alerts", "state"]
    assert bench.pipeline.counters.remade_topics == {"alerts": 1, "state": 1}
    assert saved == [True]
