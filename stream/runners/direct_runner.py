"""The direct runner: a confluent-kafka consume loop, with transactions where the broker has them.

A session lasts from subscribing to the first failure; a new one then starts from the last commit, so that a broker may
go away and come back at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.kafka_client import broker_answers
from wheeltapper.stream.kafka_errors import PublishError, refusal
from wheeltapper.stream.progress import Progress, StallError
from wheeltapper.stream.runners.direct_session import InputChanged, PartitionsLost, Session
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell

log = structlog.get_logger(__name__)

# How often a pause looks whether the worker is to stop.
LOOK_S = 0.1

# Wait after a failed session; doubled up to the limit, to spare a broker that is starting.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0

# How often progress is looked at, and how often a broker with nothing new must answer to count as reachable.
WATCH_S, ANSWER_INTERVAL_S = 0.2, 5.0

# After a stall the session is left in this time; the process exits without it otherwise.
STUCK_S = 10.0


class DirectRunner:
    """Runs one shell after the other until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        open_shell: Callable[[], Shell],
        *,
        progress: Progress,
        stop: Callable[[], bool],
        on_stuck: Callable[[Exception], None],
        until_idle_s: float | None = None,
    ) -> None:
        """
        Args:
            open_shell: gives a fresh shell with a started publisher; called for every session.
            stop: asked between batches.
            on_stuck: called in another thread where a stalled session does not end: must exit the process.
            until_idle_s: end once the input has been read to its end and stayed quiet that long.
        """
        self._settings = settings
        self._open_shell = open_shell
        self._progress = progress
        self._stop = stop
        self._on_stuck = on_stuck
        self._until_idle_s = until_idle_s
        self._session: Session | None = None
        self._stalled: StallError | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Work until stopped or idle.

        Raises:
            InputError: the broker refuses this client: credentials, rights, a topic that does not exist.
            StallError: rows wait and none was handled, or sessions failed, for `worker.stall_timeout_s`.
        """
        threading.Thread(target=self._watch, name="progress", daemon=True).start()
        try:
            self._run_sessions()
        finally:
            self._ended.set()

    def _run_sessions(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stop():
            started = time.monotonic()
            shell: Shell | None = None
            session: Session | None = None
            try:
                shell = self._open_shell()
                self._session = session = Session(self._settings, shell, self._progress)
                session.run(self._should_stop, self._until_idle_s)
                shell.close()
                return
            except (KafkaException, PublishError, TimeoutError, PartitionsLost, InputChanged, StallError) as error:
                self._session = None
                if shell is not None:
                    shell.close()
                if session is not None:
                    session.abandon()
                elif shell is not None:
                    shell.publisher.abandon()
                if isinstance(error, StallError):
                    raise
                refused = refusal(error)
                if refused:
                    raise InputError(refused) from error
                if self._stop():
                    log.warning(
                        "stopped without a final commit; the next start repeats the rows after the last one",
                        error=str(error),
                    )
                    return
                self._check_failing(error)
                if time.monotonic() - started > 60:
                    backoff_s = FIRST_BACKOFF_S
                log.warning("session failed, restarting from the last commit", error=str(error), wait_s=backoff_s)
                self._pause(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop():
            time.sleep(LOOK_S)

    def _should_stop(self) -> bool:
        if self._stalled is not None:
            raise self._stalled
        return self._stop()

    def _check_failing(self, error: Exception) -> None:
        if self._progress.problem() is not None:
            self._progress.broker(broker_answers(self._settings.kafka))
            self._progress.check_failing(error)

    # -- in a thread of its own: the loop cannot tell that it is stuck ------------------------------------------------

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_S):
            try:
                self._look()
            except StallError as error:
                self._stalled = error
                if not self._ended.wait(STUCK_S):
                    self._on_stuck(error)
                return

    def _look(self) -> None:
        progress = self._progress
        if progress.should_ask() or (self._is_at_end() and progress.unheard_s > ANSWER_INTERVAL_S):
            progress.broker(broker_answers(self._settings.kafka))
        progress.look(self._is_at_end())
        progress.check()

    def _is_at_end(self) -> bool | None:
        session = self._session
        return session.is_at_end() if session is not None else None
