"""Hands what the follower has made ready to the partitions, and remembers it for those that come later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from wheeltapper.schemas.topics import ADAPTATIONS, ALARM_COMMANDS, MODELS
from wheeltapper.stream.control.follower import ControlFollower
from wheeltapper.stream.control.log import ControlMessage
from wheeltapper.stream.core.counters import count
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)

# Commands that a partition which comes from another worker may have missed lie within hours; this is years of them.
COMMANDS_KEPT = 50_000

JSON_HEADERS = (("content-type", b"application/json"),)


class Control:
    """Changes for one pipeline. All but the follower's thread is the caller's thread."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._follower = ControlFollower(settings, pipeline.prepare)
        self._models: dict[bytes, ControlMessage] = {}
        self._refused: dict[bytes, ControlMessage] = {}
        self._commands: deque[ControlMessage] = deque(maxlen=COMMANDS_KEPT)
        self._ends = {MODELS: 0, ALARM_COMMANDS: 0}
        self._unread = True
        """Until both topics have been read to their ends, and partitions know where commands began for them."""

    def start(self) -> None:
        self._follower.start()

    def close(self) -> None:
        self._follower.close()

    def catch_up(self, now: float, stop: Callable[[], bool]) -> list[Output]:
        """For partitions that have just been taken over: all that they have not met. Waits for the ends of both topics.

        Returns:
            as `Pipeline.apply`.
        """
        if not self._follower.wait_until_read(self._settings.control.read_timeout_s, stop) and not stop():
            log.warning(
                "control topics were not read to their ends in time: rows are handled by the bundles known so far",
                timeout_s=self._settings.control.read_timeout_s,
            )
        outputs = self.news(now)
        self._find_topics_made_anew()
        known = sorted([*self._models.values(), *self._refused.values()], key=lambda message: message.offset)
        # Deployments first: a command is then told to the rules that serve.
        outputs += self._pipeline.apply([*known, *self._commands], now)
        outputs += self._begin(now)
        return outputs

    def news(self, now: float) -> list[Output]:
        """What has become ready since the last call, applied; returns as `Pipeline.apply`, refusals behind it."""
        messages = self._follower.take()
        if not messages and not (self._unread and self._follower.is_read):
            return []
        outputs: list[Output] = []
        batch: list[ControlMessage] = []
        for message in messages:
            if message.offset < 0:
                outputs += self._apply(batch, now)
                batch = []
                self._begin_anew(message.topic)
                continue
            self._remember(message)
            batch.append(message)
        outputs += self._apply(batch, now)
        if self._unread and self._follower.is_read:
            self._unread = False
            self._ends = {topic: max(end, self._follower.ends[topic]) for topic, end in self._ends.items()}
            outputs += self._begin(now)
        return outputs

    def _apply(self, messages: list[ControlMessage], now: float) -> list[Output]:
        if not messages:
            return []
        counters = self._pipeline.counters
        refusals = []
        for message in messages:
            if message.topic == MODELS:
                if message.change is not None or message.refused:
                    count(counters.deployments, "refused" if message.refused else "taken")
                if message.refusal is not None and self._is_new(message):
                    key, value = message.refusal
                    refusals.append(Output(ADAPTATIONS, key, value, JSON_HEADERS))
            elif message.change is not None:
                count(counters.alarm_commands, getattr(message.change, "action", ""))
        return [*self._pipeline.apply(messages, now), *refusals]

    def _is_new(self, message: ControlMessage) -> bool:
        """False where a partition has met it: then it was told, by this worker before a restart or by another."""
        reads = [partition.control.read[message.topic] for partition in self._pipeline.partitions.values()]
        return bool(reads) and not any(read is not None and read > message.offset for read in reads)

    def _remember(self, message: ControlMessage) -> None:
        self._ends[message.topic] = message.offset + 1
        if message.topic == MODELS:
            if message.change is not None:
                self._models[message.key] = message
            elif message.refused:  # the one before it goes on
                self._refused[message.key] = message
        elif message.change is not None:
            self._commands.append(message)

    def _begin(self, now: float) -> list[Output]:
        """Partitions without a record take commands from now on; their record says so."""
        if not self._follower.is_read:
            return []
        records = []
        for partition in self._pipeline.partitions.values():
            if partition.control.read[ALARM_COMMANDS] is None:
                partition.control.read[ALARM_COMMANDS] = self._ends[ALARM_COMMANDS]
                records += partition.addressed([partition.control_record()])
        return records

    def _find_topics_made_anew(self) -> None:
        if not self._follower.is_read:
            return
        for partition in self._pipeline.partitions.values():
            for topic, read in partition.control.read.items():
                if read is not None and read > self._ends[topic]:
                    log.warning(
                        "a control topic was made anew: it is applied from its beginning",
                        topic=topic,
                        partition=partition.number,
                        applied_up_to=read,
                        ends_at=self._ends[topic],
                    )
                    partition.control.read[topic] = 0

    def _begin_anew(self, topic: str) -> None:
        self._ends[topic] = 0
        if topic == MODELS:
            self._models.clear()
            self._refused.clear()
        else:
            self._commands.clear()
        for partition in self._pipeline.partitions.values():
            partition.control.read[topic] = 0
