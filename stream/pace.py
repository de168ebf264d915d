"""How much is taken at a time: bounded in memory by values and bytes, and in time by what was measured.

None of it changes what comes out: how input is cut into pieces changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.settings import Settings

STEP_S = 1.0
"""What one step of work should take: between two of them the runner commits, answers its group and looks whether it is to stop."""

SHARE_OF_LIMIT = 0.1
"""A step takes at most so much of `worker.stall_timeout_s` and `kafka.max_poll_interval_ms`."""

MOST_BYTES = 16 * 2**20
"""Of messages that are read at a time: parsed they may take thirty times as much."""

FIRST_MESSAGES, FIRST_ROW_S = 500, 1e-3
"""Taken at a time, and what an entry takes beside its scores, until that has been measured."""

GROWTH = 8
"""What is taken at a time grows at most so fast from one step to the next."""

FORGETS = 0.5
"""Weight of what was measured before, against the newest step."""


class Pace:
    """Measures steps, and says how much the next may hold.

    Attributes:
        most_messages: for the next piece.
        most_values, most_s: that a step may hold, and take.
        values: held by the step so far; seconds: that it is expected to take.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.perf_counter) -> None:
        """
        Args:
            clock: seconds.
        """
        limits = (settings.worker.stall_timeout_s, settings.kafka.max_poll_interval_ms / 1000)
        self.most_s = min(STEP_S, SHARE_OF_LIMIT * min(limits))
        self.most_values = settings.worker.max_batch_values
        self.most_messages = min(FIRST_MESSAGES, settings.worker.max_batch_messages)
        self.values = 0.0
        self.seconds = 0.0
        self._largest = settings.worker.max_batch_messages
        self._clock = clock
        self._entry_s = FIRST_ROW_S
        self._entries = self._scored_s = 0.0
        self._began = clock()
        self._whole_s = 0.0
        self._messages = 0

    def begin(self, scoring_s: float) -> None:
        """A step begins, or goes on after others had their turn; `scoring_s` is what onnxruntime has taken so far, in all."""
        self._began, self._scored_s = self._clock(), scoring_s
        self.values = self.seconds = self._entries = 0.0

    def took(self, messages: int) -> None:
        """So many messages have been taken in whole."""
        self._messages += messages

    def expect(self, runtimes: Iterable[RuleRuntime], entries: int, size: int) -> tuple[float, float]:
        """(values, seconds) that `entries` of a machine, rows or samples, mean for memory and time, with scores and all.

        Args:
            runtimes: of the rules that serve it.
            size: values that they are themselves.
        """
        values_each, seconds_each = 0.0, self._entry_s
        for runtime in runtimes:
            values_each += runtime.scorer.values_per_window / runtime.rule.stride
            seconds_each += runtime.scorer.seconds_per_window / runtime.rule.stride
        return size + entries * values_each, entries * seconds_each

    def add(self, values: float, seconds: float, entries: int) -> None:
        """Note what `expect` said of entries that are taken in."""
        self.values += values
        self.seconds += seconds
        self._entries += entries

    @property
    def is_full(self) -> bool:
        """True where the step should take nothing more."""
        return self.values >= self.most_values or self.seconds >= self.most_s

    def has_room(self, values: float, seconds: float) -> bool:
        """True where so much more fits into the step."""
        return self.values + values <= self.most_values and self.seconds + seconds <= self.most_s

    def share(self, values: float, seconds: float) -> float:
        """Which part of so much a step of its own may hold; 1.0: all of it."""
        return min(1.0, self.most_values / max(values, 1.0), self.most_s / max(seconds, 1e-9))

    def end(self, scoring_s: float, *, whole: bool) -> None:
        """The step's work is done, judged and all.

        Args:
            whole: no message is half done.
        """
        elapsed = self._clock() - self._began
        self._whole_s += elapsed
        if self._entries:
            beside = max(elapsed - (scoring_s - self._scored_s), 0.0) / self._entries
            self._entry_s = FORGETS * self._entry_s + (1 - FORGETS) * beside
        if whole:
            if self._messages:
                fitting = self._messages * self.most_s / max(self._whole_s, 1e-9)
                self.most_messages = max(1, min(int(fitting), GROWTH * self.most_messages, self._largest))
            self._whole_s, self._messages = 0.0, 0
