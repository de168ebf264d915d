"""When which machines are in maintenance: no alarms then, and nothing is learned. Event time alone counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from wheeltapper.schemas.machine_names import matches


@dataclass(frozen=True, slots=True)
class MaintenanceSpan:
    """
    Attributes:
        machines: id or pattern (fnmatch).
        start, until: event time (us); `until` is the first moment after it.
    """

    machines: str
    start: int
    until: int


SpanSource: TypeAlias = Callable[[int, int], Iterable[MaintenanceSpan]]
"""Gives the spans that meet the event times first..last (us), from a file or elsewhere."""


class Calendar:
    """Maintenance of all machines: spans that were added one by one, and those of sources."""

    def __init__(self, sources: Sequence[SpanSource] = ()) -> None:
        self._sources = tuple(sources)
        self._added: list[MaintenanceSpan] = []

    def add(self, span: MaintenanceSpan) -> None:
        """One more span; one that is known already changes nothing."""
        if span not in self._added:
            self._added.append(span)

    @property
    def is_empty(self) -> bool:
        """True where no machine can be in maintenance."""
        return not self._sources and not self._added

    def mask(self, machine: str, times: np.ndarray, patterned: str = "") -> np.ndarray | None:
        """Which of a machine's windows lie in its maintenance.

        Args:
            times: [k] int64 event time (us), rising; k is at least 1.
            patterned: another name by which it is meant too.

        Returns:
            [k] bool; None where none does.
        """
        if self.is_empty:
            return None
        first, last = int(times[0]), int(times[-1])
        spans = [span for span in self._added if span.start <= last and span.until > first]
        for source in self._sources:
            spans += source(first, last)
        found: np.ndarray | None = None
        for span in spans:
            if matches(span.machines, machine) or matches(span.machines, patterned):
                inside = (times >= span.start) & (times < span.until)
                found = inside if found is None else found | inside
        return found if found is not None and found.any() else None
