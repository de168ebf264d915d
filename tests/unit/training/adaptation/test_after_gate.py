"""From a child in shadow to one that has proved itself, and back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.adaptation.lives import (
    DAY,
    GIVEN,
    HOUR,
    MINUTE,
    NEW,
    OLD,
    SHA_NEW,
    SHA_OLD,
    START,
    Stage,
    alert,
    block,
    command,
    drift,
    in_service,
    in_shadow,
    stage,
)
from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, is_in_share
from wheeltapper.training.adaptation.service.tally import Tally, allowed_openings

NOW = START + DAY


def refusal(known: Stage) -> AdaptationEvent:
    return known.events[-1].model_copy(
        update={"event": "refused", "reason": "out/new: no such bundle", "who": "worker"}
    )


def opened_by_child(known: Stage, count: int) -> None:
    for number in range(count):
        time = NOW + DAY + number * 2 * HOUR
        known.alert(alert("opened", time, ident=f"new-{number}", bundle=NEW))
        known.alert(alert("cleared", time + HOUR, opened_at=time, ident=f"new-{number}", bundle=NEW))


def test_a_child_that_is_quiet_in_shadow_takes_over_after_the_set_time() -> None:
    # given a child in shadow for six hours
    known = in_shadow()
    # when five hours are scored by both
    known.scores(block(NEW, NOW, 5))
    known.scores(block(OLD, NOW, 5, above=frozenset(range(0, 300, 2))))
    # then it waits
    assert known.modes == ["shadow"]
    # when the sixth is
    known.scores(block(NEW, NOW + 5 * HOUR, 1))
    # then it serves, with the way back in the message and the figures on the topic
    assert known.modes == ["shadow", "active"]
    assert (known.models[-1].sha256, known.models[-1].previous_sha256) == (SHA_NEW, SHA_OLD)
    assert (known.steps[-1], known.events[-1].time) == ("activated", NOW + 6 * HOUR)
    assert '"new_openings": 0' in known.events[-1].evidence
    assert '"old_share_above": 0.498' in known.events[-1].evidence


def test_scores_that_come_twice_count_once() -> None:
    # given a worker that repeats its scores after a restart
    known = in_shadow()
    for _ in range(3):
        known.scores(block(NEW, NOW, 3, above=frozenset({10})))
    # then an alarm in them is one alarm
    (life,) = known.service.lives.values()
    assert len(life.new["pump-1"].openings) == 1
    assert known.modes == ["shadow"]


def test_a_child_that_calls_too_often_in_shadow_goes() -> None:
    known = in_shadow()
    known.scores(block(NEW, NOW, 5, above=frozenset({10, 100, 200})))
    assert known.modes == ["shadow", "back"]
    assert known.steps[-1] == "rolled-back"
    assert "3 alarms" in known.events[-1].reason
    assert known.service.lives == {}


def test_a_child_that_stands_above_its_level_goes() -> None:
    # given a child that opens one alarm and never ends it, beside a parent that does not
    known = in_shadow()
    known.scores(block(NEW, NOW, 1))
    known.scores(block(OLD, NOW, 6))
    known.scores(block(NEW, NOW + HOUR, 5, above=frozenset(range(301))))
    assert known.modes == ["shadow", "back"]
    assert "83%" in known.events[-1].reason


@pytest.mark.parametrize("seen", [True, False])
def test_a_confirmed_alarm_must_be_seen_in_shadow(seen: bool) -> None:
    # given a fault in the shadow's time that the old bundle found
    known = in_shadow()
    known.alert(alert("opened", NOW + 2 * HOUR))
    known.command(command("confirm", known.now, alert_id="alert-1"))
    known.alert(alert("cleared", NOW + 3 * HOUR, opened_at=NOW + 2 * HOUR))
    # when the child has seen it or not
    known.scores(block(NEW, NOW, 6, above=frozenset({125}) if seen else frozenset()))
    # then it takes over or goes
    assert known.modes == ["shadow", "active" if seen else "back"]


def test_a_child_for_a_route_serves_a_share_first() -> None:
    # given rules by which a child is for all machines of its parent's route
    known = in_shadow(whole_route=True)
    known.scores(block(NEW, NOW, 6))
    assert known.modes == ["shadow", "canary"]
    assert (known.models[-1].route, known.models[-1].share) == ("pump-*", 0.2)
    # when a day of the canaries is over
    known.scores(block(NEW, NOW + DAY, 24))
    # then it serves all
    assert (known.modes[-1], known.models[-1].route) == ("active", "pump-*")
    assert known.steps[-3:] == ["shadow", "canary", "activated"]


def test_what_a_child_scored_in_shadow_does_not_count_for_it_as_canary() -> None:
    # given a child that has come through its shadow, of which more scores were out by then than had been read
    known = in_shadow(whole_route=True, canary_s=3 * 3600.0)
    known.scores(block(NEW, NOW, 6))
    assert known.modes[-1] == "canary"
    late = known.now - 2_000_000
    # when those are read, then it is a canary all the same
    known.service.scores(block(NEW, NOW + 7 * HOUR, 20), known.now, late)
    assert known.modes[-1] == "canary"
    # and what it scores by then counts
    known.scores(block(NEW, NOW + 28 * HOUR, 3))
    assert known.modes[-1] == "active"


def test_a_canary_is_judged_by_the_machines_that_it_serves() -> None:
    # given a canary on some of many machines; on the others it is still in shadow
    known = in_shadow(whole_route=True, canary_s=86_400.0, canary_share=0.3)
    known.scores(block(NEW, NOW, 6))
    machines = [f"pump-{number}" for number in range(2, 30)]
    served = [name for name in machines if is_in_share("pca", name, 0.3)]
    assert 3 < len(served) < 20
    for name in set(machines) - set(served):
        known.scores(block(NEW, NOW + 7 * HOUR, 25, machine=name))
    # then the time of the others does not count, nor do they allow it alerts
    assert known.modes[-1] == "canary"
    known.scores(block(NEW, NOW + 7 * HOUR, 1, machine=served[0]))
    opened_by_child(known, 3)
    assert known.modes[-1] == "back"


def test_a_child_without_a_shadow_serves_at_once() -> None:
    known = in_shadow(shadow_s=0)
    assert known.modes == ["active"]
    assert known.steps[-2:] == ["accepted", "activated"]


def test_a_child_that_proves_itself_is_no_longer_watched() -> None:
    known = in_service()
    assert next(iter(known.service.after_the_gate.values())).phase == "watched"
    known.scores(block(NEW, NOW + DAY, 72))
    assert known.steps[-1] == "activated"
    assert "has proved itself" in known.events[-1].reason
    assert known.service.lives == {}


@pytest.mark.parametrize(
    ("alerts", "confirmed", "goes"),
    [(4, 0, False), (5, 0, True), (8, 8, False)],
)
def test_a_child_that_calls_too_often_in_service_goes_back(alerts: int, confirmed: int, goes: bool) -> None:
    # given a child in service that is watched for three days: at .25 a day, 4 alarms are chance
    known = in_service()
    known.scores(block(NEW, NOW + DAY, 2))
    # when it opens alerts, of which an operator confirms some
    for number in range(confirmed):
        time = NOW + DAY + number * 2 * HOUR
        known.service.alerts.take(alert("opened", time, ident=f"new-{number}", bundle=NEW), known.now)
        known.command(command("confirm", known.now + number, alert_id=f"new-{number}"))
    opened_by_child(known, alerts)
    # then the old bundle serves again, or does not
    assert ("rolled-back" in known.steps) is goes
    if goes:
        back = known.models[-1]
        assert (back.mode, back.uri, back.sha256, back.previous_sha256) == (
            "active",
            GIVEN[0].uri,
            SHA_OLD,
            SHA_NEW,
        )


def test_alerts_that_operators_reject_count_sooner() -> None:
    known = in_service()
    known.scores(block(NEW, NOW + DAY, 2))
    opened_by_child(known, 3)
    for number in range(2):
        known.command(command("reject", known.now + number, alert_id=f"new-{number}"))
    assert "rolled-back" not in known.steps
    known.command(command("reject", known.now + 3, alert_id="new-2"))
    assert known.steps[-1] == "rolled-back"
    assert "operators rejected 3" in known.events[-1].reason


@pytest.mark.parametrize("in_phase", [in_shadow, in_service])
def test_a_refusal_of_a_worker_leaves_the_old_bundle(in_phase: Any) -> None:
    known = in_phase()
    known._note(known.service.refused(refusal(known), known.now))
    assert (known.modes[-1], known.models[-1].sha256) == ("back", SHA_OLD)
    assert known.events[-1].reason == "a worker refused it: out/new: no such bundle"


def test_what_a_person_deploys_holds() -> None:
    # given a child in shadow
    known = in_shadow()
    theirs = ActiveModel(
        route="pump-1", rule="pca", bundle="theirs", uri="theirs", sha256="d" * 64, mode="active", who="bert"
    )
    # when a person activates a bundle of theirs
    known.model(theirs)
    # then the shadow ends, and nothing of ours follows
    assert (known.modes, known.steps[-1]) == (["shadow"], "rolled-back")
    assert known.scores(block(NEW, NOW, 10)) == []
    # and what they deploy elsewhere changes nothing
    other = in_shadow()
    other.model(theirs.model_copy(update={"route": "pump-2"}))
    assert other.modes == ["shadow"]


def test_a_drift_of_the_child_is_adapted_anew() -> None:
    # given a child in service that is still watched
    known = in_service()
    for model in known.models:
        known.service.serving.take(model)
    # when the machine drifts away from it
    known.drift(drift(drift_id="second", bundle=NEW))
    known.rows(600)
    # then it is the parent of the next
    assert known.jobs == ["pump-1", "pump-1"]
    (life,) = known.service.lives.values()
    assert (life.parent.bundle, life.parent.uri) == (NEW, "out/new")


@pytest.mark.parametrize("cut", range(12))
def test_a_restart_at_any_point_ends_as_without_one(cut: int) -> None:
    # given all that is published until a child has proved itself, by a service that never ended
    def play(known: Stage) -> None:
        known.drift(drift())
        known.rows(600)
        if any(life.phase == "running" for life in known.service.lives.values()):
            known.finish()
        known.scores(block(NEW, NOW, 6))
        known.scores(block(NEW, NOW + DAY, 72))

    whole = stage()
    play(whole)
    wanted = whole.steps, whole.modes
    assert wanted == (
        ["requested", "started", "accepted", "shadow", "activated", "activated"],
        ["shadow", "active"],
    )
    # when it ends after the first `cut` messages, and another goes on, to which scores come again
    first = stage()
    play(first)
    published = [action for action in first.actions if type(action).__name__ != "StartJob"][:cut]
    second = stage()
    cut_stage = Stage(first.service, first.now, published)
    for model in cut_stage.models:
        second.service.serving.take(model)
    second.actions = published + second.service.restore(cut_stage.events, first.now)
    play(second)
    # then the same has happened
    assert (second.steps, second.modes) == wanted


@given(
    st.lists(
        st.sampled_from(
            [
                "drift",
                "ended",
                "opened",
                "cleared",
                "accept",
                "reject",
                "rows",
                "pass",
                "fail",
                "quiet",
                "loud",
                "refuse",
            ]
        ),
        max_size=14,
    )
)
def test_in_whatever_order_things_happen_a_child_serves_only_after_gate_and_shadow(order: list[str]) -> None:
    # given any order of events
    known = stage()
    for number, what in enumerate(order):
        time = START + (number + 1) * DAY
        running = [life for life in known.service.lives.values() if life.phase == "running"]
        if what in ("drift", "ended"):
            known.drift(drift(event="started" if what == "drift" else "ended", drift_id=f"d{number}", time=time))
        elif what in ("opened", "cleared"):
            known.alert(alert(what, time, opened_at=START + HOUR))
        elif what in ("accept", "reject"):
            known.command(command(what, known.now))
        elif what == "rows":
            known.rows(600)
        elif what in ("quiet", "loud"):
            known.scores(block(NEW, time, 7, above=frozenset() if what == "quiet" else frozenset({1, 99, 200, 300})))
        elif what == "refuse" and known.events:
            known._note(known.service.refused(refusal(known), known.now))
        elif running and what in ("pass", "fail"):
            known.finish() if what == "pass" else known.finish(running[0].child or _failed())
    # then each adaptation has one outcome at most, a child serves only after its shadow, and what has ended says so
    by_life: dict[str, list[str]] = {}
    for event in known.events:
        by_life.setdefault(event.adaptation_id, []).append(str(event.event))
    for ident, steps in by_life.items():
        outcomes = [step for step in steps if step in ("accepted", "rejected", "failed")]
        assert len(outcomes) <= 1
        assert "shadow" in steps[: steps.index("activated")] if "activated" in steps else True
        assert (ident in known.service.lives) or outcomes
    # and what is deployed alternates: no shadow is left behind, no child serves that was taken back
    for ours, theirs in zip(known.modes, known.modes[1:], strict=False):
        assert (ours, theirs) != ("back", "active")
    if known.modes and not known.service.lives:
        assert known.modes[-1] != "shadow"


def _failed() -> Any:
    from wheeltapper.training.adaptation.service.life import JobOutcome

    return JobOutcome("failed", "broke")


def test_openings_are_counted_as_a_person_would_be_called() -> None:
    # given scores that flicker around the level for an hour, and again a day later
    tally = Tally()
    flicker = frozenset(range(0, 60, 5))
    for day in range(2):
        one = block(NEW, NOW + day * DAY, 2, above=flicker)
        # in whatever pieces they come
        for start in range(0, len(one.time), 7):
            part = {
                name: getattr(one, name)[start : start + 7] for name in ("time", "raw", "score", "threshold", "quality")
            }
            tally.take(one.model_copy(update=part))
    # then these are two alarms
    assert tally.openings == [NOW, NOW + DAY]
    assert (tally.windows, tally.above) == (242, 24)
    # and what lies in maintenance does not count
    quiet = Tally()
    quiet.take(block(NEW, NOW, 1, above=flicker).model_copy(update={"maintenance": (True,) * 61}))
    assert (quiet.windows, quiet.openings, quiet.last) == (0, [], NOW + 60 * MINUTE)


@given(st.floats(0.01, 50), st.floats(0.01, 30))
def test_so_many_openings_are_allowed_as_chance_explains(per_day: float, days: float) -> None:
    # given a rate, when the bound is asked for
    allowed = allowed_openings(per_day, days, tolerance=1.0, confidence=0.95)
    # then a Poisson process exceeds it in one of twenty cases at most, and would exceed one less more often
    expected = per_day * days
    logs = [count * math.log(expected) - expected - math.lgamma(count + 1) for count in range(allowed + 1)]
    below = [math.exp(value) for value in logs]
    assert 1 - sum(below) <= 0.05 + 1e-6
    assert allowed == 0 or 1 - sum(below[:-1]) > 0.05 - 1e-6
