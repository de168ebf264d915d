"""Asks the broker what the input topics are: their ids, partitions and offsets; again and again in a thread of its own.

Of the topics that the worker writes it asks the ids: one that is made anew holds nothing of what was in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, OffsetSpec

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import EMBEDDED_CLUSTER_ID
from wheeltapper.stream.input_life import FoundInput
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.partition import PartitionKey
from wheeltapper.stream.settings import KafkaSettings, Settings
from wheeltapper.stream.topic_limits import WRITTEN

log = structlog.get_logger(__name__)

ASK_TIMEOUT_S = 3.0

# Offsets that seem to have gone back are looked at once more before that is believed: a new leader may be behind for a moment.
SECOND_LOOK_S = 1.0

# What brokers say to questions that they do not know.
UNSUPPORTED = {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION, KafkaError.INVALID_REQUEST}
MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


@dataclass(frozen=True, slots=True)
class InputLook:
    """What the broker said at one moment.

    Attributes:
        begun: monotonic time (s) when it was asked.
        positions: where this worker stood in its partitions just before.
        found: of those partitions.
        counts: topic -> number of its partitions; None: there is no such topic.
    """

    begun: float
    positions: Mapping[PartitionKey, int] = field(default_factory=dict)
    found: Mapping[PartitionKey, FoundInput] = field(default_factory=dict)
    counts: Mapping[str, int | None] = field(default_factory=dict)

    def goes_back(self) -> bool:
        """Whether a topic ends before what has been handled of it."""
        ends = ((self.found.get(key, FoundInput()).end, position) for key, position in self.positions.items())
        return any(end is not None and end < position for end, position in ends)


class InputAsker:
    """One client for questions about topics. May be asked from any thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        # Asked for a topic that somebody has deleted, brokers would make it.
        self._admin = AdminClient(client_config(kafka, **{"allow.auto.create.topics": False}))

    def _require_brokers(self, topic: str) -> None:
        """
        Raises:
            KafkaException: the cluster has no brokers, as one that is just starting says. librdkafka aborts the process over that answer
                to a question for descriptions, and gives it back for this one.
        """
        if not self._admin.list_topics(topic, timeout=ASK_TIMEOUT_S).brokers:
            raise KafkaException(KafkaError(KafkaError.BROKER_NOT_AVAILABLE))

    def look(self, topics: Iterable[str], positions: Mapping[PartitionKey, int]) -> InputLook:
        """
        Raises:
            KafkaException: no answer, or a refusal.
        """
        begun = time.monotonic()
        admin, topics = self._admin, list(topics)
        for topic in topics[:1]:
            self._require_brokers(topic)
        cluster = self._cluster(admin)
        counts: dict[str, int | None] = {}
        ids: dict[str, str] = {}
        for topic in topics:
            ids[topic], counts[topic] = self._describe(admin, topic)
        there = [key for key in positions if key[1] < (counts.get(key[0]) or 0)]
        firsts = self._offsets(admin, there, OffsetSpec.earliest())
        # The embedded broker tells ends that are too low.
        ends = {} if cluster == EMBEDDED_CLUSTER_ID else self._offsets(admin, there, OffsetSpec.latest())
        unknown = (None, -1)
        found = {
            key: FoundInput(ids[key[0]], cluster, firsts.get(key, unknown)[0], *ends.get(key, unknown)) for key in there
        }
        return InputLook(begun, dict(positions), found, counts)

    def ids_of(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Topic -> its id; '' where the broker does not tell, None where there is no such topic.

        Raises:
            KafkaException: no answer, or a refusal of all of it.
        """
        ids: dict[str, str | None] = {}
        topics = list(topics)
        for topic in topics[:1]:
            self._require_brokers(topic)
        asked = self._admin.describe_topics(TopicCollection(topics), request_timeout=ASK_TIMEOUT_S)
        for topic, answer in asked.items():
            try:
                ids[topic] = str(answer.result(2 * ASK_TIMEOUT_S).topic_id or "")
            except KafkaException as error:
                ids[topic] = None if error.args[0].code() in MISSING else ""
        return ids

    def id_of(self, topic: str) -> str | None:
        """The topic's id; '' where the broker does not tell, None where there is no such topic.

        Raises:
            KafkaException: no answer, or a refusal.
        """
        self._require_brokers(topic)
        found, partitions = self._describe(self._admin, topic)
        return None if partitions is None else found

    def partitions_of(self, topic: str) -> int | None:
        """Number of a topic's partitions; None where there is no such topic.

        Raises:
            KafkaException: no answer, or a refusal.
        """
        self._require_brokers(topic)
        return self._describe(self._admin, topic)[1]

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic.

        Raises:
            InputError: the broker does not.
        """
        try:
            answers = self._admin.create_partitions([NewPartitions(topic, partitions)], request_timeout=15.0)
            answers[topic].result(20.0)
        except (KafkaException, TimeoutError) as error:
            reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
            raise InputError(
                f"topic {topic} needs {partitions} partitions, one beside each of the input's, and cannot be given them "
                f"({reason}); add them: kafka-topics.sh --alter --topic {topic} --partitions {partitions} (what it holds stays; do "
                "not delete it)"
            ) from error

    @staticmethod
    def _cluster(admin: AdminClient) -> str:
        return str(admin.describe_cluster(request_timeout=ASK_TIMEOUT_S).result(2 * ASK_TIMEOUT_S).cluster_id or "")

    @staticmethod
    def _describe(admin: AdminClient, topic: str) -> tuple[str, int | None]:
        """(id, number of partitions); the id is '' where the broker does not tell."""
        try:
            asked = admin.describe_topics(TopicCollection([topic]), request_timeout=ASK_TIMEOUT_S)
            answer = asked[topic].result(2 * ASK_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in MISSING:
                return "", None
            raise
        return str(answer.topic_id or ""), len(answer.partitions)

    @staticmethod
    def _offsets(
        admin: AdminClient, keys: Iterable[PartitionKey], spec: OffsetSpec
    ) -> dict[PartitionKey, tuple[int, int]]:
        """(offset, leader epoch there or -1) of the partitions whose leaders tell."""
        asked = {TopicPartition(*key): spec for key in keys}
        if not asked:
            return {}
        found: dict[PartitionKey, tuple[int, int]] = {}
        for tp, future in admin.list_offsets(asked, request_timeout=ASK_TIMEOUT_S).items():
            try:
                answer = future.result(2 * ASK_TIMEOUT_S)
                found[tp.topic, tp.partition] = (
                    int(answer.offset),
                    -1 if answer.leader_epoch is None else int(answer.leader_epoch),
                )
            except KafkaException as error:
                log.debug("an offset is not told", topic=tp.topic, partition=tp.partition, error=str(error))
        return found


class InputWatch:
    """Looks at the input topics every `input.check_interval_s`. One for a worker, whichever session runs."""

    def __init__(self, settings: Settings) -> None:
        self._interval_s = settings.input.check_interval_s
        self.asker = InputAsker(settings.kafka)
        """For who has a question of his own."""
        self._topics: tuple[str, ...] = ()
        self._positions: Callable[[], Mapping[PartitionKey, int]] = dict
        self.expired: dict[PartitionKey, str] = {}
        """Partition -> which messages of it were last told to be gone: a session that meets them again tells nothing new."""
        self._look: InputLook | None = None
        self._outputs = {settings.topics.full_name(name): name for name in WRITTEN}
        self._output_ids: dict[str, str] = {}
        self._remade: set[str] = set()
        self._ended = threading.Event()
        self._refused = False

    def start(self) -> None:
        """Begin in a thread that ends with `close`, or with the process."""
        threading.Thread(target=self._run, name="input", daemon=True).start()

    def close(self) -> None:
        self._ended.set()

    def follow(self, topics: Iterable[str], positions: Callable[[], Mapping[PartitionKey, int]]) -> None:
        """Ask about these topics from now on.

        Args:
            positions: where the worker stands in its partitions; asked in the watch's thread.
        """
        self._look = None
        self._topics, self._positions = tuple(topics), positions

    def take(self) -> InputLook | None:
        """The newest look that nobody has taken yet."""
        look, self._look = self._look, None
        return look

    def take_remade(self) -> set[str]:
        """Names, without prefix, of topics that the worker writes and that were made anew since this was last asked."""
        remade, self._remade = self._remade, set()
        return remade

    def look_at_outputs(self) -> None:
        """Compare the topics that the worker writes with what they were.

        Raises:
            KafkaException: no answer, or a refusal.
        """
        for topic, found in self.asker.ids_of(self._outputs).items():
            known = self._output_ids.get(topic)
            if found is None and known:
                log.warning("a topic that this worker writes does not exist any more", topic=topic)
                self._output_ids[topic] = ""  # told once; whatever comes there is another one
            elif found:
                if known is not None and found != known:
                    self._remade.add(self._outputs[topic])
                self._output_ids[topic] = found

    def _run(self) -> None:
        wait_s = min(1.0, self._interval_s)
        with suppress(KafkaException, TimeoutError):
            self.look_at_outputs()  # as they are before anything of ours is written
        while not self._ended.wait(wait_s):
            wait_s = self._interval_s
            positions = dict(self._positions())
            if not positions:
                wait_s = min(1.0, self._interval_s)
                continue
            try:
                self.look_at_outputs()
                look = self.asker.look(self._topics, positions)
                if look.goes_back():
                    self._ended.wait(SECOND_LOOK_S)
                    second = self.asker.look(self._topics, positions)
                    look = (
                        second
                        if not second.goes_back()
                        else InputLook(look.begun, positions, second.found, second.counts)
                    )
            except (KafkaException, TimeoutError) as error:
                self._tell(error)
                continue
            self._look = look

    def _tell(self, error: Exception) -> None:
        refused = isinstance(error, KafkaException) and error.args[0].code() in UNSUPPORTED
        if refused and not self._refused:
            self._refused = True
            log.warning(
                "the broker does not describe topics: a topic made anew is not noticed while the worker runs",
                error=str(error),
            )
        else:
            log.debug("the input topics were not looked at", error=str(error))
