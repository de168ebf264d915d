"""The Faust app of a worker, from its settings: without a web server, tables, or topics of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faust
from faust.types import TopicT
from faust.types.auth import SASLMechanism
from yarl import URL

from wheeltapper.stream.runners.faust_consumer import FetchTransport
from wheeltapper.stream.runners.faust_import import NoHttpClient
from wheeltapper.stream.runners.tls import ssl_context
from wheeltapper.stream.settings import KafkaSettings, Settings

# Limit of fetches that wait for the agent: the next is read when it is done with the last.
WAITING_FETCHES = 1


def make_app(settings: Settings) -> faust.App:
    """An app whose consumer is a `FetchConsumer`. To be called in the loop that will run it, as Faust's futures belong to it."""
    kafka = settings.kafka
    brokers = [URL(f"kafka://{address.strip()}") for address in kafka.brokers.split(",")]
    app = faust.App(
        kafka.group,
        broker=brokers,
        broker_credentials=_credentials(kafka),
        broker_session_timeout=kafka.session_timeout_ms / 1000,
        broker_heartbeat_interval=kafka.session_timeout_ms / 3000,
        broker_request_timeout=max(90.0, 3 * kafka.session_timeout_ms / 1000),
        broker_max_poll_interval=kafka.max_poll_interval_ms / 1000,
        broker_max_poll_records=settings.worker.max_batch_messages,
        broker_commit_interval=settings.worker.commit_interval_ms / 1000,
        consumer_auto_offset_reset="earliest",
        # So soon are partitions that were added noticed, and read.
        consumer_metadata_max_age_ms=round(settings.input.check_interval_s * 1000),
        stream_buffer_maxsize=WAITING_FETCHES,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        HttpClient=NoHttpClient,
    )
    # Tables would lie in its folders, and there are none. So no disk that is full or read-only keeps it from starting.
    app._create_directories = _nothing
    app.transport = FetchTransport(brokers, app=app)
    return app


def _nothing() -> None: ...


def add_agent(app: faust.App, topic: TopicT, function: Callable[[Any], Any], *, name: str) -> None:
    """Adds an agent as `app.agent(topic)` does, but to no catalogue for `autodiscover`, which would find out the file of every module."""
    agent = app.conf.Agent(function, name=name, app=app, channel=topic, on_error=app._on_agent_error)
    app.agents[name] = agent
    app.topics.beacon.add(agent)


def _credentials(kafka: KafkaSettings) -> Any:
    """Faust's form of the TLS and SASL settings; None without either."""
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl_context(kafka)
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.sasl_username or "",
        password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else "",
        ssl_context=context,
        mechanism=SASLMechanism(kafka.sasl_mechanism),
    )
