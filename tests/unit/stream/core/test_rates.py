"""Rows that come at another rate than the bundle's are noticed once, however they are grouped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.policies import WindowPolicy
from wheeltapper.stream.core.rates import MOST_LINES, STEPS, RateCheck, tell_of_rate
from wheeltapper.stream.core.row_memory import RowBlock, RowLayout, RowMemory

SECOND = 1_000_000


def taken(step_us: int, rows: int, counters: Counters, group: int = 7) -> None:
    """Rows of a machine whose bundle's interval is a second, in groups."""
    memory = RowMemory(RowLayout(("a",), SECOND, np.zeros(1, dtype=np.float32), window=4))
    for first in range(0, rows, group):
        numbers = np.arange(first, min(first + group, rows), dtype=np.int64)
        block = RowBlock(numbers, step_us * (numbers + 1), np.ones((len(numbers), 1), dtype=np.float32))
        for _ in memory.take(block, WindowPolicy(), counters, "pump-1"):
            pass


@pytest.mark.parametrize(
    ("step_s", "said"), [(1.0, False), (1.2, False), (0.85, False), (10.0, True), (1.3, True), (0.1, True)]
)
def test_another_rate_is_said_once(step_s: float, said: bool) -> None:
    # given many rows of a rate, when they are taken in
    counters = Counters()
    with capture_logs() as lines:
        taken(round(step_s * SECOND), 500, counters)
    # then one line and the counter say so where it is not the bundle's
    assert [line["every_s"] for line in lines] == ([step_s] if said else [])
    assert counters.odd_rates == int(said)


def test_a_few_rows_say_nothing() -> None:
    counters = Counters()
    taken(10 * SECOND, STEPS, counters)
    assert counters.odd_rates == 0


def test_machines_beyond_the_first_are_counted_only() -> None:
    # given a whole plant at another rate
    counters = Counters()
    with capture_logs() as lines:
        for machine in range(100):
            tell_of_rate(10.0 * SECOND, SECOND, counters, f"pump-{machine}", readings=False)
    # when it is noticed, then the log stays short
    assert (len(lines), counters.odd_rates) == (MOST_LINES, 100)


@REPEATABLE
@given(
    steps=st.lists(st.integers(1, 9), min_size=1, max_size=80),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_grouping_changes_nothing(steps: list[int], sizes: list[int]) -> None:
    # given times
    times = np.cumsum(np.array(steps, dtype=np.int64))
    # when they come at once, or in groups
    whole, check, start, turn = RateCheck().see(times), RateCheck(), 0, 0
    found = None
    while start < len(times) and found is None:
        size = sizes[turn % len(sizes)]
        found, start, turn = check.see(times[start : start + size]), start + size, turn + 1
    # then the median of the first steps is the same
    assert found == whole
    assert (whole is None) == (len(times) <= STEPS)
