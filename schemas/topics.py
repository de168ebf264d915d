"""The topics, as data: one place that `topics create`, the worker and its readers share.

Every topic is keyed by machine id in UTF-8 (`models` by its route), so that one partition sees a machine in order.
Names carry a prefix, `wheeltapper.` unless settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

DEFAULT_PREFIX = "wheeltapper."

SENSORS = "sensors"
SCORES = "scores"
ALERTS = "alerts"
LOCALIZATIONS = "localizations"
LABEL_REQUESTS = "label-requests"
LABELS = "labels"
MODELS = "models"
DEAD_LETTERS = "dead-letters"
STATE = "state"

EMBEDDED_CLUSTER_ID = "wheeltapper-embedded"
"""Cluster id of the broker that `wheeltapper broker` starts. It answers the transaction calls, but shows aborted records to
`read_committed` readers: who finds this id in a cluster's metadata must not build on transactions."""

MIB = 1024 * 1024
DAY_MS = 24 * 60 * 60 * 1000

# 32 MiB is a block of 4,096 rows of 2,000 channels: more than any sender batches. Kafka's own limit is 1 MiB.
SENSORS_MAX_BYTES = 32 * MIB
# A state record holds one machine's window tail: 2,000 channels x 1,024 rows x 4 bytes is 8 MiB.
STATE_MAX_BYTES = 32 * MIB
# A dead letter is the whole original with headers around it; twice the largest original leaves room for both.
DEAD_LETTERS_MAX_BYTES = 64 * MIB
# A label request carries its window: at most MAX_LABEL_VALUES values of up to 15 bytes each, and a time a row.
LABEL_REQUESTS_MAX_BYTES = 8 * MIB
MAX_LABEL_VALUES = 262_144
"""Most rows x channels of a label request; of a larger window it carries the last rows."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as `topics create` makes it.

    Attributes:
        name: without prefix.
        carries: what its values are, for a person.
        cleanup: Kafka's cleanup.policy.
        partitions: a fixed number; None is as many as `sensors` has, so that a machine has the same partition number
            in each of them and the worker that reads a machine's rows also owns its state.
        config: topic settings besides cleanup.policy, as Kafka spells them.
    """

    name: str
    carries: str
    cleanup: Literal["delete", "compact"]
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)

    def kafka_config(self) -> dict[str, str]:
        """All topic settings, cleanup.policy among them."""
        return {"cleanup.policy": self.cleanup, **self.config}


def _days(count: int) -> str:
    return str(count * DAY_MS)


_SPECS = (
    TopicSpec(
        SENSORS,
        "rows of one machine",
        "delete",
        config={"retention.ms": _days(7), "max.message.bytes": str(SENSORS_MAX_BYTES)},
    ),
    TopicSpec(SCORES, "scores of one machine by one bundle", "delete", config={"retention.ms": _days(7)}),
    TopicSpec(ALERTS, "alerts: opened, updated, cleared", "delete", config={"retention.ms": _days(365)}),
    TopicSpec(
        LOCALIZATIONS,
        "every channel's part in an alert",
        "delete",
        # Machines of thousands of channels: one entry a channel, 100-150 bytes each in JSON.
        config={"retention.ms": _days(365), "max.message.bytes": str(4 * MIB)},
    ),
    TopicSpec(
        LABEL_REQUESTS,
        "windows that a person should judge",
        "delete",
        # As long as their labels: training needs both.
        config={"retention.ms": _days(365), "max.message.bytes": str(LABEL_REQUESTS_MAX_BYTES)},
    ),
    TopicSpec(LABELS, "what a person said of them", "delete", config={"retention.ms": _days(365)}),
    TopicSpec(MODELS, "which bundle serves which machines", "compact", partitions=1),
    TopicSpec(
        DEAD_LETTERS,
        "messages that could not be used, and why",
        "delete",
        config={"retention.ms": _days(30), "max.message.bytes": str(DEAD_LETTERS_MAX_BYTES)},
    ),
    TopicSpec(
        STATE,
        "what a worker needs to go on after a restart",
        "compact",
        # A snapshot replaces the one before it within minutes: compact early, or a restart reads mostly old ones.
        config={
            "max.message.bytes": str(STATE_MAX_BYTES),
            "min.cleanable.dirty.ratio": "0.2",
            "segment.ms": str(60 * 60 * 1000),
            "segment.bytes": str(128 * MIB),
        },
    ),
)

TOPICS: Mapping[str, TopicSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Name without prefix -> definition."""


def topic_name(prefix: str, name: str) -> str:
    """The topic's name on the broker, e.g. 'wheeltapper.' and 'alerts' -> 'wheeltapper.alerts'.

    Raises:
        KeyError: `name` is not one of `TOPICS`.
    """
    return prefix + TOPICS[name].name
