"""How long alerts take, from the row's own time and from the broker's, until they are given to Kafka."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import orjson

from wheeltapper.stream.core.counters import Counters, observe
from wheeltapper.stream.core.distribution import LATENCY_BOUNDS
from wheeltapper.stream.records import Output, PartitionBatch

EVENT = "event"
"""From the event time of the row that led to it: the sender's delay, and the lag of a detector, are part of it."""
BROKER = "broker"
"""From the time that the record came to the broker, or was sent, as the topic's setting says."""


def note_latencies(counters: Counters, alerts: Sequence[Output], taken: Sequence[PartitionBatch], now: float) -> None:
    """Count the latencies of alerts that opened or were updated by rows among those taken.

    Args:
        now: wall clock, seconds since 1970.
    """
    for output in alerts:
        alert = orjson.loads(output.value or b"{}")
        span = alert.get("input")
        if span is None or alert["event"] == "cleared":
            continue
        observe(counters.latencies, EVENT, LATENCY_BOUNDS, max(0.0, now - alert["time"] / 1e6))
        sent_ms = _timestamp_ms(taken, span["topic"], span["partition"], span["last_offset"])
        if sent_ms > 0:
            observe(counters.latencies, BROKER, LATENCY_BOUNDS, max(0.0, now - sent_ms / 1e3))


def _timestamp_ms(taken: Sequence[PartitionBatch], topic: str, partition: int, offset: int) -> int:
    """The record's timestamp; 0 where it has none, or is not among them."""
    for batch in taken:
        if batch.topic == topic and batch.partition == partition:
            place = bisect_left(batch.offsets, offset)
            if place < len(batch.timestamps_ms) and batch.offsets[place] == offset:
                return batch.timestamps_ms[place]
    return 0
