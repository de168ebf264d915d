"""Makes the messages about adaptations, each step once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep
from wheeltapper.training.adaptation.service.life import Deploy, JobOutcome, Life, Say
from wheeltapper.training.adaptation.service.serving import ServingBook

WHO = "adapt-worker"

OUTCOMES = frozenset({AdaptationStep.ACCEPTED, AdaptationStep.REJECTED, AdaptationStep.FAILED})
"""With one of these on the topic, a request is decided: it is not worked on again."""


class Announcer:
    """Remembers what is on the topic already: a restart repeats nothing."""

    def __init__(self, serving: ServingBook) -> None:
        self._serving = serving
        self._said: dict[str, set[tuple[AdaptationStep, str]]] = {}
        self.decided: dict[str, AdaptationEvent] = {}
        """Adaptation id -> its outcome."""

    def note(self, event: AdaptationEvent) -> None:
        """Remember an event that is on the topic."""
        self._said.setdefault(event.adaptation_id, set()).add((event.event, event.reason))
        if event.event in OUTCOMES:
            self.decided[event.adaptation_id] = event

    def say(
        self,
        life: Life,
        step: AdaptationStep,
        now_us: int,
        *,
        reason: str = "",
        who: str = WHO,
        evidence: dict[str, Any] | None = None,
    ) -> Iterable[Say]:
        """The event of a step of this life, unless it is on the topic already."""
        if (step, reason) in self._said.get(life.adaptation_id, ()):
            return ()
        child = life.child or JobOutcome("")
        event = AdaptationEvent(
            adaptation_id=life.adaptation_id,
            machine=life.machine,
            rule=life.rule,
            event=step,
            at=now_us,
            time=max([life.seen_at, *(tally.last or 0 for tally in life.new.values())]) or None,
            step=child.step,
            bundle=child.bundle,
            parent=life.parent.bundle,
            uri=child.uri,
            report=child.report,
            drift_id=life.drift_id,
            who=who,
            reason=reason,
            evidence=json.dumps(evidence, allow_nan=False, default=str) if evidence else "",
        )
        self.note(event)
        return (Say(event),)

    def deploy(self, life: Life, mode: str, now_us: int, *, reason: str, share: float = 1.0) -> Iterable[Deploy]:
        """The child in this mode, unless that is what holds already."""
        assert life.child is not None
        return self._message(life, now_us, mode=mode, to=life.child, back=life.parent, reason=reason, share=share)

    def put_back(self, life: Life, now_us: int, *, reason: str) -> Iterable[Deploy]:
        """The parent in service again."""
        assert life.child is not None
        return self._message(life, now_us, mode="active", to=life.parent, back=life.child, reason=reason)

    def _message(
        self, life: Life, now_us: int, *, mode: str, to: Any, back: Any, reason: str, share: float = 1.0
    ) -> Iterable[Deploy]:
        model = ActiveModel.model_validate(
            {
                "route": life.route,
                "rule": life.rule,
                "bundle": to.bundle,
                "uri": to.uri,
                "sha256": to.sha256,
                "mode": mode,
                "share": share,
                "previous_uri": back.uri,
                "previous_sha256": back.sha256,
                "adaptation_id": life.adaptation_id,
                "who": WHO,
                "at": now_us,
                "reason": reason,
            }
        )
        holds = self._serving.latest(model.key)
        same = ("mode", "uri", "sha256", "share", "adaptation_id")
        if holds is not None and all(getattr(holds, name) == getattr(model, name) for name in same):
            return ()
        self._serving.take(model)
        return (Deploy(model),)
