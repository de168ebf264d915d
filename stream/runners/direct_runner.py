"""The direct runner: a confluent-kafka consume loop, with transactions where the broker has them.

A session lasts from subscribing to the first failure; a new one then starts from the last commit, so that a broker may
go away and come back at any time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.running import Call, running
from wheeltapper.stream.kafka_client import broker_answers, client_config
from wheeltapper.stream.kafka_errors import PublishError, refusal
from wheeltapper.stream.kafka_headers import BadHeaders, bad_header, headers_of
from wheeltapper.stream.pace import MOST_BYTES
from wheeltapper.stream.partition import PartitionKey
from wheeltapper.stream.progress import Progress, StallError
from wheeltapper.stream.records import Flaw, PartitionBatch
from wheeltapper.stream.runners.stopping import IdleClock
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell

log = structlog.get_logger(__name__)

# What is fetched and kept ahead of the work, beside what the client's queue takes in one fetch more. Records are unpacked when they
# come: compressed ones may be hundreds of times as large.
FETCH_BYTES = 512 * 1024
FETCH_BYTES_OF_PARTITION = 128 * 1024
QUEUE_KBYTES = 16 * 1024

# Taken out of the client's queue at a time, until so many bytes are together.
MESSAGES_AT_ONCE = 64

# Longest wait of one poll for the first message; signals and commits are handled in between.
POLL_S = 0.1

# How often a worker that is busy lets its group's coordinator know: far below any session timeout and poll interval.
ANSWER_GROUP_S = 0.5

# A stream without messages for this long is snapshotted at once: a restart then has nothing to replay.
QUIET_S = 2.0

# How often the pipeline looks for machines that have fallen silent, and how long the broker may take to say where a partition
# ends: it is asked only where a machine seems to be.
TICK_S = 1.0
END_TIMEOUT_S = 3.0

# Wait after a failed session; doubled up to the limit, to spare a broker that is starting.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0

# How often progress is looked at, and how often a broker with nothing new must answer to count as reachable.
WATCH_S, ANSWER_INTERVAL_S = 0.2, 5.0

# A loop that has not turned for so long is in a call that waits: where it stands is then not known.
SILENT_S = 10.0

# Of frames of records: librdkafka stays before one for ever.
UNREADABLE = {
    KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError._NOT_IMPLEMENTED, KafkaError._UNDERFLOW,
    KafkaError._CRIT_SYS_RESOURCE, KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE,
}  # fmt: skip
# Such frames are logged at most so often; each is a dead letter.
NOTICE_S = 60.0

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
        self._session: _Session | None = None
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
            session: _Session | None = None
            try:
                shell = self._open_shell()
                self._session = session = _Session(self._settings, shell, self._progress)
                session.run(self._should_stop, self._until_idle_s)
                shell.close()
                return
            except (KafkaException, PublishError, TimeoutError, _PartitionsLost, _InputChanged, StallError) as error:
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
            time.sleep(POLL_S)

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


class _InputChanged(Exception):
    """Rows of a topic that was made anew were handled as if they followed those of the old one: they are taken back."""


class _PartitionsLost(Exception):
    """The group reassigned this worker's partitions: rows that it had not committed belong to other workers."""


class _Session:
    def __init__(self, settings: Settings, shell: Shell, progress: Progress) -> None:
        kafka = settings.kafka
        self._settings = settings
        self._shell = shell
        self._progress = progress
        self._turned_at = self._ticked_at = time.monotonic()
        self._idle = IdleClock()
        self._lost = False
        self._told_unreadable = -NOTICE_S
        self._handled = False
        """True where rows have been handled since the last commit."""
        self._restoring = False
        """True while partitions are taken over, which takes its time."""
        self._last_commit = time.monotonic()
        self._published = shell.publisher.published
        self._waiting: list[Message] = []
        """Came while others were handled."""
        self._polled_at = time.monotonic()
        self._generation = 0
        """Changes whenever partitions come or go."""
        self._membership: object = None
        """Of the group's generation that assigned the partitions: rows read in it must not be committed under a later one."""
        self._consumer = Consumer(
            client_config(
                kafka,
                **{
                    "group.id": kafka.group,
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "session.timeout.ms": kafka.session_timeout_ms,
                    "heartbeat.interval.ms": kafka.session_timeout_ms // 3,
                    "max.poll.interval.ms": kafka.max_poll_interval_ms,
                    # So soon are partitions that were added noticed, and read.
                    "topic.metadata.refresh.interval.ms": round(settings.input.check_interval_s * 1000),
                    "receive.message.max.bytes": 200_000_000,
                    "fetch.max.bytes": FETCH_BYTES,
                    "fetch.message.max.bytes": FETCH_BYTES_OF_PARTITION,
                    "message.max.bytes": FETCH_BYTES,  # fetch.max.bytes is no less; the broker sends larger ones all the same
                    "queued.max.messages.kbytes": QUEUE_KBYTES,
                },
            )
        )

    def run(self, stop: Callable[[], bool], until_idle_s: float | None) -> None:
        shell, settings = self._shell, self._settings.worker
        self._consumer.subscribe(
            list(shell.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._on_lost
        )
        while not stop():
            wait_s = settings.alert_commit_interval_ms / 1000 if self._is_urgent else POLL_S
            batches = self._read(self._poll(wait_s))
            self._check_lost()
            if batches:
                self._handled = True
                self._work(batches, stop)
            self._turned_at = time.monotonic()
            self._commit_if_due(everything=self._idle.idle_s() > QUIET_S)
            if time.monotonic() - self._ticked_at >= TICK_S:
                self._ticked_at = time.monotonic()
                self._note_ends()
                shell.tick(self._is_read_to_end)
                if shell.input.must_take_over():
                    self._take_over_again()
            if (
                until_idle_s is not None
                and self._idle.idle_s() >= until_idle_s
                and broker_answers(self._settings.kafka)
            ):
                break
        self._commit(everything=True)
        with running(Call("kafka", "close")):
            self._consumer.close()

    def _work(self, batches: list[PartitionBatch], stop: Callable[[], bool]) -> None:
        """Handle messages step by step; what is left where partitions go, or at a stop, is read again from the commit."""
        generation = self._generation
        for _ in self._shell.work(batches):
            self._progress.handled()
            self._turned_at = time.monotonic()
            self._commit_if_due()
            if self._turned_at - self._polled_at >= ANSWER_GROUP_S:
                # At most one message for each step, which handles at least one: this cannot grow.
                self._polled_at = self._turned_at
                message = self._consumer.poll(0)
                if message is not None:
                    self._waiting.append(message)
                self._check_lost()
            if generation != self._generation or stop():
                return

    def _check_lost(self) -> None:
        if self._lost:
            raise _PartitionsLost("partitions were given to another worker")

    def _commit_if_due(self, *, everything: bool = False) -> None:
        settings = self._settings.worker
        interval_ms = settings.alert_commit_interval_ms if self._is_urgent else settings.commit_interval_ms
        if (time.monotonic() - self._last_commit) * 1000 >= interval_ms:
            self._commit(everything=everything)

    def is_at_end(self) -> bool | None:
        """Whether every partition has been read to its end; None where it is not known. May be asked from any thread.

        A loop that does not turn is in a call that does not return: whatever was read, rows may wait.
        """
        if self._restoring:
            return None
        at_end = self._idle.is_at_end()
        return False if at_end and time.monotonic() - self._turned_at > SILENT_S else at_end

    def _note_ends(self) -> None:
        """For metrics, as the last fetches told: asks no broker."""
        for key in self._shell.pipeline.partitions:
            end = self._consumer.get_watermark_offsets(TopicPartition(*key), cached=True)[1]
            if end >= 0:
                self._shell.input_ends[key] = end

    def _is_read_to_end(self, partition: PartitionKey) -> bool:
        """Asked of the broker: no machine counts as silent while its rows wait, or while the broker is away."""
        end = self._idle.end_of(partition)
        if end is None:
            return False
        try:
            watermarks = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=END_TIMEOUT_S)
        except KafkaException:
            return False
        return watermarks is not None and watermarks[1] <= end

    @property
    def _is_urgent(self) -> bool:
        return self._shell.publisher.transactional and self._shell.alerts_pending

    def abandon(self) -> None:
        """Leave without a commit."""
        self._lost = (
            True  # closing revokes the partitions: work that a failure left unfinished must not be committed then
        )
        self._shell.publisher.abandon()
        with contextlib.suppress(KafkaException, RuntimeError), running(Call("kafka", "unsubscribe")):
            self._consumer.unsubscribe()
        with contextlib.suppress(KafkaException, RuntimeError), running(Call("kafka", "close")):
            self._consumer.close()

    def _poll(self, wait_s: float) -> list[Message]:
        # consume() waits until its count or time limit is reached: taking only available messages keeps latency low.
        self._polled_at = time.monotonic()
        messages, self._waiting = self._waiting, []
        messages += self._available(messages)
        if not messages:
            first = self._consumer.poll(wait_s)
            if first is not None:
                messages = [first]
                messages += self._available(messages)
        return messages

    def _available(self, messages: list[Message]) -> list[Message]:
        """What the client has fetched, as far as it may be handled together with these."""
        found: list[Message] = []
        left, left_bytes = self._settings.worker.max_batch_messages - len(messages), MOST_BYTES
        while left > 0 and left_bytes > 0:
            taken: list[Message] = self._consumer.consume(min(left, MESSAGES_AT_ONCE), timeout=0)
            found += taken
            if len(taken) < MESSAGES_AT_ONCE:
                break
            left -= len(taken)
            left_bytes -= sum(map(len, taken))
        return found

    def _read(self, messages: list[Message]) -> list[PartitionBatch]:
        batches: dict[str, dict[int, PartitionBatch]] = {topic: {} for topic in self._shell.topics}
        # Nearly always there is one topic: then no message need be asked for its own.
        only = next(iter(batches.values())) if len(batches) == 1 else None
        read_around: set[PartitionKey] = set()
        for message, headers in zip(messages, headers_of(messages), strict=True):
            if read_around and (message.topic(), message.partition()) in read_around:
                continue  # comes again
            error = message.error()
            if error is not None:
                if error.code() in UNREADABLE and message.offset() >= 0:
                    self._read_around(message, batches[message.topic()])
                    read_around.add((message.topic(), message.partition()))
                else:
                    self._note(error, message)
                continue
            partition = message.partition()
            of_topic = only if only is not None else batches[message.topic()]
            batch = of_topic.get(partition)
            if batch is None:
                topic = message.topic()
                batch = of_topic[partition] = PartitionBatch(topic, partition)
                self._idle.message((topic, partition))
            batch.offsets.append(message.offset())
            batch.keys.append(message.key())
            batch.values.append(message.value())
            if isinstance(headers, BadHeaders):
                batch.flaws[message.offset()] = Flaw(bad_header(headers.name), message.offset())
                headers = headers.headers
            batch.headers.append(headers)
            batch.timestamps_ms.append(message.timestamp()[1])
        return [batch for of_topic in batches.values() for batch in of_topic.values()]

    def _read_around(self, message: Message, of_topic: dict[int, PartitionBatch]) -> None:
        """What librdkafka cannot unpack is read without it, and then read over: it would try the same again for ever."""
        from wheeltapper.stream.runners.raw_frames import read_frame  # brings aiokafka, which is seldom needed

        topic, partition, offset = message.topic(), message.partition(), message.offset()
        batch = of_topic.get(partition)
        found, following = read_frame(
            self._settings.kafka, topic, partition, offset, self._settings.worker.max_batch_messages
        )
        if time.monotonic() - self._told_unreadable >= NOTICE_S:
            self._told_unreadable = time.monotonic()
            log.warning(
                "a frame of records could not be unpacked by the client and is read around",
                topic=topic,
                partition=partition,
                offset=offset,
                read_on_from=following,
                error=message.error().str(),
            )
        if len(found):
            of_topic[partition] = found if batch is None else batch.followed_by(found)
            self._idle.message((topic, partition))
        self._consumer.seek(TopicPartition(topic, partition, following))

    def _note(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._idle.end((message.topic(), message.partition()), message.offset())
        elif refusal(KafkaException(error)) or error.fatal():
            raise KafkaException(error)
        else:
            log.info("kafka reports an error", error=str(error))

    def _commit(self, *, everything: bool = False) -> None:
        shell = self._shell
        self._check_topics(everything)
        offsets = shell.prepare_commit(everything=everything)
        if shell.publisher.transactional:
            if offsets or shell.publisher.published != self._published:
                # Unchanged offsets are sent too: by them the broker checks that this worker still owns its partitions.
                offsets = {**shell.standing_offsets(), **offsets}
                gone = shell.input.gone  # what came of a topic before it was deleted is committed without an offset
                positions = {TopicPartition(*key): offset for key, offset in offsets.items() if key[0] not in gone}
                shell.publisher.commit_transaction(positions, self._membership)
        elif offsets:
            commits = [TopicPartition(*key, offset) for key, offset in offsets.items()]
            with running(Call("kafka", "commit")):
                results = self._consumer.commit(offsets=commits, asynchronous=False)
            for result in results:
                if result.error:
                    raise KafkaException(result.error)
        shell.committed(offsets)
        self._published = shell.publisher.published
        self._last_commit = time.monotonic()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._restoring = True
        committed = self._shell.assign([(tp.topic, tp.partition) for tp in partitions])
        starts = [
            TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING if offset is None else offset)
            for tp in partitions
            for offset in (committed[tp.topic, tp.partition],)
        ]
        self._membership = consumer.consumer_group_metadata()
        consumer.assign(starts)
        self._idle.assign((tp.topic, tp.partition) for tp in partitions)
        self._turned_at = time.monotonic()
        self._restoring = False

    def _check_topics(self, everything: bool) -> None:
        """
        Raises:
            _InputChanged: what was handled since the last commit may be of a topic that was made anew.
        """
        saved = all(state.is_saved for state in self._shell.pipeline.partitions.values())
        if not self._handled and (saved or not everything):
            return
        topic = self._shell.input.topic_made_anew()
        if topic is not None and self._handled:
            raise _InputChanged(f"topic {topic} was made anew: what was handled since the last commit is taken back")
        self._handled = False

    def _take_over_again(self) -> None:
        """The input is not what it was: keep what came of it, and read on where the input that is there now has it."""
        self._commit(everything=True)
        self._assigned(self._consumer, self._consumer.assignment())

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._lost:
            return
        self._commit(everything=True)
        self._generation += 1
        self._waiting.clear()
        self._shell.revoke((tp.topic, tp.partition) for tp in partitions)
        self._idle.assign(())

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._lost = True
