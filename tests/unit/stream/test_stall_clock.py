"""When waiting rows are a stall, and when the broker is to blame."""

from __future__ import annotations

from wheeltapper.stream.runners.stopping import StallClock


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rows_that_wait_longer_than_allowed_are_a_stall() -> None:
    # given a worker that handled its last row at 100 s and may be silent for 12 s
    clock = Clock()
    stall = StallClock(12.0, clock)
    # when it stays silent, then 12 s are no stall and more are
    clock.now = 112.0
    assert not stall.is_stalled(100.0)
    clock.now = 112.1
    assert stall.is_stalled(100.0)
    # and a row handled meanwhile ends it
    assert not stall.is_stalled(111.0)


def test_an_outage_during_which_nobody_could_know_of_rows_does_not_count() -> None:
    # given a worker that for 30 s could not know whether rows wait, as its broker was away
    clock = Clock()
    stall = StallClock(12.0, clock)
    for _ in range(30):
        clock.now += 1
        stall.excuse()
    # when rows wait again, then silence counts from there on
    assert not stall.is_stalled(100.0)
    clock.now += 12
    assert not stall.is_stalled(100.0)
    clock.now += 0.1
    assert stall.is_stalled(100.0)


def test_the_broker_is_asked_once_silence_gets_long_and_then_not_at_every_look() -> None:
    # given a silence of half of what is allowed
    clock = Clock()
    stall = StallClock(12.0, clock)
    clock.now = 106.0
    assert not stall.should_ask(100.0)
    # when it gets longer, then the broker is asked, and again a tenth of the time later
    clock.now = 106.1
    assert stall.should_ask(100.0)
    clock.now = 107.0
    assert not stall.should_ask(100.0)
    clock.now = 107.4
    assert stall.should_ask(100.0)
