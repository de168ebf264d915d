"""When a worker is not ready, when it has stalled, and when the broker is to blame."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from wheeltapper.stream.progress import Progress, StallError


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    """Of a worker that may be without progress for 12 s, from 100 s on."""
    return Progress(12.0, clock)


def test_rows_that_wait_longer_than_allowed_are_a_stall(clock: Clock, progress: Progress) -> None:
    # given rows that wait
    progress.look(at_end=False)
    # when none is handled for 12 s, then that is no stall
    clock.now = 112.0
    progress.check()
    assert progress.problem() is None
    # and longer is: not ready, and the process is to end
    clock.now = 112.1
    assert "rows are waiting but none was handled for 12 s (worker.stall_timeout_s" in str(progress.problem())
    with pytest.raises(StallError, match=r"rows are waiting but none was handled for 12 s \(worker.stall_timeout_s\)"):
        progress.check()
    # and a row handled ends it
    progress.handled()
    progress.look(at_end=False)
    progress.check()
    assert progress.problem() is None


def test_a_quiet_topic_read_to_its_end_at_a_broker_that_answers_is_progress(clock: Clock, progress: Progress) -> None:
    # given a topic without new rows for an hour
    for _ in range(3600):
        clock.now += 1
        progress.broker(answers=True)
        progress.look(at_end=True)
    # then the worker is ready
    progress.check()
    assert progress.problem() is None


@pytest.mark.parametrize("at_end", [True, False, None])
def test_without_a_broker_a_worker_is_not_ready_and_does_not_end(
    clock: Clock, progress: Progress, at_end: bool | None
) -> None:
    # given a broker that goes away, wherever the worker stands
    for _ in range(30):
        clock.now += 1
        progress.broker(answers=False)
        progress.look(at_end)
        # then the process does not end, but it is not ready once the limit has passed
        progress.check()
        assert (progress.problem() is not None) == (clock.now > 112.0)
    assert "no broker answers" in str(progress.problem())
    # when it is back and rows wait, then their time counts from there on
    progress.broker(answers=True)
    progress.look(at_end=False)
    clock.now += 12
    progress.check()
    clock.now += 0.1
    with pytest.raises(StallError):
        progress.check()
    # and once all is read the worker is ready again
    progress.look(at_end=True)
    assert progress.problem() is None


def test_time_in_which_nobody_could_know_of_rows_ends_no_process(clock: Clock, progress: Progress) -> None:
    # given a worker without partitions for 30 s, at a broker that answers
    for _ in range(30):
        clock.now += 1
        progress.broker(answers=True)
        progress.look(at_end=None)
        progress.check()
    # then it is not ready
    assert "no progress for 30 s" in str(progress.problem())


def test_the_broker_is_asked_once_silence_gets_long_and_then_not_at_every_look(
    clock: Clock, progress: Progress
) -> None:
    # given a silence of half of what is allowed
    clock.now = 106.0
    assert not progress.should_ask()
    # when it gets longer, then the broker is asked, and again a tenth of the time later
    clock.now = 106.1
    assert progress.should_ask()
    progress.broker(answers=True)
    clock.now = 107.0
    assert not progress.should_ask()
    clock.now = 107.4
    assert progress.should_ask()


def test_sessions_that_fail_without_end_at_a_broker_that_answers_end_the_process(
    clock: Clock, progress: Progress
) -> None:
    # given sessions that fail: for 12 s a new one may be tried
    clock.now = 112.0
    progress.check_failing(TimeoutError("state was not restored"))
    # when they go on failing while the broker is away, then one may still be tried
    clock.now = 130.0
    progress.broker(answers=False)
    progress.check_failing(TimeoutError("no broker"))
    # and from its return on the time counts
    progress.broker(answers=True)
    clock.now = 142.1
    with pytest.raises(StallError, match=r"every session failed for 12 s .*state was not restored"):
        progress.check_failing(TimeoutError("state was not restored"))


def test_a_worker_is_not_ready_long_before_it_is_ended(clock: Clock) -> None:
    # given a worker that may be without progress for two minutes, and counts as ready for 15 s of that
    progress = Progress(120.0, clock, ready_s=15.0)
    # when rows wait and none is handled, as in a call that does not return
    for _ in range(15):
        clock.now += 1
        progress.look(at_end=False)
        assert progress.problem() is None
    clock.now += 1
    progress.look(at_end=False)
    # then it is not ready, and says why; and the process goes on
    assert progress.problem() == "rows are waiting but none was handled for 16 s (worker.ready_timeout_s is 15)"
    progress.check()
    # and the broker has been asked whether it is there, to know whom to blame
    assert progress.should_ask()
    progress.broker(answers=False)
    progress.look(at_end=False)
    assert "no broker answers: no progress for 16 s" in str(progress.problem())
    # and the first row makes it ready again
    progress.handled()
    assert progress.problem() is None


def test_readiness_is_never_given_longer_than_a_stall(clock: Clock) -> None:
    # given a stall limit below that of readiness, then it is the limit of both
    progress = Progress(5.0, clock, ready_s=15.0)
    clock.now += 5.1
    assert "worker.stall_timeout_s is 5" in str(progress.problem())


def test_a_group_that_gives_no_partitions_ends_the_process_in_time(clock: Clock) -> None:
    # given a worker that may wait 30 s for its partitions, beside the 12 s of a stall
    progress = Progress(12.0, clock, rejoin_s=30.0)
    for second in range(1, 43):
        clock.now += 1
        progress.broker(answers=True)
        progress.look(at_end=None)
        progress.check()
        if second > 12:
            assert "the group gives this worker no partitions: no progress for" in str(progress.problem())
    # when it has waited longer than that, then the process is to end
    clock.now += 1.1
    with pytest.raises(StallError, match=r"the group has given this worker no partitions for 42 s \(kafka\.max_poll"):
        progress.check()
    # and neither time without a broker nor time with partitions counts
    for change in (lambda: progress.broker(answers=False), lambda: progress.look(at_end=False), progress.handled):
        change()
        progress.look(at_end=None)
        clock.now += 41.9
        progress.check()


def test_what_readyz_says_is_in_the_log_too_once(
    clock: Clock, progress: Progress, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given rows that wait for a minute
    for _ in range(60):
        clock.now += 1
        progress.broker(answers=False)
        progress.look(at_end=False)
    # when they are handled then
    progress.handled()
    progress.look(at_end=True)
    # then each change is one line
    assert [(line["event"], line.get("reason", "")[:18]) for line in log_lines] == [
        ("not ready", "no broker answers:"),
        ("ready again", ""),
    ]
