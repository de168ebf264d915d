"""What every confluent-kafka client of the worker is made with, and whether a broker is there at all."""

from __future__ import annotations

import time
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from wheeltapper.stream.settings import KafkaSettings, confluent_config

log = structlog.get_logger(__name__)

# A client without a broker says so many times a second; once a minute is enough for a person.
OUTAGE_NOTICE_S = 60.0

ANSWER_TIMEOUT_S = 3.0


def client_config(kafka: KafkaSettings, **options: Any) -> dict[str, Any]:
    """A client's configuration: how to reach the brokers, its own lines and errors to our log, and `options`."""
    return {**confluent_config(kafka), "logger": _ClientLog(), "error_cb": _Outages(kafka.brokers), **options}


def broker_answers(kafka: KafkaSettings) -> bool:
    """False while no broker can be reached: then silence is not the end of the stream, and waiting no fault of ours."""
    try:
        AdminClient(client_config(kafka)).list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException:
        return False
    return True


class _ClientLog:
    """librdkafka's own lines go to the structured log instead of the terminal."""

    def log(self, level: int, message: str, *arguments: object) -> None:
        text = message % arguments if arguments else message
        log.debug("kafka client", level=level, text=text)

    def isEnabledFor(self, level: int) -> bool:
        return True


class _Outages:
    """Tells of a broker that is away, seldom; other errors of a client are followed by an exception or mend themselves."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._told = -OUTAGE_NOTICE_S

    def __call__(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._told > OUTAGE_NOTICE_S:
            self._told = time.monotonic()
            log.warning("no broker can be reached, waiting for one", brokers=self._brokers)
        else:
            log.debug("kafka client error", error=str(error))
