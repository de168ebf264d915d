"""When a runner with `until_idle_s` ends: every partition read to its end, and quiet for that long."""

from __future__ import annotations

import time
from collections.abc import Iterable

from wheeltapper.stream.partition import PartitionKey


class IdleClock:
    """Tells how long every assigned partition has been read to its end.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._assigned: set[PartitionKey] | None = None
        self._at_end: dict[PartitionKey, int] = {}
        """Partition -> the offset of its end when that was reached."""
        self._quiet_since = time.monotonic()

    def assign(self, partitions: Iterable[PartitionKey]) -> None:
        """The partitions that are read from now on."""
        self._assigned = set(partitions)
        self._at_end.clear()
        self._quiet_since = time.monotonic()

    def message(self, partition: PartitionKey) -> None:
        """A message of the partition was handled."""
        self._at_end.pop(partition, None)
        self._quiet_since = time.monotonic()

    def end(self, partition: PartitionKey, offset: int) -> None:
        """The partition was read to its end, which is at this offset."""
        self._at_end[partition] = offset

    def end_of(self, partition: PartitionKey) -> int | None:
        """The offset of the partition's end; None where it has not been reached, or messages came since."""
        return self._at_end.get(partition)

    def is_at_end(self) -> bool | None:
        """Whether every assigned partition has been read to its end; None where none has been assigned yet."""
        return None if self._assigned is None else self._assigned <= self._at_end.keys()

    def idle_s(self) -> float:
        """Seconds since the last message; 0 while some partition is not at its end or none has been assigned yet."""
        if not self.is_at_end():
            return 0.0
        return time.monotonic() - self._quiet_since
