"""The maintenance calendar: which windows of which machine lie in it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wheeltapper.stream.core.calendar import Calendar, MaintenanceSpan

TIMES = np.arange(0, 100, 10, dtype=np.int64)


def test_a_span_holds_for_its_machines_from_its_start_to_before_its_end() -> None:
    # Given maintenance of all pumps
    calendar = Calendar()
    calendar.add(MaintenanceSpan("pump-*", 20, 50))
    # Then a pump's windows in it are marked, its end is not, and other machines are not in it
    found = calendar.mask("pump-7", TIMES)
    assert found is not None
    assert TIMES[found].tolist() == [20, 30, 40]
    assert calendar.mask("press-1", TIMES) is None
    assert calendar.mask("pump-7", TIMES[:2]) is None


def test_sources_are_asked_for_the_times_at_hand() -> None:
    asked = []

    def source(first: int, last: int) -> list[MaintenanceSpan]:
        asked.append((first, last))
        return [MaintenanceSpan("*", 0, 5)]

    found = Calendar([source]).mask("any", TIMES)
    assert asked == [(0, 90)]
    assert found is not None
    assert found.tolist() == [True] + [False] * 9


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "*"]), st.integers(0, 99), st.integers(1, 40)), max_size=5),
    st.integers(1, 9),
)
def test_how_windows_are_grouped_changes_nothing(spans: list[tuple[str, int, int]], cut: int) -> None:
    calendar = Calendar()
    for machines, start, length in spans:
        calendar.add(MaintenanceSpan(machines, start, start + length))

    def marked(times: np.ndarray) -> list[bool]:
        found = calendar.mask("a", times)
        return [False] * len(times) if found is None else found.tolist()

    assert marked(TIMES) == marked(TIMES[:cut]) + marked(TIMES[cut:])
