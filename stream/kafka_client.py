"""Configuration shared by the worker's confluent-kafka clients, and a check whether a broker answers."""

from __future__ import annotations

import time
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from wheeltapper.stream.settings import KafkaSettings, confluent_config

log = structlog.get_logger(__name__)

# A client without a broker reports it many times a second; the log gets one line a minute.
OUTAGE_NOTICE_S = 60.0

ANSWER_TIMEOUT_S = 3.0


def client_config(kafka: KafkaSettings, **options: Any) -> dict[str, Any]:
    """Configuration of a client: broker address, log and error callbacks, and `options`."""
    return {**confluent_config(kafka), "logger": _ClientLog(), "error_cb": _Outages(kafka.brokers), **options}


def broker_answers(kafka: KafkaSettings) -> bool:
    """Whether a broker can be reached. Without one, silence is neither the end of the stream nor a stall."""
    try:
        AdminClient(client_config(kafka)).list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException:
        return False
    return True


class _ClientLog:
    """Writes librdkafka's log lines to the structured log instead of the terminal."""

    def log(self, level: int, message: str, *arguments: object) -> None:
        text = message % arguments if arguments else message
        log.debug("kafka client", level=level, text=text)

    def isEnabledFor(self, level: int) -> bool:
        return True


class _Outages:
    """Logs an unreachable broker at most once a minute; other client errors raise an exception or recover."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._told = -OUTAGE_NOTICE_S

    def __call__(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._told > OUTAGE_NOTICE_S:
            self._told = time.monotonic()
            log.warning("no broker can be reached, waiting for one", brokers=self._brokers)
        else:
            log.debug("kafka client error", error=str(error))
