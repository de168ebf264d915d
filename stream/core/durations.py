"""Durations of alerts in event time: a scored window stands for the interval up to the next one.

So ten windows in a row at one a minute last ten minutes, one window of an hourly machine lasts an hour, and a gap, in which
nobody saw the machine, counts for some intervals at most.
"""

from __future__ import annotations

from wheeltapper.stream.core.policies import AlarmRules

# The clear duration without a setting: so many intervals between scored windows, but no more than that.
CLEAR_INTERVALS = 30
MOST_CLEAR_S = 3_600.0
# What a gap between two windows counts for at most, in intervals and at least in microseconds.
GAP_INTERVALS = 10
# Clocks jitter: a duration is reached that share of an interval early, else ten minutes would take eleven windows.
JITTER = 10


class Durations:
    """A policy's durations for windows `interval_s` apart, in microseconds.

    Attributes:
        interval: between scored windows.
        minimum, clear: above the raise level before an alert opens, below the clear level before it clears.
        cool_down, reopen: see `AlarmPolicy`.
        most: what the time between two windows counts for at most.
    """

    __slots__ = ("clear", "cool_down", "interval", "minimum", "most", "reopen")

    def __init__(self, policy: AlarmRules, interval_s: float) -> None:
        clear_s = policy.clear_duration_s
        if clear_s is None:
            clear_s = min(CLEAR_INTERVALS * interval_s, MOST_CLEAR_S)
        self.interval = max(1, round(interval_s * 1e6))
        self.minimum = round(policy.min_duration_s * 1e6) - self.interval // JITTER
        self.clear = round(clear_s * 1e6) - self.interval // JITTER
        self.cool_down = round(policy.cool_down_s * 1e6)
        self.reopen = round(policy.reopen_s * 1e6)
        self.most = GAP_INTERVALS * self.interval

    def since(self, before: int, now: int) -> int:
        """Microseconds from one window's event time to the next one's, as far as they count; a clock set back counts 0."""
        return min(max(now - before, 0), self.most)

    def grown(self, lasted: int, before: int, now: int) -> int:
        """How long a state lasts with the window at `now`, where it lasted `lasted` (0: it begins) with that at `before`."""
        return lasted + self.since(before, now) if lasted else self.interval
