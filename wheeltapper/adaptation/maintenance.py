"""Maintenance from the calendar of the settings, as spans of rows that are not learned from; commands come beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wheeltapper.schemas.machine_names import matches
from wheeltapper.stream.core.calendar import SpanSource
from wheeltapper.training.adaptation.service.presumed_normal import Span


def maintenance_spans(sources: Sequence[SpanSource], machine: str, first: int, last: int) -> Iterator[Span]:
    """When a machine was in maintenance between two event times (us), both included.

    Raises:
        InputError: an event of the calendar cannot be read.
    """
    for source in sources:
        for span in source(first, last):
            if matches(span.machines, machine):
                yield span.start, span.until - 1
