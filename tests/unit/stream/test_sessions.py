"""Sessions of the direct runner that fail, one after the other: what they leave behind, and what is counted of them."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import batch_of, block_of, message_of
from wheeltapper.stream import worker
from wheeltapper.stream.health import WorkerStatus
from wheeltapper.stream.progress import Progress, StallError
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.runners import direct_runner, direct_session
from wheeltapper.stream.runners.direct_runner import DirectRunner
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell

SESSIONS = 100  # that fail at work: what each leaves behind would add up
ROWS = 12


def broker_lost(*_: object, **__: object) -> None:
    raise KafkaException(KafkaError(KafkaError._TRANSPORT))


def threads_and_files() -> tuple[int, int]:
    """Native threads and open file descriptors of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def assert_as_few(opened: list[tuple[int, int]]) -> None:
    """Threads and files at the last session as at the first few; a client's thread may come and go between two looks."""
    for last, first in zip(opened[-1], map(max, zip(*opened[:5], strict=True)), strict=True):
        assert last <= first + 1, opened


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Clients at an address where nothing listens, and no pause between sessions."""
    monkeypatch.setattr(direct_runner, "FIRST_BACKOFF_S", 0.0)
    monkeypatch.setattr(worker, "topic_limits", lambda settings: {})
    return Settings.model_validate({"kafka": {"brokers": "127.0.0.1:1"}, "worker": {"commit_interval_ms": 10}})


def sessions(settings: Settings, open_routes: OpenRoutes) -> tuple[WorkerStatus, list[tuple[int, int]]]:
    """A hundred sessions, each with rows handled before it fails: their status, and what was open at each."""
    progress = Progress(settings.worker.stall_timeout_s)
    status = WorkerStatus(progress)
    opened: list[tuple[int, int]] = []
    open_next = worker._shell_opener(
        open_routes(settings=settings), settings, status, lambda: len(opened) > SESSIONS, direct=True
    )

    def open_shell() -> Shell:
        opened.append(threads_and_files())
        shell = open_next()
        block = block_of("pump", np.zeros((ROWS, 3)))
        shell.pipeline.handle([batch_of([message_of(block)])], 0.0)
        shell.working_seconds += 1.0
        return shell

    DirectRunner(
        settings,
        open_shell,
        progress=progress,
        stop=lambda: len(opened) > SESSIONS,
        on_stuck=lambda error: pytest.fail(str(error)),
    ).run()
    return status, opened


def test_a_hundred_failed_sessions_leave_no_client_behind_and_are_all_counted(
    settings: Settings, open_routes: OpenRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given sessions without a transaction, whose broker is lost at the first commit
    monkeypatch.setattr(worker, "broker_has_transactions", lambda settings: False)
    monkeypatch.setattr(Shell, "prepare_commit", broker_lost)
    # when a hundred of them have failed
    status, opened = sessions(settings, open_routes)
    # then there are as many threads and open files as after the first few
    assert len(opened) == SESSIONS + 1
    assert_as_few(opened)
    # and the metrics tell of all of them
    values = {metric.name: sum(sample.value for sample in metric.samples) for metric in status.collect()}
    assert values["wheeltapper_rows"] == ROWS * len(opened)
    assert values["wheeltapper_messages"] == len(opened)
    assert values["wheeltapper_working_seconds"] >= len(opened)


def test_sessions_that_fail_in_their_start_leave_no_client_behind(
    settings: Settings, open_routes: OpenRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given sessions that fail half way: where the publisher starts, and where there is no consumer yet
    monkeypatch.setattr(worker, "broker_has_transactions", lambda settings: False)
    starts = 0

    def start(publisher: Publisher) -> None:
        nonlocal starts
        starts += 1
        if starts % 2:
            broker_lost()

    monkeypatch.setattr(Publisher, "start", start)
    monkeypatch.setattr(direct_session, "consumer_of", broker_lost)
    # when a hundred have failed
    _, opened = sessions(settings, open_routes)
    # then nothing of them is left
    assert len(opened) == SESSIONS + 1
    assert_as_few(opened)


@pytest.fixture
def waiting_rows(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A broker that answers and has rows, which no session gets; the limit is half a second."""
    monkeypatch.setattr(worker, "topic_limits", lambda settings: {})
    monkeypatch.setattr(worker, "broker_has_transactions", lambda settings: False)
    monkeypatch.setattr(direct_runner, "broker_answers", lambda kafka: True)
    monkeypatch.setattr(direct_runner.Session, "is_at_end", lambda session: False)
    return Settings.model_validate({"kafka": {"brokers": "127.0.0.1:1"}, "worker": {"stall_timeout_s": 0.5}})


def test_a_stall_ends_the_runner_and_starts_no_session(waiting_rows: Settings, open_routes: OpenRoutes) -> None:
    # given rows that wait
    status = WorkerStatus(progress := Progress(waiting_rows.worker.stall_timeout_s))
    sessions = 0
    open_next = worker._shell_opener(
        open_routes(settings=waiting_rows), waiting_rows, status, lambda: False, direct=True
    )

    def open_shell() -> Shell:
        nonlocal sessions
        sessions += 1
        return open_next()

    runner = DirectRunner(
        waiting_rows,
        open_shell,
        progress=progress,
        stop=lambda: False,
        on_stuck=lambda error: pytest.fail(str(error)),
    )
    # when none is handled, then the runner ends and the process with it, in its first session
    with pytest.raises(StallError, match=r"rows are waiting but none was handled for 0.5 s"):
        runner.run()
    assert sessions == 1


def test_a_stall_in_a_call_that_does_not_return_ends_the_process(
    waiting_rows: Settings, open_routes: OpenRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a session that hangs in a call
    monkeypatch.setattr(direct_runner, "STUCK_S", 0.2)
    ended = threading.Event()
    monkeypatch.setattr(direct_runner.Session, "run", lambda *_: ended.wait(30))
    status = WorkerStatus(progress := Progress(waiting_rows.worker.stall_timeout_s))
    errors: list[str] = []

    def on_stuck(error: Exception) -> None:
        errors.append(str(error))
        ended.set()

    open_shell = worker._shell_opener(
        open_routes(settings=waiting_rows), waiting_rows, status, lambda: False, direct=True
    )
    # when the limit has passed
    DirectRunner(waiting_rows, open_shell, progress=progress, stop=lambda: False, on_stuck=on_stuck).run()
    # then the process is told to exit, with the same message
    assert errors == ["rows are waiting but none was handled for 0.5 s (worker.stall_timeout_s)"]


def test_partitions_that_come_while_a_session_is_left_are_not_taken_over(
    settings: Settings, open_routes: OpenRoutes
) -> None:
    # given a session that lost its partitions and has been left: its publisher is gone
    shell = Shell(open_routes(settings=settings), settings, Publisher(settings))
    session = direct_session.Session(settings, shell, Progress(12.0))
    consumer = session._consumer
    session.abandon()
    # when the group's answer to its last question comes while its client closes, then that ends no worker
    session._assigned(consumer, [TopicPartition(shell.topics[0], 0)])
    assert shell.pipeline.partitions == {}
