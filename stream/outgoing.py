"""What all that is published has in common: the form of alerts, headers, and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.schemas.topics import ALERTS
from wheeltapper.stream.alert_sentence import sentence_of
from wheeltapper.stream.records import Output

if TYPE_CHECKING:
    from wheeltapper.stream.kinds.contract import Route

JSON_HEADERS = (("content-type", b"application/json"),)


def alert_output(alert: AlertEvent) -> Output:
    """An AlertEvent as a message with its sentence, keyed by its machine, without its microphone."""
    told = alert.model_copy(update={"message": sentence_of(alert)})
    return Output(ALERTS, record_key(alert.machine), told.model_dump_json().encode(), JSON_HEADERS)


def alert_outputs(alerts: Iterable[AlertEvent], route: Route | None = None) -> list[Output]:
    """Alerts of a route's machines as messages; without a route nobody knows where they stand."""
    return [alert_output(alert if route is None else route.placed(alert)) for alert in alerts]


def short(score: float) -> float:
    """Six digits: what is behind them depends on how windows were batched, and nobody acts on it."""
    return float(f"{score:.6g}")
