"""One adaptation from its request to its end, and what the service wants done about it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.machine_names import matches
from wheeltapper.training.adaptation.service.serving import Serving
from wheeltapper.training.adaptation.service.tally import Tally

# Any fixed UUID serves as the name space; the ids must only be the same everywhere.
ADAPTATION_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:adaptation")


def adaptation_id(request_id: str) -> str:
    """UUIDv5 of the drift or the command that asked for it: the same request, the same id."""
    return str(uuid.uuid5(ADAPTATION_NAMESPACE, request_id))


class Phase(StrEnum):
    """Where an adaptation stands."""

    WAITING = "waiting"
    """An alert is open, or a few channels alone moved far: it may be a fault that lasts."""
    COLLECTING = "collecting"
    """There are too few rows yet that may be learned from."""
    QUEUED = "queued"
    RUNNING = "running"
    SHADOW = "shadow"
    CANARY = "canary"
    WATCHED = "watched"
    """In service; it goes back by itself where it does worse than was asked."""
    ENDED = "ended"


BEFORE_THE_OUTCOME = frozenset({Phase.WAITING, Phase.COLLECTING, Phase.QUEUED, Phase.RUNNING})
AFTER_THE_GATE = frozenset({Phase.SHADOW, Phase.CANARY, Phase.WATCHED})


@dataclass(frozen=True, slots=True)
class InputPosition:
    """Where a request lies: the group's offset stays below it until the request has its outcome."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class RowSource:
    """Where a machine's rows since its change lie.

    Attributes:
        topic: full name; empty: the sensors topic.
        partition: -1 where it is not known: every partition is read.
        first_offset: of the first row; -1: rows published from `published_us` on.
        published_us: by the clock.
    """

    topic: str = ""
    partition: int = -1
    first_offset: int = -1
    published_us: int = 0


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What a job came to.

    Attributes:
        status: 'accepted': a child bundle passed the gate; 'rejected': none did; 'failed': the job ended by an error.
        step: of the ladder that passed.
        bundle, uri, sha256: the child.
        report: where the HTML report is.
        evidence: the attempts and the gate's figures, JSON types.
    """

    status: str
    reason: str = ""
    step: str = ""
    bundle: str = ""
    uri: str = ""
    sha256: str = ""
    report: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What a further adaptation goes on from, after a child has passed.

    Attributes:
        since, source, accepted_us, who: as `Life` has them.
        tries: jobs so far.
        not_before: event time (us) that the machine must have reached before it is tried.
    """

    since: int
    source: RowSource
    accepted_us: int | None
    who: str
    tries: int
    not_before: int


@dataclass(slots=True)
class Life:
    """One adaptation.

    Attributes:
        adaptation_id, drift_id: `drift_id` is empty where a person asked.
        route: machine id or pattern that the child is to serve.
        parent: the bundle that is adapted.
        since: event time (us) of the change; rows before it are of the old normal.
        seen_at: event time (us) of the newest row that is known of.
        asked_at: event time (us) of the newest row by the request.
        alert_open: the drift said that an alert was open at `asked_at`.
        local: a few channels alone moved far: it may be a fault that lasts.
        accepted_us: when an operator accepted the change, by the clock; None: nobody has.
        who: who accepted or asked.
        holds: requests and commands that must be read again until there is an outcome.
        tries: jobs so far without a child that is final.
        not_before: event time (us) that the machine must have reached before the next try.
        follows: id of the adaptation whose child it goes on from; empty: none.
        again: what follows once its child is in service; None: nothing.
        child: its outcome once it passed the gate.
        phase_at: when the phase began, by the clock (us).
        old, new: scores of parent and child, by machine, since the phase began.
        machines: that the child has scored in any phase.
    """

    adaptation_id: str
    machine: str
    rule: str
    route: str
    parent: Serving
    drift_id: str = ""
    since: int = 0
    seen_at: int = 0
    asked_at: int = 0
    source: RowSource = RowSource()
    alert_open: bool = False
    local: bool = False
    accepted_us: int | None = None
    who: str = ""
    phase: Phase = Phase.WAITING
    holds: list[InputPosition] = field(default_factory=list)
    tries: int = 0
    not_before: int = 0
    follows: str = ""
    again: FollowUp | None = None
    child: JobOutcome | None = None
    phase_at: int = 0
    old: dict[str, Tally] = field(default_factory=dict)
    new: dict[str, Tally] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)

    def is_meant_by(self, command: AlarmCommand) -> bool:
        """Whether a command names this machine and rule."""
        return matches(command.machine, self.machine) and command.rule in ("", self.rule)

    def covers(self, machine: str) -> bool:
        """True where the child is to serve this machine."""
        return machine == self.machine or matches(self.route, machine)

    @property
    def is_for_many(self) -> bool:
        """True where the child is for a pattern of machines."""
        return self.route != self.machine

    def is_of_same_place(self, other: Life) -> bool:
        """True where both children would be for the same machine and rule, or for the same pattern of machines."""
        same = self.machine == other.machine or (other.is_for_many and self.route == other.route)
        return self.rule == other.rule and same

    def serves(self, bundle: str) -> bool:
        """True where the bundle is the child."""
        return self.child is not None and self.child.bundle == bundle

    def enter(self, phase: Phase, now_us: int) -> None:
        """Begin a phase; what was counted before does not count for it."""
        self.seen_at = max([self.seen_at, *(tally.last or 0 for tally in self.new.values())])
        self.phase, self.phase_at = phase, now_us
        self.old, self.new = {}, {}

    def seconds_scored(self) -> float:
        """Event time that the child has scored of the machine since the phase began."""
        tally = self.new.get(self.machine)
        return 0.0 if tally is None else tally.days * 86_400

    def machine_days(self) -> float:
        """Event time that the child has scored, summed over machines."""
        return sum(tally.days for tally in self.new.values())


@dataclass(frozen=True, slots=True)
class Say:
    """Publish on `adaptations`."""

    event: AdaptationEvent


@dataclass(frozen=True, slots=True)
class Deploy:
    """Publish on `models`; it has arrived before anything that follows is published."""

    model: ActiveModel


@dataclass(frozen=True, slots=True)
class StartJob:
    """Run the ladder."""

    life: Life


Action: TypeAlias = Say | Deploy | StartJob
