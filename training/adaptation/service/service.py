"""The adaptation service: what happens to machines goes in, what is to be published and run comes out.

It knows no Kafka, no files and no clock: `now_us` is the clock (microseconds), phases after the gate are measured in event time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep, DriftEvent
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.training.adaptation.local_change import may_be_fault
from wheeltapper.training.adaptation.service.after_gate import AfterGate
from wheeltapper.training.adaptation.service.alerts import AlertBook
from wheeltapper.training.adaptation.service.announcer import WHO, Announcer
from wheeltapper.training.adaptation.service.drifts import DriftBook
from wheeltapper.training.adaptation.service.follow_up import follower_of
from wheeltapper.training.adaptation.service.learnable import LearnableRows
from wheeltapper.training.adaptation.service.life import (
    BEFORE_THE_OUTCOME,
    Action,
    InputPosition,
    JobOutcome,
    Life,
    Phase,
    RowSource,
    StartJob,
    adaptation_id,
)
from wheeltapper.training.adaptation.service.presumed_normal import Span
from wheeltapper.training.adaptation.service.readiness import next_try_at, rows_needed
from wheeltapper.training.adaptation.service.rules import AdaptationRules
from wheeltapper.training.adaptation.service.serving import Serving, ServingBook

Step = AdaptationStep


class AdaptationService:
    """All adaptations that are under way.

    Attributes:
        lives: by id.
        alerts, serving: what is known of alerts and of bundles in service.
    """

    def __init__(self, rules: AdaptationRules, *, false_alarms_per_day: float, given: Sequence[Serving] = ()) -> None:
        """
        Args:
            false_alarms_per_day: asked of every machine.
            given: bundles that the workers were started with.
        """
        self._rules = rules
        self.alerts = AlertBook()
        self.serving = ServingBook(given)
        self.lives: dict[str, Life] = {}
        self._announcer = Announcer(self.serving)
        self._after = AfterGate(rules, self.alerts, self._announcer, false_alarms_per_day)
        self._drifts = DriftBook()
        self._learnable = LearnableRows(self.alerts)

    # -- what is on the topics when it starts --------------------------------------------------------------------------

    def restore(self, events: Iterable[AdaptationEvent], now_us: int) -> list[Action]:
        """Take over what `adaptations` holds: what is decided, and children that are in shadow or in service.

        The topic `models` must have been taken in before.
        """
        accepted: dict[str, AdaptationEvent] = {}
        last: dict[str, AdaptationEvent] = {}
        for event in events:
            self._announcer.note(event)
            if event.event is Step.ACCEPTED:
                accepted[event.adaptation_id] = event
            last[event.adaptation_id] = event
        actions: list[Action] = []
        for ident, event in accepted.items():
            life = self._after.restored(event, last[ident])
            if life is not None:
                self.lives[ident] = life
                holds = self.serving.latest(f"{life.route}/{life.rule}")
                actions += self._settled(life, self._after.resume(life, last[ident], holds, now_us), now_us)
        return actions

    def note(self, command: AlarmCommand) -> None:
        """Take in what a command says of alerts and maintenance; a command that comes twice changes nothing."""
        if command.action in ("confirm", "reject"):
            self.alerts.judge(command)
        elif command.action == "maintenance":
            self._learnable.note_maintenance(command)

    def note_drift(self, event: DriftEvent, now_us: int = 0) -> None:
        """Remember which machines have drifted, and no adaptation has answered it: an *accept* may ask for one."""
        decided = self._announcer.decided.get(adaptation_id(event.drift_id))
        self._drifts.take(event, now_us)
        if decided is not None and decided.event is Step.ACCEPTED:
            self._drifts.answered(event.machine, event.rule)

    # -- requests ------------------------------------------------------------------------------------------------------

    def drift(self, event: DriftEvent, position: InputPosition, now_us: int) -> list[Action]:
        """A machine drifted, or has come back."""
        place = (event.machine, event.rule)
        life = self._before_outcome(*place)
        self.note_drift(event, now_us)
        if event.event == "ended":
            # With an accept the drift ends, and its adaptation begins.
            accepted = life is not None and life.accepted_us is not None
            if life is None or life.phase is Phase.RUNNING or not life.drift_id or accepted:
                return []
            return self._end(life, Step.REJECTED, "the drift has ended: the machine is as it was", now_us)
        ident = adaptation_id(event.drift_id)
        if ident in self.lives or ident in self._announcer.decided:
            return []
        found = self.serving.find(event.machine, event.rule, event.bundle)
        life = Life(
            adaptation_id=ident,
            machine=event.machine,
            rule=event.rule,
            route=self._route(event.machine, found),
            parent=found or Serving(event.machine, event.rule, event.bundle, "", ""),
            drift_id=event.drift_id,
            since=event.since,
            seen_at=event.time,
            asked_at=event.time,
            source=RowSource(event.topic, event.partition, event.first_offset),
            alert_open=event.alert_open,
            local=may_be_fault([channel.effect for channel in event.channels]),
            holds=[position],
        )
        moved = ", ".join(channel.channel for channel in event.channels[:5])
        reason = f"drift of {moved or 'the score'}, by {', '.join(event.tests)}"
        return self._begin(life, found, reason, now_us)

    def command(self, command: AlarmCommand, position: InputPosition, now_us: int) -> list[Action]:
        """What an operator said. *accept* lets an adaptation go on, or asks for one."""
        self.note(command)
        if command.action in ("confirm", "reject"):
            found: list[Action] = []
            for life in list(self.lives.values()):
                found += self._settled(life, self._after.look(life, now_us), now_us)
            return found
        if command.action != "accept":
            return []
        actions: list[Action] = []
        met = False
        for life in list(self.lives.values()):
            if life.phase in BEFORE_THE_OUTCOME and life.is_meant_by(command):
                met = True
                # Of a job that runs the next try has it.
                life.accepted_us, life.who = command.at, command.who
                life.holds.append(position)
                actions += self._advance(life, now_us)
        if not met:
            actions += self._asked_by(command, position, now_us)
        return actions

    def _asked_by(self, command: AlarmCommand, position: InputPosition, now_us: int) -> list[Action]:
        """Adaptations that an *accept* asks for by itself: of what drifts, or has stood in an alert until then."""
        actions: list[Action] = []
        for change in self._drifts.accepted_by(command, self.alerts):
            ident = adaptation_id(f"{command.command_id}/{change.machine}/{change.rule}")
            if ident in self.lives or ident in self._announcer.decided:
                continue
            found = self.serving.find(change.machine, change.rule, change.bundle)
            life = Life(
                adaptation_id=ident,
                machine=change.machine,
                rule=change.rule,
                route=self._route(change.machine, found),
                parent=found or Serving(change.machine, change.rule, change.bundle, "", ""),
                since=change.since,
                seen_at=change.seen_at,
                source=change.source,
                accepted_us=command.at,
                who=command.who,
                holds=[position],
            )
            reason = f"{command.who} accepted what the machine does now" + (
                f": {command.comment}" if command.comment else ""
            )
            actions += self._begin(life, found, reason, now_us)
        return actions

    def _begin(self, life: Life, found: Serving | None, reason: str, now_us: int) -> list[Action]:
        actions: list[Action] = [*self._announcer.say(life, Step.REQUESTED, now_us, reason=reason, who=life.who or WHO)]
        for one in [one for one in self.lives.values() if one.is_of_same_place(life)]:
            if one.follows and one.phase in BEFORE_THE_OUTCOME:
                actions += self._end(one, Step.REJECTED, f"adaptation {life.adaptation_id} takes its place", now_us)
        under_way = next((one for one in self.lives.values() if one.is_of_same_place(life)), None)
        if under_way is not None:
            if under_way.phase is Phase.WATCHED and under_way.serves(life.parent.bundle):
                # What it was watched for has come: it has to be adapted anew.
                self._forget(under_way)
            else:
                text = f"adaptation {under_way.adaptation_id} of {under_way.route} and the same rule is under way ({under_way.phase})"
                return [*actions, *self._end(life, Step.REJECTED, text, now_us)]
        self.lives[life.adaptation_id] = life
        if found is None:
            text = (
                f"bundle '{life.parent.bundle}' is neither on the topic models nor given with --bundle; start the adapt-worker "
                "with the bundles that the workers were started with"
            )
            return [*actions, *self._end(life, Step.FAILED, text, now_us)]
        return [*actions, *self._advance(life, now_us)]

    # -- before the outcome --------------------------------------------------------------------------------------------

    def _advance(self, life: Life, now_us: int) -> list[Action]:
        """From waiting for the end of an alert to collecting rows, and back where an alert opens meanwhile."""
        if life.phase not in (Phase.WAITING, Phase.COLLECTING):
            return []
        doubt = self._learnable.doubt(life)
        if doubt:
            life.phase = Phase.WAITING
            reason = f"{doubt} an operator accepts it ('wheeltapper alarm accept {life.machine}')"
            return [*self._announcer.say(life, Step.WAITING, now_us, reason=reason)]
        life.phase = Phase.COLLECTING
        return []

    @property
    def collecting(self) -> list[Life]:
        """Adaptations that need rows."""
        return [life for life in self.lives.values() if life.phase is Phase.COLLECTING]

    def excluded(self, life: Life, margin_us: int) -> list[Span]:
        """Spans of event time whose rows must not be learned.

        Args:
            margin_us: length of the parent's window.
        """
        return self._learnable.excluded(life, margin_us)

    def rows(self, ident: str, usable: int, interval_s: float, now_us: int) -> list[Action]:
        """So many rows, `interval_s` apart, may be learned from by now."""
        life = self.lives.get(ident)
        if life is None or life.phase is not Phase.COLLECTING:
            return []
        if life.seen_at < life.not_before:
            return []
        rules = self._rules
        needed = rows_needed(
            interval_s, least_rows=rules.min_recent_rows, least_s=rules.min_recent_s, most_rows=rules.max_rows
        )
        if usable < needed:
            reason = f"{needed:,} rows since the change are needed that lie under no alert; more are waited for"
            return [*self._announcer.say(life, Step.WAITING, now_us, reason=reason)]
        life.phase = Phase.QUEUED
        return []

    def due_jobs(self, now_us: int) -> list[Action]:
        """Jobs that may start: a few at a time, one a machine, in the order of the requests."""
        actions: list[Action] = []
        running = [life.machine for life in self.lives.values() if life.phase is Phase.RUNNING]
        for life in self.lives.values():
            if len(running) >= self._rules.jobs:
                break
            if life.phase is Phase.QUEUED and life.machine not in running:
                life.phase = Phase.RUNNING
                running.append(life.machine)
                actions += [*self._announcer.say(life, Step.STARTED, now_us), StartJob(life)]
        return actions

    def finished(self, ident: str, outcome: JobOutcome, now_us: int) -> list[Action]:
        """A job has ended."""
        life = self.lives.get(ident)
        if life is None or life.phase is not Phase.RUNNING:
            return []
        if outcome.status == "accepted":
            self._drifts.answered(life.machine, life.rule)
            return self._settled(life, self._after.accepted(life, outcome, now_us), now_us)
        if outcome.status == "rejected" and life.tries + 1 < self._rules.tries:
            # A change that is still under way passes later: the machine's rows were of two normals.
            life.tries += 1
            life.not_before = next_try_at(life.seen_at)
            life.phase = Phase.COLLECTING
            reason = f"try {life.tries} was rejected, another follows a day later: {outcome.reason}"
            return [*self._announcer.say(life, Step.WAITING, now_us, reason=reason, evidence=outcome.evidence)]
        step = Step.REJECTED if outcome.status == "rejected" else Step.FAILED
        life.child = replace(outcome, uri="", bundle="", sha256="")
        return self._end(life, step, outcome.reason, now_us)

    def failed(self, ident: str, reason: str, now_us: int) -> list[Action]:
        """What an adaptation needs is not there: a bundle that cannot be opened, rows that cannot be read."""
        life = self.lives.get(ident)
        return [] if life is None else self._end(life, Step.FAILED, reason, now_us)

    # -- what happens meanwhile ----------------------------------------------------------------------------------------

    def alert(self, event: AlertEvent, published_us: int, now_us: int) -> list[Action]:
        """A step of an alert's life."""
        if self.alerts.take(event, published_us) is None:
            return []
        actions: list[Action] = []
        for life in list(self.lives.values()):
            if life.covers(event.machine):
                actions += self._advance(life, now_us)
                actions += self._settled(life, self._after.look(life, now_us), now_us)
        return actions

    def scores(self, block: ScoreBlock, now_us: int, published_us: int | None = None) -> list[Action]:
        """Scores of a machine.

        Args:
            published_us: by the clock: what came out before a phase began does not count for it; None: it counts.
        """
        actions: list[Action] = []
        for life in list(self.lives.values()):
            is_late = published_us is not None and published_us // 1000 < life.phase_at // 1000
            if life.rule == block.rule and life.covers(block.machine) and not is_late:
                actions += self._settled(life, self._after.scores(life, block, now_us), now_us)
        return actions

    def model(self, model: ActiveModel, now_us: int) -> list[Action]:
        """A message of the topic `models`; where it is a person's, what it replaces ends."""
        self.serving.take(model)
        actions: list[Action] = []
        for life in list(self.lives.values()):
            actions += self._settled(life, self._after.overruled(life, model, now_us), now_us)
        return actions

    def refused(self, event: AdaptationEvent, now_us: int) -> list[Action]:
        """A worker did not take a deployment."""
        actions: list[Action] = []
        if event.event == Step.REFUSED:
            for life in list(self.lives.values()):
                if life.child is not None and (life.route, life.child.uri) == (event.machine, event.uri):
                    actions += self._settled(life, self._after.refused(life, event.reason, now_us), now_us)
        return actions

    # -- what must be kept ---------------------------------------------------------------------------------------------

    def held(self) -> set[InputPosition]:
        """Requests without an outcome: they must be read again after a restart."""
        return {hold for life in self.lives.values() if life.phase in BEFORE_THE_OUTCOME for hold in life.holds}

    @property
    def after_the_gate(self) -> Mapping[str, Life]:
        """Adaptations whose scores are watched."""
        return {ident: life for ident, life in self.lives.items() if life.phase not in BEFORE_THE_OUTCOME}

    # -- small things --------------------------------------------------------------------------------------------------

    def _route(self, machine: str, found: Serving | None) -> str:
        return found.route if self._rules.whole_route and found is not None else machine

    def _before_outcome(self, machine: str, rule: str) -> Life | None:
        return next(
            (
                life
                for life in self.lives.values()
                if (life.machine, life.rule) == (machine, rule) and life.phase in BEFORE_THE_OUTCOME
            ),
            None,
        )

    def _end(self, life: Life, step: Step, reason: str, now_us: int) -> list[Action]:
        evidence = life.child.evidence if life.child else None
        actions = [*self._announcer.say(life, step, now_us, reason=reason, evidence=evidence)]
        self._forget(life)
        return [*actions]

    def _forget(self, life: Life) -> None:
        life.phase = Phase.ENDED
        self.lives.pop(life.adaptation_id, None)

    def _settled(self, life: Life, actions: list[Action], now_us: int) -> list[Action]:
        """What follows of a step after the gate: an end, or a further adaptation behind it."""
        if life.phase is Phase.WATCHED:
            return [*actions, *self._follow(life, now_us)]
        if life.phase is not Phase.ENDED:
            return actions
        self._forget(life)
        child = life.child
        holds = self.serving.latest(f"{life.route}/{life.rule}")
        if child is None or (holds is not None and holds.sha256 == child.sha256):
            return actions
        for follower in [one for one in self.lives.values() if one.follows == life.adaptation_id]:
            if follower.phase in BEFORE_THE_OUTCOME:
                actions += self._end(follower, Step.REJECTED, "the bundle that it goes on from was taken back", now_us)
            elif follower.phase is not Phase.WATCHED:
                actions += self._settled(follower, self._after.left_behind(follower, now_us), now_us)
        return actions

    def _follow(self, life: Life, now_us: int) -> list[Action]:
        """Of a child in service: what it goes on from is not watched any more, and a better child is looked for."""
        followed = self.lives.get(life.follows)
        if followed is not None:
            self._forget(followed)
        due, life.again = life.again, None
        if due is None or life.child is None:
            return []
        follower = follower_of(life, due)
        if follower.adaptation_id in self.lives or follower.adaptation_id in self._announcer.decided:
            return []
        self.lives[follower.adaptation_id] = follower
        reason = f"{life.child.step} took over: with a day more of rows something better is looked for"
        return [*self._announcer.say(follower, Step.REQUESTED, now_us, reason=reason), *self._advance(follower, now_us)]
