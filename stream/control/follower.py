"""Follows the control topics in a thread of its own: reads, decodes, fetches and checks bundles, and hands over what is ready."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.topics import ALARM_COMMANDS, MODELS
from wheeltapper.stream.bundle_gate import open_trusted
from wheeltapper.stream.control.log import CONTROL_TOPICS, ControlMessage
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.kafka_headers import header_of
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)

POLL_S = 0.2
MESSAGES_AT_A_TIME = 500

# After an error of the client itself a new one is made; a broker that is away is the client's own business.
PAUSE_S = 2.0

# Closing waits for a bundle that is just being opened; a thread that is stuck in a download must not hold up the worker.
CLOSE_TIMEOUT_S = 5.0

# Any fixed UUID serves as the name space; the ids must only be the same everywhere.
REFUSAL_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:refused-deployment")

Prepare = Callable[[Deployment, Bundle | None], None]


class ControlFollower:
    """One thread and one client. Nothing that goes wrong in it ends the worker."""

    def __init__(self, settings: Settings, prepare: Prepare) -> None:
        """
        Args:
            prepare: opens, checks and warms up a deployment's bundle; raises InputError where it is refused.
        """
        self._settings = settings
        self._prepare = prepare
        self._names = {settings.topics.full_name(name): name for name in CONTROL_TOPICS}
        self._stop = threading.Event()
        self._read = threading.Event()
        self._ready: deque[ControlMessage] = deque()
        self._early: dict[bytes, tuple[int, Any]] | None = {}
        """Messages of `models` by key until both topics have been read to their ends: of one key the last alone counts."""
        self._waiting = set(self._names)
        self._next = dict.fromkeys(CONTROL_TOPICS, 0)
        self.ends = dict.fromkeys(CONTROL_TOPICS, 0)
        """Where the topics ended when they had been read for the first time."""
        self._commands_seen: set[str] = set()
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread and its client."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    @property
    def is_read(self) -> bool:
        """True once both topics have been read to the ends that they had, and what was there is ready."""
        return self._read.is_set()

    def wait_until_read(self, timeout_s: float, stop: Callable[[], bool]) -> bool:
        """Wait for `is_read`, as long as that takes, at most so long; False where it did not come to it."""
        until = time.monotonic() + timeout_s
        while not self._read.wait(0.05):
            if stop() or time.monotonic() > until or not self._thread.is_alive():
                return False
        return True

    def take(self) -> list[ControlMessage]:
        """What has become ready since the last call, in the order in which it came."""
        taken = []
        while self._ready:
            taken.append(self._ready.popleft())
        return taken

    # -- in the thread -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            consumer: Consumer | None = None
            try:
                consumer = self._consumer()
                self._follow(consumer)
            except Exception as error:  # whatever it is, machines must go on being watched
                self._tell(f"control topics cannot be followed, trying again: {type(error).__name__}: {error}")
            finally:
                if consumer is not None:
                    consumer.close()
            self._stop.wait(PAUSE_S)

    def _consumer(self) -> Consumer:
        consumer = Consumer(
            client_config(
                self._settings.kafka,
                **{
                    "group.id": self._settings.kafka.group,  # named only: nothing is joined or committed
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "earliest",
                    "fetch.wait.max.ms": 100,
                },
            )
        )
        starts = {name: self._next[short] or OFFSET_BEGINNING for name, short in self._names.items()}
        consumer.assign([TopicPartition(name, 0, start) for name, start in starts.items()])
        return consumer

    def _follow(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            first = consumer.poll(POLL_S)
            if first is None:
                continue
            for message in [first, *consumer.consume(MESSAGES_AT_A_TIME - 1, timeout=0)]:
                if self._stop.is_set():
                    return
                if message.error() is not None:
                    self._note(message)
                else:
                    self._take_in(message)

    def _note(self, message: Any) -> None:
        error: KafkaError = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._waiting.discard(message.topic())
            name = self._names[message.topic()]
            self._look_for_a_new_topic(name, message.offset())
            self._next[name] = message.offset()
            if not self._waiting and self._early is not None:
                early, self._early = self._early, None
                for offset, (key, value, content_type) in sorted(early.values()):
                    self._ready.append(self._deployment(offset, key, value, content_type))
                self.ends = dict(self._next)
                self._read.set()
        elif error.fatal():
            raise KafkaException(error)
        else:
            advice = refusal(KafkaException(error)) or error.str()
            self._tell(f"control topic {message.topic() or ''}: {advice}; changes by it do not reach this worker")

    def _take_in(self, message: Any) -> None:
        name, offset = self._names[message.topic()], int(message.offset())
        self._look_for_a_new_topic(name, offset + 1)
        self._next[name] = offset + 1
        key, value = message.key() or b"", message.value()
        content_type = header_of(message, "content-type")
        if name == ALARM_COMMANDS:
            self._ready.append(self._command(offset, key, value, content_type))
        elif self._early is not None:
            self._early[key] = (offset, (key, value, content_type))
        else:
            self._ready.append(self._deployment(offset, key, value, content_type))

    def _look_for_a_new_topic(self, name: str, end: int) -> None:
        """A topic that was deleted and made anew begins again."""
        if end < self._next[name]:
            log.warning("a control topic was made anew: it is followed from its beginning", topic=name, ended_at=end)
            self._next[name] = 0
            self._ready.append(ControlMessage(name, -1, None))

    def _command(self, offset: int, key: bytes, value: bytes | None, content_type: bytes | None) -> ControlMessage:
        try:
            command = decode_message(AlarmCommand, value, content_type)
        except DecodeError as error:
            log.warning("not an alarm command, it is left out", topic=ALARM_COMMANDS, offset=offset, error=str(error))
            return ControlMessage(ALARM_COMMANDS, offset, None, refused=str(error))
        if command.command_id in self._commands_seen:
            return ControlMessage(ALARM_COMMANDS, offset, None)
        self._commands_seen.add(command.command_id)
        return ControlMessage(ALARM_COMMANDS, offset, command, key)

    def _deployment(self, offset: int, key: bytes, value: bytes | None, content_type: bytes | None) -> ControlMessage:
        """A message of `models`, its bundle ready; refused where there is anything wrong with it."""
        if value is None:
            return ControlMessage(MODELS, offset, _ended_shadow(key), key)
        model: ActiveModel | None = None
        started = time.monotonic()
        try:
            model = decode_message(ActiveModel, value, content_type)
            deployment, bundle = self._opened(model)
            self._prepare(deployment, bundle)
        except Exception as error:  # a bundle is foreign code and data: whatever happens, the old one stays
            reason = str(error) if isinstance(error, InputError | DecodeError) else f"{type(error).__name__}: {error}"
            return self._refused(offset, key, model, reason)
        log.info(
            "deployment is ready",
            rule=deployment.rule,
            machines=deployment.machines,
            mode=deployment.mode,
            bundle=model.bundle,
            seconds=round(time.monotonic() - started, 2),
        )
        return ControlMessage(MODELS, offset, deployment, key)

    def _opened(self, model: ActiveModel) -> tuple[Deployment, Bundle | None]:
        bundle: Bundle | None = None
        rule = model.rule
        if model.mode != "retired":
            bundle = open_trusted(model.uri, self._settings, sha256=model.sha256)
            rule = rule or bundle.manifest.detector
        return deployment_of(model, rule), bundle

    def _refused(self, offset: int, key: bytes, model: ActiveModel | None, reason: str) -> ControlMessage:
        log.error(
            "deployment is refused: what served before goes on",
            topic=MODELS,
            offset=offset,
            machines=model.route if model else key.decode(errors="replace"),
            bundle=model.uri if model else "",
            reason=reason,
        )
        group = self._settings.kafka.group
        machine = (model.route if model else key.decode(errors="replace").partition("/")[0]) or "*"
        event = AdaptationEvent(
            adaptation_id=str(uuid.uuid5(REFUSAL_NAMESPACE, f"{group}\x1f{offset}\x1f{model.sha256 if model else ''}")),
            machine=machine,
            rule=model.rule if model else "",
            event=AdaptationStep.REFUSED,
            at=time.time_ns() // 1000,
            bundle=model.bundle if model else "",
            uri=model.uri if model else "",
            who=group,
            reason=reason,
        )
        return ControlMessage(
            MODELS, offset, None, key, refused=reason, refusal=(machine.encode(), event.model_dump_json().encode())
        )

    def _tell(self, text: str) -> None:
        """Once each: an outage is told, not counted."""
        if text not in self._told:
            self._told.add(text)
            log.warning(text)


def deployment_of(model: ActiveModel, rule: str) -> Deployment:
    """The message as a deployment.

    Args:
        rule: its rule; the message may leave that to the bundle.

    Raises:
        InputError: fields that do not go together.
    """
    retired = model.mode == "retired"
    try:
        return Deployment(
            rule=rule,
            mode=model.mode,
            machines=model.route,
            kind=model.kind,
            bundle="" if retired else model.uri,
            sha256="" if retired else model.sha256,
            share=model.share,
        )
    except ValueError as error:
        raise InputError(f"deployment of {model.route}: {error}; publish it again with 'wheeltapper models'") from error


def _ended_shadow(key: bytes) -> Deployment | None:
    """What a deleted key says: of a shadow that it ends; of others nothing, as what they put in force stays."""
    parts = key.decode(errors="replace").rsplit("/", 2)
    if len(parts) < 3 or parts[2] != "shadow" or not parts[0] or not parts[1]:
        log.warning("a deleted key of the topic models changes nothing: only shadows end by it", key=key)
        return None
    return Deployment(rule=parts[1], mode="no-shadow", machines=parts[0])
