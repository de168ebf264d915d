"""The control log of one input partition: which changes hold from which input offset on, and how far both topics were applied.

A restart that reads rows again must meet every change where an undisturbed run met it. So a change is noted with the input
offset from which it holds before any output of it is out, and each machine's snapshot says which change it has seen last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import orjson
import structlog

from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.topics import ALARM_COMMANDS, MODELS
from wheeltapper.stream.core.saved import optional, whole
from wheeltapper.stream.deployment import Deployment, InForce

log = structlog.get_logger(__name__)

Change: TypeAlias = Deployment | AlarmCommand

CONTROL_TOPICS = (MODELS, ALARM_COMMANDS)

# Maintenance that was announced by commands is remembered for rows that come late; a calendar file holds more.
MOST_MAINTENANCE = 1_000


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """What came on one of the control topics, ready to be applied.

    Attributes:
        topic: 'models' or 'alarm-commands'; empty: it came by no topic.
        offset: where it lies there.
        change: None where the message changes nothing: refused, unreadable, or a command that came before.
        key: of the record; of messages of one key on `models` the last alone counts.
        refused: why it was refused, for a person; the event that says so is `refusal`.
        refusal: AdaptationEvent as JSON, and the key of its record.
    """

    topic: str
    offset: int
    change: Change | None
    key: bytes = b""
    refused: str = ""
    refusal: tuple[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One change in force.

    Attributes:
        number: rises by one with every change of the partition, also over restarts.
        since: input offset from which it holds.
    """

    number: int
    since: int
    change: Change


@dataclass(slots=True)
class ControlLog:
    """Changes of one partition, in the order in which they hold.

    Attributes:
        number: of the last change; 0 before the first.
        in_force: number of the last one that holds at the partition's position.
        read: control topic -> offset of the next message to apply; None: where the topic ends now.
        writes: how often the record was written: of two, the one with more counts.
        life: of the partition's input in which offsets are counted.
    """

    entries: list[Entry] = field(default_factory=list)
    number: int = 0
    in_force: int = 0
    read: dict[str, int | None] = field(default_factory=lambda: {MODELS: 0, ALARM_COMMANDS: None})
    writes: int = 0
    life: int = 0
    _deployments: dict[int, tuple[InForce, ...]] = field(default_factory=dict)

    def add(self, change: Change, since: int) -> None:
        """Note a change; it holds once `advance` passes `since`."""
        if self.entries:
            since = max(since, self.entries[-1].since)
        self.number += 1
        self.entries.append(Entry(self.number, since, change))
        self._deployments.clear()

    def due(self, position: int) -> list[Entry]:
        """Changes that hold from `position` or before it, and are not in force yet."""
        return [entry for entry in self._ahead() if entry.since <= position]

    @property
    def next_since(self) -> int | None:
        """Input offset from which the next change holds that is not in force yet."""
        return next((entry.since for entry in self._ahead()), None)

    def deployments(self, upto: int) -> tuple[InForce, ...]:
        """Deployments up to a change's number, in the order in which they came."""
        known = self._deployments.get(upto)
        if known is None:
            known = self._deployments[upto] = tuple(
                InForce(entry.since, entry.change)
                for entry in self.entries
                if entry.number <= upto and isinstance(entry.change, Deployment)
            )
        return known

    def serving(self, position: int) -> list[InForce]:
        """Deployments that hold at `position` or will, without those that others of the same place have replaced."""
        return [
            InForce(entry.since, entry.change)
            for entry in _still_needed(self.entries, position + 1)
            if isinstance(entry.change, Deployment)
        ]

    def maintenance(self) -> Iterator[AlarmCommand]:
        """Announced maintenance that is in force."""
        for entry in self.entries:
            change = entry.change
            if entry.number <= self.in_force and isinstance(change, AlarmCommand) and change.action == "maintenance":
                yield change

    def forget(self, committable: int) -> None:
        """Drop what no restart needs: it reads rows from `committable` on."""
        kept = _still_needed(self.entries, committable)
        if len(kept) < len(self.entries):
            self.entries = kept
            self._deployments.clear()

    def _ahead(self) -> Iterator[Entry]:
        if self.number > self.in_force:
            yield from (entry for entry in self.entries if entry.number > self.in_force)

    # -- the record --------------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Value of the record in the `state` topic. Counts as written."""
        self.writes += 1
        return orjson.dumps(
            {
                "writes": self.writes,
                "life": self.life,
                "number": self.number,
                "read": self.read,
                "changes": [
                    {"number": entry.number, "since": entry.since, **_change_to_json(entry.change)}
                    for entry in self.entries
                ],
            }
        )

    @staticmethod
    def from_bytes(value: bytes, position: int, life: int = 0) -> ControlLog:
        """The log of a partition whose rows are read from `position` on; records of deployments alone are read too.

        Changes that hold from `position` exactly are not in force yet: the commit may be older than they.

        Args:
            life: of the partition's input now. Changes of another life hold from `position` on.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read.
        """
        found = orjson.loads(value)
        if isinstance(found, list):  # wheeltapper 0.1.0 before the control topics
            entries = [
                Entry(number, whole(each["since"]), InForce.from_json(each).deployment)
                for number, each in enumerate(found, start=1)
            ]
            control = ControlLog(entries, len(entries))
        else:
            entries = [
                Entry(whole(each["number"], 1), whole(each["since"]), _change_from_json(each))
                for each in found["changes"]
            ]
            read = {topic: found["read"].get(topic) for topic in CONTROL_TOPICS}
            control = ControlLog(
                entries,
                whole(found["number"]),
                read={topic: optional(whole, offset) for topic, offset in read.items()},
                writes=whole(found["writes"]),
            )
            if any(later.number <= earlier.number for earlier, later in pairwise(entries)) or (
                entries and entries[-1].number > control.number
            ):
                raise ValueError("its changes are not numbered one after the other")
        if not isinstance(found, list) and whole(found.get("life", 0)) != life:
            control.entries = entries = [Entry(entry.number, position, entry.change) for entry in entries]
        control.life = life
        control.in_force = next((entry.number - 1 for entry in entries if entry.since >= position), control.number)
        return control


def writes_of(value: bytes) -> int:
    """How often a record was written when it was; 0 where that cannot be read."""
    try:
        return whole(orjson.loads(value)["writes"])
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return 0


def latest_since(value: bytes) -> int:
    """The highest input offset from which a change of a record holds; -1 where there is none, or it cannot be read."""
    try:
        found = orjson.loads(value)
        entries = found if isinstance(found, list) else found["changes"]
        return max((whole(each["since"]) for each in entries), default=-1)
    except (LookupError, TypeError, ValueError):
        return -1


def life_of(value: bytes) -> int:
    """Life of the input in which a record counts offsets; 0 where it does not say."""
    try:
        return whole(orjson.loads(value).get("life", 0))
    except (AttributeError, TypeError, ValueError):
        return 0


def _change_to_json(change: Change) -> dict[str, Any]:
    if isinstance(change, Deployment):
        return {"deployment": change.to_json()}
    return {"command": change.model_dump(exclude_defaults=True)}


def _change_from_json(fields: Mapping[str, Any]) -> Change:
    if "deployment" in fields:
        return Deployment(**fields["deployment"])
    return AlarmCommand.model_validate(fields["command"])


def _still_needed(entries: Sequence[Entry], committable: int) -> list[Entry]:
    """What a restart may need that reads rows from `committable` on.

    Of deployments that held before, the last of each rule, machines and place is enough; commands are in the snapshots, but for
    maintenance, which holds for rows that come later.
    """
    latest: dict[tuple[str, str, str, bool], int] = {}
    maintenance: list[Entry] = []
    for entry in entries:
        if entry.since >= committable:
            break
        if isinstance(entry.change, Deployment):
            latest[entry.change.place] = entry.number
        elif entry.change.action == "maintenance":
            maintenance.append(entry)
    keep = {*latest.values(), *(entry.number for entry in _latest_maintenance(maintenance))}
    return [entry for entry in entries if entry.number in keep or entry.since >= committable]


def _latest_maintenance(entries: Iterable[Entry]) -> list[Entry]:
    """Those that end last, where there are too many."""

    def end(entry: Entry) -> int:
        assert isinstance(entry.change, AlarmCommand)
        return entry.change.until or 0

    found = sorted(entries, key=end)
    if len(found) > MOST_MAINTENANCE:
        log.warning(
            "more maintenance was announced than is remembered: spans that ended first are forgotten",
            announced=len(found),
            remembered=MOST_MAINTENANCE,
        )
    return found[-MOST_MAINTENANCE:]
