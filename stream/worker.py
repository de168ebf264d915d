"""A worker process: bundles, shell, runner, health. `wheeltapper worker` calls `run_worker`."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import structlog
from confluent_kafka import KafkaException

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.freed_memory import share_pools
from wheeltapper.stream.health import WorkerStatus
from wheeltapper.stream.health_server import serve_health
from wheeltapper.stream.input_watch import InputWatch
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.maintenance import maintenance_sources
from wheeltapper.stream.progress import Progress
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.routes import Routes, load_routes
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell
from wheeltapper.stream.start_from import StartFrom, parse_start, read_from
from wheeltapper.stream.topic_limits import topic_limits
from wheeltapper.stream.transactions import TransactionalId, broker_has_transactions
from wheeltapper.stream.watchdog import Watchdog, end_process

log = structlog.get_logger(__name__)

RUNNERS = ("faust", "direct")

FAILURE = "worker stops after a failure; nothing was committed past the last good batch"


def run_worker(
    bundles: Sequence[str],
    settings: Settings,
    *,
    runner: str,
    ensure_topics: Callable[[Collection[str]], None],
    renew_topics: Callable[[Collection[str]], None],
    until_idle_s: float | None = None,
    start_from: str | None = None,
) -> None:
    """Work until SIGTERM or SIGINT, or until the input has been idle for `until_idle_s` seconds.

    Args:
        ensure_topics: told the names, without prefix, of the topics that the bundles take their input from; when it returns, all
            topics exist, `state` with as many partitions as the input.
        renew_topics: told the same; makes topics that the worker writes, where they were deleted meanwhile.
        start_from: where to read the input from, as `parse_start` takes it; None: where the group is.

    Raises:
        InputError: a bundle, setting, broker address or right is wrong.
    """
    start = None if start_from is None else parse_start(start_from)
    share_pools()
    stopping = threading.Event()

    def stop(number: int) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopping.set())
    watchdog = Watchdog(graph_timeout_s=settings.scoring.graph_timeout_s, on_stop=stop)
    watchdog.start()
    progress = Progress(
        settings.worker.stall_timeout_s,
        ready_s=settings.worker.ready_timeout_s,
        rejoin_s=settings.kafka.max_poll_interval_ms / 1000 + settings.state.restore_timeout_s,
    )
    status = WorkerStatus(progress)
    end_health = None
    if settings.worker.http_port:
        end_health = serve_health(status, settings.worker.http_host, settings.worker.http_port)
    try:
        routes = load_routes(bundles, settings)
        inputs = {kind.topic for kind in routes.kinds.values()}
        ensure_topics(inputs)
        _tune_gc()
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
        topics = [settings.topics.full_name(kind.topic) for kind in routes.kinds.values()]
        if start is not None:
            _read_from(settings, topics, start)
        open_shell = _shell_opener(
            routes, settings, status, stopping.is_set, partial(renew_topics, inputs), direct=runner == "direct"
        )
        log.info("working", runner=runner, brokers=settings.kafka.brokers, topics=topics)
        # Imported late: each runner brings its own client.
        if runner == "direct":
            from wheeltapper.stream.runners.direct_runner import DirectRunner

            with _exit_on_failure():
                DirectRunner(
                    settings,
                    open_shell,
                    progress=progress,
                    stop=stopping.is_set,
                    on_stuck=_exit_stuck,
                    until_idle_s=until_idle_s,
                ).run()
        else:
            from wheeltapper.stream.runners.faust_import import import_faust

            import_faust()
            from wheeltapper.stream.runners.faust_runner import FaustRunner

            with _exit_on_failure():
                faust = FaustRunner(
                    settings, open_shell, progress=progress, stop=stopping.is_set, until_idle_s=until_idle_s
                )
                faust.run()
            if faust.is_stuck:
                end_process(0, lambda: None)
    finally:
        watchdog.close()
        if end_health is not None:
            end_health()


def _read_from(settings: Settings, topics: Sequence[str], start: StartFrom) -> None:
    try:
        read_from(settings, topics, start)
    except (KafkaException, TimeoutError) as error:
        raise InputError(
            f"--from: the offsets could not be set ({refusal(error) or error}); nothing was read"
        ) from error


def _tune_gc() -> None:
    """Exempt what was loaded from garbage collection, and collect seldom.

    Messages leave no reference cycles behind, and looking for them took a tenth of the time. Those that starting leaves behind, a few
    kilobytes, stay: to find them takes longer than to load the bundle.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)


@contextmanager
def _exit_on_failure() -> Iterator[None]:
    """Exit immediately on a failure: threads of a crashed Faust app never end and would keep the process alive."""
    try:
        yield
    except BaseException as error:
        failure = error  # where the log cannot be written, as on a full disk, the process ends without a word

        def last_words() -> None:
            if isinstance(failure, InputError):
                print(f"wheeltapper: {failure}", file=sys.stderr)
            else:
                log.error(FAILURE, error=str(failure), exc_info=failure)

        end_process(2 if isinstance(error, InputError) else 1, last_words)


def _exit_stuck(error: Exception) -> None:
    """Exit from the watching thread: the runner's own does not return from a call."""
    end_process(1, lambda: log.error(FAILURE, error=str(error)))


def _shell_opener(
    routes: Routes,
    settings: Settings,
    status: WorkerStatus,
    stop: Callable[[], bool],
    renew_topics: Callable[[], None] = lambda: None,
    *,
    direct: bool,
) -> Callable[[], Shell]:
    identity: TransactionalId | None = None
    if direct and settings.worker.transactions != "off":
        if broker_has_transactions(settings):
            identity = TransactionalId(
                settings.kafka.group, settings.topics.full_name("sensors"), settings.worker.lock_folder
            )
        elif settings.worker.transactions == "on":
            raise InputError("worker.transactions is 'on' but the broker has none; set it to 'auto' or 'off'")
        else:
            log.info("no transactions: output is at least once, repeated alerts keep their ids")
    maintenance = maintenance_sources(settings.maintenance)
    limits = topic_limits(settings)
    watch = InputWatch(settings)
    watch.start()
    last: Publisher | None = None

    def ask_limits() -> Mapping[str, int]:
        nonlocal limits
        limits = topic_limits(settings)
        return limits

    def open_shell() -> Shell:
        nonlocal last
        if identity is not None and last is not None and last.fenced:
            # Another worker that does not see our lock uses the id, or a transaction exceeded its time limit.
            identity.move_on()
            log.warning("another worker took the transactional id; continuing with the next", id=identity.value)
        if last is not None and last.was_too_large:
            ask_limits()
        if last is not None and last.lost_topic:
            try:
                renew_topics()
            except (
                InputError
            ) as error:  # sessions go on failing, and end the process in time, where that does not change
                log.warning("topics that were deleted cannot be made anew now", error=str(error))
        publisher = last = Publisher(
            settings,
            transactional_id=identity.value if identity else None,
            limits=limits,
            ask_limits=ask_limits,
            stop=stop,
        )
        try:
            publisher.start()
        except BaseException:
            publisher.abandon()
            raise
        shell = Shell(routes, settings, publisher, stop, maintenance=maintenance, watch=watch)
        shell.follow_control()
        status.follow(shell)
        return shell

    return open_shell
