"""A worker process: bundles, engine, runner, health. `wheeltapper worker` calls `run_worker`."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.engine import Engine
from wheeltapper.stream.health import WorkerStatus, serve_health
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.routes import Routes, load_routes
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.transactions import TransactionalId, broker_has_transactions

log = structlog.get_logger(__name__)

RUNNERS = ("faust", "direct")

# Brokers take messages of this size unless they are told otherwise.
DEFAULT_MESSAGE_BYTES = 1_048_588


def run_worker(bundles: Sequence[str], settings: Settings, *, runner: str, until_idle_s: float | None = None) -> None:
    """Work until SIGTERM or SIGINT, or until the input has been idle for `until_idle_s` seconds.

    The topics must be there, `state` with as many partitions as the input.

    Raises:
        InputError: a bundle, setting, broker address or right is wrong.
    """
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    status = WorkerStatus(settings.worker)
    end_health = None
    if settings.worker.http_port:
        end_health = serve_health(status, settings.worker.http_host, settings.worker.http_port)
    try:
        routes = load_routes(bundles, settings)
        _calm_collector()
        for rule in routes.rules:
            manifest = rule.manifest
            log.info(
                "bundle loaded",
                bundle=manifest.bundle_id,
                detector=manifest.detector,
                channels=len(manifest.channels),
                window=manifest.window,
                stride=rule.stride,
                device=rule.graph.device,
            )
        open_engine = _engine_opener(routes, settings, status, stopping.is_set, direct=runner == "direct")
        log.info("working", runner=runner, brokers=settings.kafka.brokers, topic=settings.topics.full_name("sensors"))
        # Imported late: each runner brings its own client.
        if runner == "direct":
            from wheeltapper.stream.runners.direct_runner import DirectRunner

            DirectRunner(settings, open_engine, stop=stopping.is_set, until_idle_s=until_idle_s).run()
        else:
            from wheeltapper.stream.runners.faust_runner import FaustRunner

            with _no_thread_left_behind():
                faust = FaustRunner(settings, open_engine, stop=stopping.is_set, until_idle_s=until_idle_s)
                faust.run()
            if faust.is_stuck:
                _end_process(0)
    finally:
        if end_health is not None:
            end_health()


def _calm_collector() -> None:
    """What was loaded stays; messages come in thousands and leave no cycles behind: looking for them was a tenth of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)


@contextmanager
def _no_thread_left_behind() -> Iterator[None]:
    """End the process at once on a failure: threads of a Faust app that crashed wait for ever, and so would the process."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, InputError):
            print(f"wheeltapper: {error}", file=sys.stderr)
        else:
            log.exception("the worker ends itself; nothing was committed past the last good batch", error=str(error))
        _end_process(2 if isinstance(error, InputError) else 1)


def _end_process(code: int) -> NoReturn:
    """At once, whatever threads there still are."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _engine_opener(
    routes: Routes, settings: Settings, status: WorkerStatus, stop: Callable[[], bool], *, direct: bool
) -> Callable[[], Engine]:
    identity: TransactionalId | None = None
    if direct and settings.worker.transactions != "off":
        if broker_has_transactions(settings):
            identity = TransactionalId(settings.kafka.group, settings.topics.full_name("sensors"))
        elif settings.worker.transactions == "on":
            raise InputError("worker.transactions is 'on' but the broker has none; set it to 'auto' or 'off'")
        else:
            log.info("no transactions: output is at least once, repeated alerts keep their ids")
    largest = _largest_message(settings, settings.topics.full_name("dead-letters"))
    last: Publisher | None = None

    def open_engine() -> Engine:
        nonlocal last
        if identity is not None and last is not None and last.fenced:
            # By a worker that does not see our lock, or because a transaction took longer than it may.
            identity.move_on()
            log.warning("the transactional id was taken from this worker", goes_on_as=identity.value)
        publisher = last = Publisher(
            settings,
            transactional_id=identity.value if identity else None,
            largest_dead_letter=largest,
            stop=stop,
        )
        try:
            publisher.start()
        except BaseException:
            publisher.abandon()
            raise
        engine = Engine(routes, settings, publisher, stop)
        status.follow(engine)
        return engine

    return open_engine


def _largest_message(settings: Settings, topic: str) -> int:
    """The topic's max.message.bytes; Kafka's default where the broker does not tell."""
    client = AdminClient(client_config(settings.kafka))
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        answer = client.describe_configs([resource], request_timeout=10.0)[resource].result(10.0)
        return int(answer["max.message.bytes"].value)
    except (KafkaException, KeyError, TypeError, ValueError, TimeoutError):
        return DEFAULT_MESSAGE_BYTES
