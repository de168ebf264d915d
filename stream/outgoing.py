"""What all that is published has in common: the form of alerts, headers, and numbers."""

from __future__ import annotations

from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.schemas.topics import ALERTS
from wheeltapper.stream.records import Output

JSON_HEADERS = (("content-type", b"application/json"),)


def alert_output(alert: AlertEvent) -> Output:
    """An AlertEvent as a message, keyed by its machine, without its microphone."""
    return Output(ALERTS, record_key(alert.machine), alert.model_dump_json().encode(), JSON_HEADERS)


def short(score: float) -> float:
    """Six digits: what is behind them depends on how windows were batched, and nobody acts on it."""
    return float(f"{score:.6g}")
