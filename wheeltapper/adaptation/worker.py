"""The loop of `wheeltapper adapt-worker`: reads topics, asks the service, runs jobs, publishes, commits.

On start the topics of the past are read whole: `models` (what serves), `adaptations` (what is decided), `alerts`,
`alarm-commands` and `drift`. Requests behind the group's offsets are history; those after them have no outcome yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import structlog

from wheeltapper.adaptation.labels import Judged, read_judged
from wheeltapper.adaptation.maintenance import maintenance_spans
from wheeltapper.adaptation.rows import RowCollector
from wheeltapper.adaptation.seat import Seat
from wheeltapper.control_messages import send
from wheeltapper.follow.follower import Follower, TopicRecord
from wheeltapper.follow.messages import received, topic_of
from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, DriftEvent
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.schemas.message import Message
from wheeltapper.schemas.topics import SCORES
from wheeltapper.stream.bundle_gate import open_trusted
from wheeltapper.stream.maintenance import maintenance_sources
from wheeltapper.stream.settings import Settings
from wheeltapper.training.adaptation.service.job import Job, Store, run_job
from wheeltapper.training.adaptation.service.life import (
    Action,
    Deploy,
    InputPosition,
    Life,
    Say,
    StartJob,
)
from wheeltapper.training.adaptation.service.pool import JobPool
from wheeltapper.training.adaptation.service.presumed_normal import Span
from wheeltapper.training.adaptation.service.service import AdaptationService
from wheeltapper.training.adaptation.service.serving import Serving
from wheeltapper.training.fitting.labels import together

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)

# Read in this order, at the start and in every turn: what serves and what is decided before what asks for more.
FOLLOWED: tuple[type[Message], ...] = (ActiveModel, AdaptationEvent, AlertEvent, DriftEvent, AlarmCommand)
REQUESTS = (DriftEvent, AlarmCommand)

# Looking for new rows opens a client.
COLLECT_INTERVAL_S = 2.0


def group_of(settings: Settings) -> str:
    """Consumer group of the adaptation workers."""
    return f"{settings.kafka.group}-adaptation"


class AdaptWorker:
    """Everything between the topics and `AdaptationService`."""

    def __init__(
        self, settings: Settings, given: Sequence[Serving], store: Store, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """
        Args:
            given: bundles that the workers were started with.
            store: where jobs and child bundles go.
            stop: asked often; once it is true, `run` ends.

        Raises:
            InputError: the maintenance calendar cannot be read.
        """
        self._settings = settings
        self._store = store
        self._stop = stop
        self._service = AdaptationService(
            settings.adaptation, false_alarms_per_day=settings.threshold.false_alarms_per_day, given=given
        )
        self._collectors: dict[str, RowCollector] = {}
        self._judged: dict[str, Judged] = {}
        self._maintenance = maintenance_sources(settings.maintenance)
        self._collected = 0.0
        self._read: dict[tuple[str, int], int] = {}
        self._scores: Follower | None = None
        self._scores_records: Iterator[TopicRecord | None] = iter(())
        self._busy = time.monotonic()

    def run(self, *, once: bool = False, until_idle_s: float | None = None) -> None:
        """Work until told to stop.

        Args:
            once: end when what lies in the topics has been handled and no job runs.
            until_idle_s: end when nothing has come and no job has run for so long.

        Raises:
            InputError: no cluster there, a right or a topic missing, or a message that could not be delivered.
            SeatLostError: another worker of the group has taken over.
        """
        with ExitStack() as stack:
            stack.callback(self._close_scores)
            seat = stack.enter_context(Seat(self._settings, group_of(self._settings)))
            if not seat.take(self._stop):
                return
            pool = stack.enter_context(
                JobPool(
                    self._settings.adaptation.jobs,
                    self._store.log,
                    execute=run_job,
                    timeout_s=self._settings.adaptation.job_timeout_s,
                    memory_mb=self._settings.adaptation.job_memory_mb,
                )
            )
            followers = {model: stack.enter_context(self._follow(model)) for model in FOLLOWED}
            self._catch_up(seat, followers, pool)
            following = {model: follower.follow() for model, follower in followers.items()}
            log.info("working", group=group_of(self._settings), brokers=self._settings.kafka.brokers)
            while not self._stop():
                seat.keep()
                came = self._take_what_came(following)
                self._work(pool, hurry=once)
                seat.commit(self._read, self._service.held())
                if came or len(pool):
                    self._busy = time.monotonic()
                elif once or (until_idle_s is not None and time.monotonic() - self._busy > until_idle_s):
                    return

    def _follow(self, model: type[Message]) -> Follower:
        return Follower(self._settings, topic_of(model), tell=lambda text: log.warning(text))

    # -- the past ------------------------------------------------------------------------------------------------------

    def _catch_up(self, seat: Seat, followers: dict[type[Message], Follower], pool: JobPool) -> None:
        """Read the topics to their ends; what has no outcome yet is taken up in the order in which it came."""
        service, now = self._service, _now_us()
        past = {model: list(follower.read_to_end()) for model, follower in followers.items()}
        for _, model in self._messages(ActiveModel, past[ActiveModel]):
            service.serving.take(model)
        restored = service.restore((event for _, event in self._messages(AdaptationEvent, past[AdaptationEvent])), now)
        for record, alert in self._messages(AlertEvent, past[AlertEvent]):
            service.alerts.take(alert, record.published_ms * 1000)
        waiting: list[tuple[TopicRecord, Message]] = []
        for request in REQUESTS:
            topic = self._settings.topics.full_name(topic_of(request))
            committed = seat.committed(topic, followers[request].partitions)
            for partition, offset in committed.items():
                self._read[topic, partition] = offset
            for record, message in self._messages(request, past[request]):
                self._read[topic, record.partition] = max(self._read[topic, record.partition], record.offset + 1)
                if record.offset >= committed[record.partition]:
                    waiting.append((record, message))
                elif isinstance(message, AlarmCommand):
                    service.note(message)
                elif isinstance(message, DriftEvent):
                    service.note_drift(message)
        log.info(
            "the past was read",
            alerts=len(past[AlertEvent]),
            adaptations=len(past[AdaptationEvent]),
            under_way=len(service.lives),
            requests=len(waiting),
        )
        self._do(restored, pool)
        for record, message in sorted(waiting, key=lambda pair: pair[0].published_ms):
            self._do(self._request(record, message), pool)

    # -- what comes ----------------------------------------------------------------------------------------------------

    def _take_what_came(self, following: dict[type[Message], Iterator[TopicRecord | None]]) -> int:
        """Hand what has come to the service; how many messages that were."""
        service, now, came = self._service, _now_us(), 0
        for _, model in self._messages(ActiveModel, _drained(following[ActiveModel])):
            came += 1
            self._do(service.model(model, now))
        for _, event in self._messages(AdaptationEvent, _drained(following[AdaptationEvent])):
            came += 1
            self._do(service.refused(event, now))
        for record, alert in self._messages(AlertEvent, _drained(following[AlertEvent])):
            came += 1
            self._do(service.alert(alert, record.published_ms * 1000, now))
        came += self._take_scores(now)
        for request in REQUESTS:
            for record, message in self._messages(request, _drained(following[request])):
                came += 1
                self._do(self._request(record, message))
                self._read[record.topic, record.partition] = record.offset + 1
        return came

    def _request(self, record: TopicRecord, message: Message) -> list[Action]:
        position = InputPosition(record.topic, record.partition, record.offset)
        if isinstance(message, DriftEvent):
            return self._service.drift(message, position, _now_us())
        assert isinstance(message, AlarmCommand)
        return self._service.command(message, position, _now_us())

    def _take_scores(self, now: int) -> int:
        """Scores are read only while a child is in shadow or in service, from when it came there."""
        lives = self._service.after_the_gate
        if not lives:
            self._close_scores()
            return 0
        if self._scores is None:
            since_ms = min(life.phase_at for life in lives.values()) // 1000
            self._scores = Follower(self._settings, SCORES, since_ms=since_ms, tell=lambda text: log.warning(text))
            self._scores_records = self._scores.follow()
        came = 0
        for record, block in self._messages(ScoreBlock, _drained(self._scores_records)):
            came += any(life.covers(block.machine) for life in lives.values())
            self._do(self._service.scores(block, now, record.published_ms * 1000))
        return came

    def _close_scores(self) -> None:
        if self._scores is not None:
            self._scores.close()
            self._scores = None

    def _messages(
        self, model: type[M], records: Iterator[TopicRecord] | list[TopicRecord]
    ) -> Iterator[tuple[TopicRecord, M]]:
        for record in records:
            if not record.value:
                continue  # a key that was deleted
            one = received(model, record)
            if one.message is None:
                log.warning(f"no {model.__name__}, left out", where=record.where, problem=one.problem)
            else:
                yield record, one.message

    # -- work ----------------------------------------------------------------------------------------------------------

    def _work(self, pool: JobPool, *, hurry: bool) -> None:
        """Rows for those that wait for them, jobs that may start, jobs that have ended."""
        if hurry or time.monotonic() - self._collected >= COLLECT_INTERVAL_S:
            for life in self._service.collecting:
                self._collect(life)
            self._collected = time.monotonic()
        wanted = {life.adaptation_id for life in self._service.lives.values()}
        for ident in self._collectors.keys() - wanted:
            del self._collectors[ident], self._judged[ident]
        self._do(self._service.due_jobs(_now_us()), pool)
        for ident, outcome in pool.ended():
            log.info("job ended", adaptation=ident, status=outcome.status, step=outcome.step, reason=outcome.reason)
            self._do(self._service.finished(ident, outcome, _now_us()))

    def _collect(self, life: Life) -> None:
        try:
            collector = self._collectors.get(life.adaptation_id)
            if collector is None:
                bundle = open_trusted(life.parent.uri, self._settings, sha256=life.parent.sha256)
                collector = RowCollector(self._settings, life.machine, bundle, life.source)
                self._collectors[life.adaptation_id] = collector
                self._read_judged(life, bundle)
            collector.read()
            usable = collector.usable(self._excluded(life))
        except InputError as error:
            self._do(self._service.failed(life.adaptation_id, str(error), _now_us()))
            return
        life.seen_at = max(life.seen_at, collector.newest or 0)
        self._do(self._service.rows(life.adaptation_id, usable, collector.interval_s, _now_us()))

    def _read_judged(self, life: Life, bundle: Bundle) -> Judged:
        """What operators have said by now; labels of alerts count as their commands do."""
        judged = self._judged[life.adaptation_id] = read_judged(self._settings, life.machine, bundle)
        self._service.alerts.judge_by_labels(life.machine, judged.verdicts)
        return judged

    def _do(self, actions: Sequence[Action], pool: JobPool | None = None) -> None:
        """Publish and start, in this order."""
        for action in actions:
            if isinstance(action, Deploy):
                send(self._settings, (action.model.key, action.model))
                log.info("deployed", **_named(action.model, "route", "rule", "bundle", "mode", "reason"))
            elif isinstance(action, Say):
                send(self._settings, (action.event.machine, action.event))
                log.info(
                    f"adaptation {action.event.event}",
                    **_named(action.event, "machine", "rule", "step", "bundle", "reason"),
                )
            elif isinstance(action, StartJob):
                assert pool is not None
                self._start(action.life, pool)

    def _start(self, life: Life, pool: JobPool) -> None:
        """Put the rows beside the job, so that a restart repeats it with the same, and run it."""
        collector = self._collectors[life.adaptation_id]
        signing_key, password = self._settings.bundles.signing_key, self._settings.bundles.signing_key_password
        job = Job(
            adaptation_id=life.adaptation_id,
            machine=life.machine,
            rule=life.rule,
            parent_uri=life.parent.uri,
            # The one that was checked: the job opens it anew.
            parent_sha256=collector.bundle.manifest_sha256,
            false_alarms_per_day=self._settings.threshold.false_alarms_per_day,
            budget_s=self._settings.adaptation.budget_s,
            accepted=life.accepted_us is not None,
            tries=life.tries,
            alignment=self._settings.adaptation.alignment,
            signing_key="" if signing_key is None else str(signing_key.resolve()),
            signing_key_password="" if password is None else password.get_secret_value(),
        )
        try:
            # Once more: rows may have been waited for for days, and operators have answered meanwhile.
            judged = self._read_judged(life, collector.bundle)
            labelled = together(judged.windows, collector.labelled(self._service.alerts.of(life.machine)))
            times, values = collector.rows(self._excluded(life))
            log.info(
                "job starts",
                adaptation=life.adaptation_id,
                machine=life.machine,
                rows=len(times),
                labelled_windows=0 if labelled is None else len(labelled),
            )
            prepared = self._store.prepare(job, times, values, labelled)
        except InputError as error:
            self._do(self._service.failed(life.adaptation_id, str(error), _now_us()))
            return
        pool.start(life.adaptation_id, prepared)

    def _excluded(self, life: Life) -> list[Span]:
        """Spans whose rows must not be learned from.

        Raises:
            InputError: an event of the maintenance calendar cannot be read.
        """
        collector = self._collectors[life.adaptation_id]
        spans = [*self._service.excluded(life, collector.window_us), *self._judged[life.adaptation_id].anomalous]
        if collector.oldest is not None and collector.newest is not None:
            spans += maintenance_spans(self._maintenance, life.machine, collector.oldest, collector.newest)
        return spans


def _drained(records: Iterator[TopicRecord | None]) -> Iterator[TopicRecord]:
    """What has come by now."""
    for record in records:
        if record is None:
            return
        yield record


def _named(message: Message, *names: str) -> dict[str, Any]:
    """These fields, for the log; empty ones are left out."""
    return {name: str(value) for name in names if (value := getattr(message, name)) != ""}


def _now_us() -> int:
    return time.time_ns() // 1000
