"""What each thread is in the middle of, where that is a call into foreign code that may never return.

A thread in such a call cannot look at a clock; `wheeltapper.stream.watchdog` does, from another one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

_calls: dict[int, Call] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call; another object each time.

    Attributes:
        kind: of a graph, or of a Kafka client.
        what: for a person: of a graph the bundle's id, of a client the function's name.
        machines: of a graph, whose windows are in its batch.
        windows: of a graph, in its batch.
    """

    kind: Literal["graph", "kafka"]
    what: str
    machines: Sequence[str] = ()
    windows: int = 0


@contextmanager
def running(call: Call) -> Iterator[None]:
    """Say that this thread is in this call until the block ends."""
    thread = threading.get_ident()
    before = _calls.get(thread)
    _calls[thread] = call
    try:
        yield
    finally:
        if before is None:
            del _calls[thread]
        else:
            _calls[thread] = before


def calls() -> Mapping[int, Call]:
    """Thread -> the call that it is in; a copy."""
    return dict(_calls)
