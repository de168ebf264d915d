"""A child's life after the gate: shadow, canary where it is for many machines, service, and back where it does worse."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.training.adaptation.service import follow_up
from wheeltapper.training.adaptation.service.alerts import AlertBook
from wheeltapper.training.adaptation.service.announcer import WHO, Announcer
from wheeltapper.training.adaptation.service.judgement import Finding, judge
from wheeltapper.training.adaptation.service.life import (
    AFTER_THE_GATE,
    Action,
    JobOutcome,
    Life,
    Phase,
)
from wheeltapper.training.adaptation.service.rules import AdaptationRules
from wheeltapper.training.adaptation.service.serving import Serving
from wheeltapper.training.adaptation.service.tally import Tally

Step = AdaptationStep

_PHASES = {
    Step.ACCEPTED: Phase.SHADOW,
    Step.SHADOW: Phase.SHADOW,
    Step.CANARY: Phase.CANARY,
    Step.ACTIVATED: Phase.WATCHED,
}
# In the evidence of 'accepted': what a restart needs to go on.
DEPLOYMENT = "deployment"
# In the evidence of a second 'activated': it has been watched long enough.
PROVED = "proved"


class AfterGate:
    """Moves children that passed the gate on."""

    def __init__(
        self, rules: AdaptationRules, alerts: AlertBook, announcer: Announcer, false_alarms_per_day: float
    ) -> None:
        self._rules = rules
        self._alerts = alerts
        self._announcer = announcer
        self._asked = false_alarms_per_day

    # -- into service --------------------------------------------------------------------------------------------------

    def accepted(self, life: Life, outcome: JobOutcome, now_us: int) -> list[Action]:
        """A child passed the gate: it goes in shadow."""
        life.child = outcome
        life.again = follow_up.due_after(life, self._rules)
        deployment: dict[str, Any] = {
            "route": life.route,
            "child": {"sha256": outcome.sha256},
            "parent": asdict(life.parent),
            "follows": life.follows,
        }
        if life.again is not None:
            deployment["again"] = follow_up.to_json(life.again)
        # The deployment first: with 'accepted' on the topic the request is decided, and is not worked on again.
        actions: list[Action] = []
        if self._rules.shadow_s > 0:
            life.enter(Phase.SHADOW, now_us)
            actions += self._announcer.deploy(life, "shadow", now_us, reason="passed the gate")
        actions += self._announcer.say(
            life,
            Step.ACCEPTED,
            now_us,
            reason=outcome.reason,
            evidence={**outcome.evidence, DEPLOYMENT: deployment},
        )
        if life.phase is Phase.SHADOW:
            reason = (
                f"scores beside the old bundle for {_duration(self._rules.shadow_s)} of event time, without a voice"
            )
            return [*actions, *self._announcer.say(life, Step.SHADOW, now_us, reason=reason)]
        return [*actions, *self._after_shadow(life, Finding(), now_us)]

    def _after_shadow(self, life: Life, finding: Finding, now_us: int) -> list[Action]:
        """To a share of the machines where it is for many, else into service."""
        rules = self._rules
        if not life.is_for_many or rules.canary_s <= 0:
            return self._activate(life, finding, now_us)
        life.enter(Phase.CANARY, now_us)
        reason = (
            f"on {rules.canary_share:.0%} of the machines of {life.route} for {_duration(rules.canary_s)} of event time"
        )
        return [
            *self._announcer.deploy(life, "canary", now_us, reason="no regression in shadow", share=rules.canary_share),
            *self._announcer.say(life, Step.CANARY, now_us, reason=reason, evidence=finding.figures),
        ]

    def _activate(self, life: Life, finding: Finding, now_us: int) -> list[Action]:
        shown = {Phase.SHADOW: "no regression in shadow", Phase.CANARY: "no regression as canary"}
        before = shown.get(life.phase, "passed the gate")
        life.enter(Phase.WATCHED, now_us)
        reason = f"{before}; watched for {_duration(self._rules.watch_s)} of event time"
        return [
            *self._announcer.deploy(life, "active", now_us, reason=before),
            *self._announcer.say(life, Step.ACTIVATED, now_us, reason=reason, evidence=finding.figures),
        ]

    # -- what is seen of it --------------------------------------------------------------------------------------------

    def scores(self, life: Life, block: ScoreBlock, now_us: int) -> list[Action]:
        """Scores of a machine that the child is for."""
        if life.phase not in AFTER_THE_GATE or life.child is None:
            return []
        if block.bundle == life.child.bundle:
            life.new.setdefault(block.machine, Tally()).take(block)
            life.machines.add(block.machine)
        elif block.bundle == life.parent.bundle and life.new:
            # The two are compared over the same time.
            started = life.new[block.machine].first if block.machine in life.new else None
            if started is not None:
                life.old.setdefault(block.machine, Tally()).take(block, started)
        return self.look(life, now_us)

    def look(self, life: Life, now_us: int) -> list[Action]:
        """Whether it may go on, or must go."""
        if life.phase not in AFTER_THE_GATE or not life.new:
            return []
        finding = judge(life, self._alerts, self._rules, self._asked)
        if finding.regression:
            return self._take_back(life, finding.regression, now_us, finding.figures)
        if not finding.is_over:
            return []
        if life.phase is Phase.SHADOW:
            return self._after_shadow(life, finding, now_us)
        if life.phase is Phase.CANARY:
            return self._activate(life, finding, now_us)
        life.phase = Phase.ENDED
        reason = f"has proved itself for {_duration(self._rules.watch_s)} of event time"
        evidence = {PROVED: finding.figures}
        return [*self._announcer.say(life, Step.ACTIVATED, now_us, reason=reason, evidence=evidence)]

    # -- out of service ------------------------------------------------------------------------------------------------

    def refused(self, life: Life, reason: str, now_us: int) -> list[Action]:
        """A worker did not take the child; whatever it did with others, the old bundle serves."""
        if life.phase not in AFTER_THE_GATE:
            return []
        return self._take_back(life, f"a worker refused it: {reason}", now_us)

    def overruled(self, life: Life, model: ActiveModel, now_us: int) -> list[Action]:
        """A person deployed another bundle for the same machines and rule: theirs holds."""
        ours = model.adaptation_id == life.adaptation_id
        same_place = model.route == life.route and model.rule in ("", life.rule)
        if life.phase not in AFTER_THE_GATE or ours or not same_place or model.who == WHO:
            return []
        reason = f"{model.who or 'somebody'} deployed {model.bundle or model.mode} instead"
        # A deployment in service ends the shadow beside it.
        life.phase = Phase.ENDED
        return [*self._announcer.say(life, Step.ROLLED_BACK, now_us, reason=reason)]

    def _take_back(
        self, life: Life, reason: str, now_us: int, figures: dict[str, float | int] | None = None
    ) -> list[Action]:
        # Of a shadow too: the parent, deployed for these machines, ends it.
        actions: list[Action] = [*self._announcer.put_back(life, now_us, reason=reason)]
        life.phase = Phase.ENDED
        return [*actions, *self._announcer.say(life, Step.ROLLED_BACK, now_us, reason=reason, evidence=figures)]

    def left_behind(self, life: Life, now_us: int) -> list[Action]:
        """The bundle that it goes on from was taken out of service, and with it the shadow beside it."""
        life.phase = Phase.ENDED
        reason = "the bundle that it goes on from was taken out of service"
        return [*self._announcer.say(life, Step.ROLLED_BACK, now_us, reason=reason)]

    # -- after a restart -----------------------------------------------------------------------------------------------

    def restored(self, accepted: AdaptationEvent, last: AdaptationEvent) -> Life | None:
        """The life of a child of which the topic `adaptations` tells; None where it is over."""
        phase = _PHASES.get(last.event)
        found = _object(accepted.evidence)
        if phase is None or DEPLOYMENT not in found or PROVED in _object(last.evidence):
            return None
        deployment = found.pop(DEPLOYMENT)
        life = Life(
            adaptation_id=accepted.adaptation_id,
            machine=accepted.machine,
            rule=accepted.rule,
            route=deployment["route"],
            parent=Serving(**deployment["parent"]),
            drift_id=accepted.drift_id,
            follows=deployment.get("follows", ""),
            again=follow_up.from_json(deployment["again"]) if "again" in deployment else None,
            seen_at=last.time or 0,
            phase=phase,
            child=JobOutcome(
                status="accepted",
                reason=accepted.reason,
                step=accepted.step,
                bundle=accepted.bundle,
                uri=accepted.uri,
                sha256=deployment["child"]["sha256"],
                report=accepted.report,
                evidence=found,
            ),
        )
        life.enter(phase, last.at)
        return life

    def resume(self, life: Life, last: AdaptationEvent, holds: ActiveModel | None, now_us: int) -> list[Action]:
        """What a service that ended in between had not done or said yet.

        Args:
            holds: the message of `models` that holds for the child's route and rule, shadows apart.
        """
        assert life.child is not None
        if last.event is Step.ACCEPTED:
            if self._rules.shadow_s <= 0:
                return self._after_shadow(life, Finding(), now_us)
            return [
                *self._announcer.deploy(life, "shadow", now_us, reason="passed the gate"),
                *self._announcer.say(life, Step.SHADOW, now_us, reason=self._shadow_reason()),
            ]
        if life.phase is Phase.SHADOW or (holds is not None and holds.sha256 == life.child.sha256):
            return []
        # Another bundle serves by now: put there by us, or by a person.
        life.phase = Phase.ENDED
        reason = (holds.reason if holds is not None else "") or "another bundle was deployed"
        return [*self._announcer.say(life, Step.ROLLED_BACK, now_us, reason=reason)]

    def _shadow_reason(self) -> str:
        return f"scores beside the old bundle for {_duration(self._rules.shadow_s)} of event time, without a voice"


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _duration(seconds: float) -> str:
    """'6 h', '3 d', '90 s'."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size and seconds % (size / 10) == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
