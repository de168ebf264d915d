"""What tests of the adaptation service share: a machine, its messages, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, DriftEvent
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import AlertEvent, ClearReason, ScoreBlock
from wheeltapper.stream.settings import AdaptationSettings
from wheeltapper.training.adaptation.service.life import (
    Action,
    Deploy,
    InputPosition,
    JobOutcome,
    Say,
    StartJob,
)
from wheeltapper.training.adaptation.service.service import AdaptationService
from wheeltapper.training.adaptation.service.serving import Serving

START = 1_700_000_000_000_000
MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SHA_OLD, SHA_NEW = "a" * 64, "b" * 64
OLD, NEW = "pca-pump-1-old", "pca-pump-1-new"
GIVEN = (Serving("pump-*", "pca", OLD, "bundles/pumps", SHA_OLD),)

PASSED = JobOutcome(
    "accepted",
    "input-scaling passed the gate",
    "input-scaling",
    NEW,
    "out/new",
    SHA_NEW,
    "out/report.html",
    {"gate": 1},
)


def drift(machine: str = "pump-1", **fields: Any) -> DriftEvent:
    values: dict[str, Any] = {
        "drift_id": f"drift-of-{machine}", "machine": machine, "rule": "pca", "bundle": OLD, "event": "started", "time": START + 3 * HOUR,
        "since": START, "tests": ("adwin", "inputs"), "score_before": 0.2, "score_after": 0.9, "topic": "sensors",
        "partition": 0, "first_offset": 10, "last_offset": 190,
    }  # fmt: skip
    return DriftEvent(**{**values, **fields})


def alert(event: str, time: int, *, opened_at: int | None = None, ident: str = "alert-1", **fields: Any) -> AlertEvent:
    reason = ClearReason.RECOVERED if event == "cleared" else None
    values: dict[str, Any] = {
        "alert_id": ident, "machine": "pump-1", "event": event, "opened_at": opened_at or time, "time": time, "severity": 60,
        "score": 1.5, "peak_score": 1.5, "threshold": 1.0, "rule": "pca", "detector": "pca", "bundle": OLD, "quality": 1.0,
        "channels": (), "reason": reason,
    }  # fmt: skip
    return AlertEvent(**{**values, **fields})


def command(action: str, at: int, **fields: Any) -> AlarmCommand:
    values: dict[str, Any] = {
        "command_id": f"{action}-{at}",
        "machine": "pump-1",
        "action": action,
        "who": "anna",
        "at": at,
    }
    return AlarmCommand(**{**values, **fields})


def block(
    bundle: str, start: int, hours: float, *, machine: str = "pump-1", above: frozenset[int] = frozenset()
) -> ScoreBlock:
    """A score a minute, 0.3, and 2 in the minutes `above`."""
    minutes = range(round(hours * 60) + 1)
    return ScoreBlock(
        machine=machine,
        rule="pca",
        bundle=bundle,
        time=tuple(start + minute * MINUTE for minute in minutes),
        raw=tuple(0.0 for _ in minutes),
        score=tuple(2.0 if minute in above else 0.3 for minute in minutes),
        threshold=tuple(1.0 for _ in minutes),
        quality=tuple(1.0 for _ in minutes),
    )


@dataclass
class Stage:
    """A service, a clock that moves a second with each message, and everything that the service asked for."""

    service: AdaptationService
    now: int = START
    actions: list[Action] = field(default_factory=list)
    offset: int = 0

    def _note(self, actions: list[Action]) -> list[Action]:
        self.actions += actions
        return actions

    def _tick(self) -> int:
        self.now += 1_000_000
        return self.now

    def _position(self, topic: str) -> InputPosition:
        self.offset += 1
        return InputPosition(topic, 0, self.offset)

    def drift(self, event: DriftEvent) -> list[Action]:
        return self._note(self.service.drift(event, self._position("drift"), self._tick()))

    def command(self, given: AlarmCommand) -> list[Action]:
        return self._note(self.service.command(given, self._position("alarm-commands"), self._tick()))

    def alert(self, event: AlertEvent) -> list[Action]:
        now = self._tick()
        return self._note(self.service.alert(event, now, now))

    def scores(self, scores: ScoreBlock) -> list[Action]:
        return self._note(self.service.scores(scores, self._tick()))

    def rows(self, usable: int) -> list[Action]:
        """Tell of rows, and start what may start."""
        for life in self.service.collecting:
            self._note(self.service.rows(life.adaptation_id, usable, 60.0, self._tick()))
        return self._note(self.service.due_jobs(self._tick()))

    def finish(self, outcome: JobOutcome = PASSED) -> list[Action]:
        """The job that runs ends so."""
        life = next(life for life in self.service.lives.values() if life.phase == "running")
        return self._note(self.service.finished(life.adaptation_id, outcome, self._tick()))

    def model(self, model: ActiveModel) -> list[Action]:
        return self._note(self.service.model(model, self._tick()))

    @property
    def events(self) -> list[AdaptationEvent]:
        return [action.event for action in self.actions if isinstance(action, Say)]

    @property
    def steps(self) -> list[str]:
        return [str(event.event) for event in self.events]

    @property
    def models(self) -> list[ActiveModel]:
        return [action.model for action in self.actions if isinstance(action, Deploy)]

    @property
    def modes(self) -> list[str]:
        """Modes as published; 'back' where the parent was put back."""
        return ["back" if model.bundle == OLD else model.mode for model in self.models]

    @property
    def jobs(self) -> list[str]:
        return [action.life.machine for action in self.actions if isinstance(action, StartJob)]


def stage(given: Sequence[Serving] = GIVEN, **rules: Any) -> Stage:
    settings = AdaptationSettings(**{"min_recent_s": 6 * 3600, "min_recent_rows": 500, "tries": 1, **rules})
    return Stage(AdaptationService(settings, false_alarms_per_day=0.25, given=given))


def in_shadow(**rules: Any) -> Stage:
    """A machine that drifted, with its child in shadow."""
    known = stage(**rules)
    known.drift(drift())
    known.rows(600)
    known.finish()
    return known


def in_service(**rules: Any) -> Stage:
    """The same, with the child in service."""
    known = in_shadow(**rules)
    known.scores(block(NEW, START + DAY, 6))
    return known
