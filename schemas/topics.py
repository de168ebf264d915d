"""The table of topics and messages. To add a topic, add one entry here and its message type; everything else follows.

What follows from an entry: the name in the settings (`topics.label_requests`), the names that the worker publishes under,
`wheeltapper topics create` and `list`, the worker's check that its topics exist, and, written by
`python -m wheeltapper.schemas.generate`, the Avro and JSON schemas of the message type, the topic and rights tables of the
docs and `[topics]` of deploy/worker.toml.

Names carry a prefix, `wheeltapper.` unless settings say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, DriftEvent
from wheeltapper.schemas.audio_chunk import AudioChunk, AudioChunkAvro
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import AlertEvent, Label, LabelRequest, Localization, ScoreBlock
from wheeltapper.schemas.limits import MAX_MESSAGE_BYTES, MIB
from wheeltapper.schemas.sensor_block import SensorBlock, SensorBlockAvro, SensorBlockJson

DEFAULT_PREFIX = "wheeltapper."

EMBEDDED_CLUSTER_ID = "wheeltapper-embedded"
"""Cluster id of the broker that `wheeltapper broker` starts. It answers the transaction calls, but shows aborted records to
`read_committed` readers: who finds this id in a cluster's metadata must not build on transactions."""

DAY_MS = 24 * 60 * 60 * 1000

SENSORS_MAX_BYTES = MAX_MESSAGE_BYTES
AUDIO_MAX_BYTES = MAX_MESSAGE_BYTES
# A state record holds one machine's window tail: 2,000 channels x 1,024 rows x 4 bytes is 8 MiB.
STATE_MAX_BYTES = 32 * MIB
# A dead letter is the whole original with headers around it; twice the largest original leaves room for both.
DEAD_LETTERS_MAX_BYTES = 64 * MIB
# A label request carries its window: at most MAX_LABEL_VALUES values of up to 15 bytes each, and a time a row.
LABEL_REQUESTS_MAX_BYTES = 8 * MIB
MAX_LABEL_VALUES = 262_144
"""Most rows x channels of a label request; of a larger window it carries the last rows."""

Encoding = Literal["json", "avro", "arrow"]
Operation = Literal["READ", "WRITE", "ALTER", "DESCRIBE_CONFIGS"]


class Program(StrEnum):
    """Who uses topics. The value is the text of docs/deploy.md's table of rights, which has the same order."""

    WORKER = "worker"
    ALERTS = "`wheeltapper alerts`"
    LABEL = "`wheeltapper label`"
    TRAINING = "`wheeltapper train --labels-from`"
    ALARM = "`wheeltapper alarm`"
    MODELS = "`wheeltapper models`"
    ADAPTATION = "`wheeltapper adapt-worker`"
    ADAPTATIONS = "`wheeltapper adaptations`"
    WHAT_IF = "`wheeltapper what-if`"
    CLIP = "`wheeltapper clip`"
    SENDER = "`wheeltapper replay`, `wheeltapper record`, `wheeltapper dead-letters replay`, any sender"
    SUBSCRIBER = "any subscriber, of those that it reads"


@dataclass(frozen=True, slots=True)
class Access:
    """What one program does with a topic.

    Attributes:
        operations: as Kafka's ACLs call them.
        setting: the boolean setting without which the program leaves the topic alone, e.g. 'labels.enabled'; empty: none.
        note: what else to say of it in the table of rights.
    """

    program: Program
    operations: tuple[Operation, ...]
    setting: str = ""
    note: str = ""


def reads(program: Program, *, setting: str = "", note: str = "") -> Access:
    """The program subscribes to the topic."""
    return Access(program, ("READ",), setting, note)


def writes(program: Program, *, setting: str = "", note: str = "") -> Access:
    """The program publishes to the topic. A worker asks how large its messages may be, and cuts larger ones."""
    operations: tuple[Operation, ...] = ("WRITE", "DESCRIBE_CONFIGS") if program is Program.WORKER else ("WRITE",)
    return Access(program, operations, setting, note)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: what it carries, how it is made, who uses it.

    Attributes:
        name: without prefix; lower-case words with hyphens between them.
        carries: what its values are, for a person.
        model: the type of its values; None where they are no message of their own (dead letters, the workers' state).
            Each type has one topic.
        key: what the record's key is, for a person.
        codecs: encodings that readers take; () where `model` is None.
        cleanup: Kafka's cleanup.policy.
        access: who reads and writes it.
        partitions: a fixed number; None is as many as `sensors` has, so that a machine has the same partition number
            in each of them and the worker that reads a machine's rows also owns its state.
        config: topic settings besides cleanup.policy, as Kafka spells them.
        json_form, avro_form: what the model is on the wire, where it is not itself a pydantic model (arrays are not).
    """

    name: str
    carries: str
    model: type | None
    codecs: tuple[Encoding, ...]
    cleanup: Literal["delete", "compact"]
    access: tuple[Access, ...]
    key: str = "machine"
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    json_form: type[BaseModel] | None = None
    avro_form: type[BaseModel] | None = None

    @property
    def setting(self) -> str:
        """Its key in the section `[topics]` of the settings: 'label_requests'."""
        return self.name.replace("-", "_")

    @property
    def is_input(self) -> bool:
        """True where workers read machines' messages from it: it is partitioned by machine, and they do not write it."""
        operations = {each for access in self.access_of(Program.WORKER) for each in access.operations}
        return self.partitions is None and "READ" in operations and "WRITE" not in operations

    def access_of(self, program: Program) -> tuple[Access, ...]:
        """What one program does with it."""
        return tuple(access for access in self.access if access.program is program)

    def kafka_config(self) -> dict[str, str]:
        """All topic settings, cleanup.policy among them."""
        return {"cleanup.policy": self.cleanup, **self.config}


def _days(count: int) -> str:
    return str(count * DAY_MS)


_table: dict[str, TopicSpec] = {}


def _entry(spec: TopicSpec) -> str:
    _table[spec.name] = spec
    return spec.name


SENSORS = _entry(
    TopicSpec(
        "sensors",
        "1..n rows of one machine",
        SensorBlock,
        ("json", "avro", "arrow"),
        "delete",
        (reads(Program.WORKER, note="or your own topic"), reads(Program.ADAPTATION), writes(Program.SENDER)),
        config={"retention.ms": _days(7), "max.message.bytes": str(SENSORS_MAX_BYTES)},
        json_form=SensorBlockJson,
        avro_form=SensorBlockAvro,
    )
)
AUDIO = _entry(
    TopicSpec(
        "audio",
        "a stretch of sound or vibration of one machine",
        AudioChunk,
        ("avro", "arrow"),
        "delete",
        (
            reads(Program.WORKER, note="for bundles of sound; or your own topic"),
            reads(Program.ADAPTATION),
            writes(Program.SENDER),
            reads(Program.CLIP),
        ),
        # A second of one microphone is 32 to 192 kB: sound is kept for a day, rows for a week.
        config={"retention.ms": _days(1), "max.message.bytes": str(AUDIO_MAX_BYTES)},
        avro_form=AudioChunkAvro,
    )
)
SCORES = _entry(
    TopicSpec(
        "scores",
        "raw and calibrated scores of one machine by one bundle, threshold, data quality",
        ScoreBlock,
        ("json", "avro"),
        "delete",
        (
            writes(Program.WORKER, setting="scoring.publish_scores"),
            reads(Program.ADAPTATION),
            reads(Program.WHAT_IF),
            reads(Program.SUBSCRIBER),
        ),
        config={"retention.ms": _days(7)},
    )
)
ALERTS = _entry(
    TopicSpec(
        "alerts",
        "steps in the life of an alert: opened, updated, cleared",
        AlertEvent,
        ("json", "avro"),
        "delete",
        (
            writes(Program.WORKER),
            reads(Program.WORKER, setting="joint.enabled"),
            reads(Program.ALERTS),
            reads(Program.LABEL),
            reads(Program.ALARM),
            reads(Program.ADAPTATION),
            reads(Program.SUBSCRIBER),
        ),
        config={"retention.ms": _days(365)},
    )
)
LOCALIZATIONS = _entry(
    TopicSpec(
        "localizations",
        "every channel's part in an alert",
        Localization,
        ("json", "avro"),
        "delete",
        (writes(Program.WORKER), reads(Program.CLIP), reads(Program.SUBSCRIBER)),
        # Machines of thousands of channels: one entry a channel, 100-150 bytes each in JSON.
        config={"retention.ms": _days(365), "max.message.bytes": str(4 * MIB)},
    )
)
LABEL_REQUESTS = _entry(
    TopicSpec(
        "label-requests",
        "windows that a person should judge",
        LabelRequest,
        ("json", "avro"),
        "delete",
        (
            writes(Program.WORKER, setting="labels.enabled"),
            reads(Program.LABEL),
            reads(Program.TRAINING),
            reads(Program.ADAPTATION),
        ),
        # As long as their labels: training needs both.
        config={"retention.ms": _days(365), "max.message.bytes": str(LABEL_REQUESTS_MAX_BYTES)},
    )
)
LABELS = _entry(
    TopicSpec(
        "labels",
        "what a person said of the requested windows, and of alerts",
        Label,
        ("json", "avro"),
        "delete",
        (Access(Program.LABEL, ("READ", "WRITE")), reads(Program.TRAINING), reads(Program.ADAPTATION)),
        config={"retention.ms": _days(365)},
    )
)
ALARM_COMMANDS = _entry(
    TopicSpec(
        "alarm-commands",
        "what operators say of alarms: accept, reset, confirm, reject, maintenance",
        AlarmCommand,
        ("json", "avro"),
        "delete",
        (
            reads(Program.WORKER, setting="control.enabled"),
            Access(Program.ALARM, ("READ", "WRITE")),
            reads(Program.ADAPTATION),
        ),
        # Every worker reads all of it: commands may name patterns, and a machine may move to any worker.
        partitions=1,
        config={"retention.ms": _days(365)},
    )
)
DRIFT = _entry(
    TopicSpec(
        "drift",
        "that a machine's normal has changed: which channels, by how much, since when",
        DriftEvent,
        ("json", "avro"),
        "delete",
        (writes(Program.WORKER, setting="drift.enabled"), reads(Program.ADAPTATION), reads(Program.SUBSCRIBER)),
        config={"retention.ms": _days(365), "max.message.bytes": str(4 * MIB)},
    )
)
ADAPTATIONS = _entry(
    TopicSpec(
        "adaptations",
        "steps of adaptations and deployments, with their evidence",
        AdaptationEvent,
        ("json", "avro"),
        "delete",
        (
            writes(Program.WORKER, setting="control.enabled"),
            Access(Program.MODELS, ("READ", "WRITE")),
            Access(Program.ADAPTATION, ("READ", "WRITE")),
            reads(Program.ADAPTATIONS),
            reads(Program.SUBSCRIBER),
        ),
        config={"retention.ms": _days(365), "max.message.bytes": str(4 * MIB)},
    )
)
MODELS = _entry(
    TopicSpec(
        "models",
        "which bundle serves which machines",
        ActiveModel,
        ("json", "avro"),
        "compact",
        (
            reads(Program.WORKER, setting="control.enabled"),
            Access(Program.MODELS, ("READ", "WRITE")),
            Access(Program.ADAPTATION, ("READ", "WRITE")),
        ),
        key="route and rule",
        partitions=1,
    )
)
DEAD_LETTERS = _entry(
    TopicSpec(
        "dead-letters",
        "the original bytes of messages that could not be used; headers say why",
        None,
        (),
        "delete",
        (writes(Program.WORKER), reads(Program.SUBSCRIBER)),
        key="the original's",
        config={"retention.ms": _days(30), "max.message.bytes": str(DEAD_LETTERS_MAX_BYTES)},
    )
)
STATE = _entry(
    TopicSpec(
        "state",
        "what a worker needs to go on after a restart; its form may change with any version",
        None,
        (),
        "compact",
        (
            Access(
                Program.WORKER,
                ("READ", "WRITE", "ALTER", "DESCRIBE_CONFIGS"),
                note="without ALTER, partitions that the input is given have to be added to it by hand",
            ),
        ),
        key="group and machine",
        # A snapshot replaces the one before it within minutes: compact early, or a restart reads mostly old ones.
        config={
            "max.message.bytes": str(STATE_MAX_BYTES),
            "min.cleanable.dirty.ratio": "0.2",
            "segment.ms": str(60 * 60 * 1000),
            "segment.bytes": str(128 * MIB),
        },
    )
)

TOPICS: Mapping[str, TopicSpec] = MappingProxyType(_table)
"""Name without prefix -> definition."""


def schema_name_of(model: type) -> str:
    """The name of a message type's schema files, without their ending: SensorBlock -> 'sensor_block'."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.__name__).lower()


def topic_setting(name: str) -> str:
    """The topic's key in the section `[topics]` of the settings, e.g. 'dead-letters' -> 'dead_letters'.

    Raises:
        KeyError: `name` is not one of `TOPICS`.
    """
    return TOPICS[name].setting


def topic_name(prefix: str, name: str) -> str:
    """The topic's name on the broker, e.g. 'wheeltapper.' and 'alerts' -> 'wheeltapper.alerts'.

    Raises:
        KeyError: `name` is not one of `TOPICS`.
    """
    return prefix + TOPICS[name].name
