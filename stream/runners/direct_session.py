"""One session of the direct runner: from subscribing to the first failure."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from wheeltapper.stream.core.running import Call, running
from wheeltapper.stream.kafka_client import broker_answers
from wheeltapper.stream.progress import Progress
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.runners.rows import RowReader, consumer_of
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell

# Longest wait of one poll for the first message; signals and commits are handled in between.
POLL_S = 0.1

# Alerts of a worker that is behind its input wait so long for a commit, where `worker.alert_commit_interval_ms` is less.
BEHIND_MS = 250

# How often a worker that is busy lets its group's coordinator know: far below any session timeout and poll interval.
ANSWER_GROUP_S = 0.5

# A stream without messages for this long is snapshotted at once: a restart then has nothing to replay.
QUIET_S = 2.0

# How often the pipeline looks for machines that have fallen silent.
TICK_S = 1.0

# A loop that has not turned for so long is in a call that waits: where it stands is then not known.
SILENT_S = 10.0


class InputChanged(Exception):
    """Rows of a topic that was made anew were handled as if they followed those of the old one: they are taken back."""


class PartitionsLost(Exception):
    """The group reassigned this worker's partitions: rows that it had not committed belong to other workers."""


class Session:
    """From subscribing to the first failure, or the end."""

    def __init__(self, settings: Settings, shell: Shell, progress: Progress) -> None:
        self._settings = settings
        self._shell = shell
        self._progress = progress
        self._turned_at = self._ticked_at = time.monotonic()
        self._lost = False
        self._handled = False
        """True where rows have been handled since the last commit."""
        self._restoring = False
        """True while partitions are taken over, which takes its time."""
        self._last_commit = time.monotonic()
        self._published = shell.publisher.published
        self._generation = 0
        """Changes whenever partitions come or go."""
        self._membership: object = None
        """Of the group's generation that assigned the partitions: rows read in it must not be committed under a later one."""
        self._consumer = consumer_of(settings)
        self._rows = RowReader(settings, shell.topics, self._consumer)

    def run(self, stop: Callable[[], bool], until_idle_s: float | None) -> None:
        shell, settings = self._shell, self._settings.worker
        self._consumer.subscribe(
            list(shell.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._on_lost
        )
        while not stop():
            wait_s = settings.alert_commit_interval_ms / 1000 if self._is_urgent else POLL_S
            batches = self._rows.read(wait_s)
            self._check_lost()
            if batches:
                self._handled = True
                self._work(batches, stop)
            self._turned_at = time.monotonic()
            self._commit_if_due(everything=self._rows.idle.idle_s() > QUIET_S)
            if time.monotonic() - self._ticked_at >= TICK_S:
                self._ticked_at = time.monotonic()
                self._rows.note_ends(shell.input_ends, shell.pipeline.partitions)
                shell.tick(self._rows.is_read_to_end)
                if shell.input.must_take_over():
                    self._take_over_again()
            if (
                until_idle_s is not None
                and self._rows.idle.idle_s() >= until_idle_s
                and broker_answers(self._settings.kafka)
            ):
                break
        self._commit(everything=True)
        self._rows.close()

    def _work(self, batches: list[PartitionBatch], stop: Callable[[], bool]) -> None:
        """Handle messages step by step; what is left where partitions go, or at a stop, is read again from the commit."""
        generation = self._generation
        for _ in self._shell.work(batches):
            self._progress.handled()
            self._turned_at = time.monotonic()
            self._commit_if_due()
            if self._turned_at - self._rows.polled_at >= ANSWER_GROUP_S:
                self._rows.answer_group()
                self._check_lost()
            if generation != self._generation or stop():
                return

    def _check_lost(self) -> None:
        if self._lost:
            raise PartitionsLost("partitions were given to another worker")

    def _commit_if_due(self, *, everything: bool = False) -> None:
        settings = self._settings.worker
        waited_ms = (time.monotonic() - self._last_commit) * 1000
        is_due = waited_ms >= settings.commit_interval_ms
        if not is_due and self._is_urgent and waited_ms >= settings.alert_commit_interval_ms:
            # A worker that is behind has no alert that is news: one transaction holds several batches then.
            is_due = waited_ms >= BEHIND_MS or not self._rows.is_behind()
        if is_due:
            self._commit(everything=everything)

    def is_at_end(self) -> bool | None:
        """Whether every partition has been read to its end; None where it is not known. May be asked from any thread.

        A loop that does not turn is in a call that does not return: whatever was read, rows may wait.
        """
        if self._restoring:
            return None
        at_end = self._rows.idle.is_at_end()
        return False if at_end and time.monotonic() - self._turned_at > SILENT_S else at_end

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
        with contextlib.suppress(KafkaException, RuntimeError):
            self._rows.close()

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
        if self._lost:
            return  # the session is being left, its publisher may be gone: the next one takes them over
        self._generation += 1
        self._restoring = True
        committed = self._shell.assign([(tp.topic, tp.partition) for tp in partitions])
        self._membership = consumer.consumer_group_metadata()
        self._rows.assign(committed)
        self._turned_at = time.monotonic()
        self._restoring = False

    def _check_topics(self, everything: bool) -> None:
        """
        Raises:
            InputChanged: what was handled since the last commit may be of a topic that was made anew.
        """
        saved = all(state.is_saved for state in self._shell.pipeline.partitions.values())
        if not self._handled and (saved or not everything):
            return
        topic = self._shell.input.topic_made_anew()
        if topic is not None and self._handled:
            raise InputChanged(f"topic {topic} was made anew: what was handled since the last commit is taken back")
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
        self._shell.revoke((tp.topic, tp.partition) for tp in partitions)
        self._rows.forget()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._lost = True
