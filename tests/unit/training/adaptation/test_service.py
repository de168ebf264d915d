"""From a drift or a command to a job and its outcome."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.adaptation.lives import (
    DAY,
    GIVEN,
    HOUR,
    MINUTE,
    NEW,
    OLD,
    PASSED,
    START,
    Stage,
    alert,
    block,
    command,
    drift,
    in_shadow,
    stage,
)
from wheeltapper.schemas.adaptation import DriftChannel
from wheeltapper.schemas.events import ClearReason
from wheeltapper.training.adaptation.service.life import InputPosition, JobOutcome, adaptation_id
from wheeltapper.training.adaptation.service.presumed_normal import outside
from wheeltapper.training.adaptation.service.serving import Serving


def test_a_drift_without_an_alert_is_adapted_once_there_are_rows() -> None:
    # given a drift of a machine that no alert is open of
    known = stage()
    known.drift(drift())
    # when there are too few rows, twice
    known.rows(100)
    known.rows(200)
    # then it says so once
    assert known.steps == ["requested", "waiting"]
    assert "500 rows" in known.events[-1].reason
    # when there are enough
    known.rows(500)
    # then the ladder runs
    assert (known.steps[2:], known.jobs) == (["started"], ["pump-1"])
    assert known.service.held() == {InputPosition("drift", 0, 1)}
    # when a step passes the gate
    known.finish()
    # then the deployment goes out before the decision, and the request need not be read again
    assert known.steps[3:] == ["accepted", "shadow"]
    assert known.modes == ["shadow"]
    kinds = [type(action).__name__ for action in known.actions[-3:]]
    assert kinds == ["Deploy", "Say", "Say"]
    assert known.service.held() == set()
    model = known.models[0]
    assert (model.route, model.rule, model.bundle, model.uri) == ("pump-1", "pca", NEW, "out/new")
    assert model.previous_uri == GIVEN[0].uri
    assert known.events[-1].parent == OLD
    assert known.events[0].adaptation_id == adaptation_id("drift-of-pump-1") == model.adaptation_id


def test_by_which_time_there_must_be_rows_as_well() -> None:
    # given a machine that sends a row a second, and rules that want six hours
    known = stage()
    known.drift(drift())
    (life,) = known.service.collecting
    # when there are many rows of too short a time, then it waits on
    assert known.service.rows(life.adaptation_id, 9_000, 1.0, START)
    assert known.service.collecting == [life]
    # when half of the rows that are kept may be learned from, then that is enough: more might never come
    known.service.rows(life.adaptation_id, 10_000, 1.0, START)
    assert known.service.collecting == []


def test_a_drift_under_an_alert_waits_for_the_operator() -> None:
    # given a drift that says that an alert is open, of which the topic alerts has not told yet
    known = stage()
    known.drift(drift(alert_open=True))
    assert known.steps == ["requested", "waiting"]
    assert "wheeltapper alarm accept pump-1" in known.events[-1].reason
    # when the alert comes, then it still waits, and says nothing twice
    known.alert(alert("opened", START + HOUR))
    assert (known.rows(10_000), len(known.steps)) == ([], 2)
    # when the operator accepts
    known.command(command("accept", known.now))
    known.rows(600)
    # then it goes on, and needs both messages until its outcome
    assert known.jobs == ["pump-1"]
    assert len(known.service.held()) == 2


def test_a_drift_under_an_alert_goes_on_when_the_alert_has_ended_and_learns_nothing_under_it() -> None:
    # given a drift under an alert
    known = stage()
    known.alert(alert("opened", START + HOUR))
    known.drift(drift(alert_open=True))
    # when it recovers
    known.alert(alert("cleared", START + 5 * HOUR, opened_at=START + HOUR))
    # then rows are collected, those before the change, under the alert, and a window before it apart
    (life,) = known.service.collecting
    times = START + np.arange(-60, 600) * MINUTE
    kept = outside(times, known.service.excluded(life, 10 * MINUTE))
    minutes = (times[kept] - START) // MINUTE
    assert minutes.tolist() == [*range(50), *range(301, 600)]


def test_an_alert_that_opens_while_rows_are_collected_makes_it_wait() -> None:
    known = stage()
    known.drift(drift())
    known.alert(alert("opened", START + 4 * HOUR))
    assert known.rows(10_000) == []
    assert known.steps == ["requested", "waiting"]
    # and the alert of another rule does not, but its rows are not learned
    other = stage()
    other.drift(drift())
    other.alert(alert("opened", START + 4 * HOUR, rule="range-bands"))
    (life,) = other.service.collecting
    assert not outside(np.array([START + 5 * HOUR]), other.service.excluded(life, 0)).any()


@pytest.mark.parametrize("verdict", ["confirm", "reject"])
def test_rows_of_an_alert_that_was_rejected_are_learned_once_it_has_ended(verdict: str) -> None:
    # given an alert that an operator judged while it was open
    known = stage()
    known.alert(alert("opened", START + HOUR))
    known.drift(drift(alert_open=True))
    known.command(command(verdict, known.now))
    # then it is waited for: it may be a fault that lasts all the same
    assert known.service.collecting == []
    # when it has ended, then its rows are as good as others where it was false
    known.alert(alert("cleared", START + 4 * HOUR, opened_at=START + HOUR))
    (life,) = known.service.collecting
    kept = outside(np.array([START + 90 * MINUTE]), known.service.excluded(life, 0))
    assert kept.tolist() == [verdict == "reject"]


@pytest.mark.parametrize("verdict", ["", "confirm"])
def test_what_is_accepted_is_learned_unless_it_was_confirmed_to_be_a_fault(verdict: str) -> None:
    # given an alert under a drift, and another that ended by the operator's accept before
    known = stage()
    known.alert(alert("opened", START + HOUR))
    known.drift(drift(alert_open=True))
    if verdict:
        known.command(command(verdict, known.now))
    # when it is accepted, and a new alert opens later
    known.command(command("accept", known.now))
    known.alert(alert("cleared", START + 2 * HOUR, opened_at=START + HOUR, reason=ClearReason.ACCEPTED))
    known.alert(alert("opened", START + 4 * HOUR, ident="alert-2"))
    # then the rows of both count as normal, unless the first is known as true, and those before the change do not
    (life,) = known.service.collecting
    times = np.array([START - MINUTE, START + 90 * MINUTE, START + 3 * HOUR, START + 5 * HOUR])
    assert outside(times, known.service.excluded(life, 0)).tolist() == [False, not verdict, True, True]
    # when the second is confirmed, then its rows do not either
    known.command(command("confirm", known.now, alert_id="alert-2"))
    assert outside(times, known.service.excluded(life, 0)).tolist() == [False, not verdict, True, False]


def moved(*effects: float) -> tuple[DriftChannel, ...]:
    return tuple(
        DriftChannel(channel=f"c{index}", statistic="mean", before=0.0, after=effect, effect=effect)
        for index, effect in enumerate(effects)
    )


@pytest.mark.parametrize(
    ("effects", "waits"),
    [
        ((7.3, -7.0, 4.9, 0.7), True),  # a step of three channels
        ((3.7,), True),
        ((4.8, 4.1, -4.0, 3.9, 2.5), False),  # many moved far
        ((1.3, 1.2), False),  # a few moved a little
        ((), False),
    ],
)
def test_a_few_channels_far_out_wait_for_an_operator_without_an_alert_too(
    effects: tuple[float, ...], waits: bool
) -> None:
    # given a drift without an alert
    known = stage()
    known.drift(drift(channels=moved(*effects)))
    known.rows(600)
    # then it waits where a few channels alone stand far out, also when an alert has come and gone
    assert known.jobs == ([] if waits else ["pump-1"])
    if waits:
        assert "a few channels alone moved far" in known.events[-1].reason
        known.alert(alert("opened", START + 4 * HOUR))
        known.alert(alert("cleared", START + 5 * HOUR, opened_at=START + 4 * HOUR))
        known.rows(600)
        assert known.jobs == []
        # and goes on with the accept
        known.command(command("accept", known.now))
        known.rows(600)
        assert known.jobs == ["pump-1"]


def test_a_rejected_adaptation_is_tried_again_with_a_further_day_of_rows() -> None:
    # given three tries, and a change that is still under way when the first day of rows has come
    known = stage(tries=3)
    known.drift(drift())
    known.rows(600)
    known.finish(JobOutcome("rejected", "input-scaling: still moving"))
    # then it is said why, nothing is decided, and rows of the same day are not enough any more, however many
    assert (known.steps[-1], known.service.held() != set()) == ("waiting", True)
    assert "try 1 was rejected" in known.events[-1].reason
    known.rows(9_000)
    assert known.jobs == ["pump-1"]
    # when a day has passed, the gate is asked again, and the last rejection is the outcome
    (life,) = known.service.collecting
    life.seen_at += DAY
    known.rows(600)
    known.finish(JobOutcome("rejected", "still moving"))
    life.seen_at += DAY
    known.rows(600)
    known.finish(JobOutcome("rejected", "still moving, too"))
    assert known.jobs == 3 * ["pump-1"]
    assert (known.steps[-1], known.events[-1].reason, known.service.lives) == ("rejected", "still moving, too", {})


def test_a_drift_that_ends_before_the_job_needs_no_adaptation() -> None:
    known = stage()
    known.drift(drift())
    known.drift(drift(event="ended"))
    assert known.steps == ["requested", "rejected"]
    assert known.service.held() == set()


def test_a_second_drift_of_the_same_rule_does_not_start_a_second_job() -> None:
    # given a child in shadow
    known = in_shadow()
    # when the same rule drifts again
    known.drift(drift(drift_id="another"))
    # then it is rejected with the reason
    assert known.steps[-2:] == ["requested", "rejected"]
    assert "is under way (shadow)" in known.events[-1].reason


def test_jobs_run_one_at_a_time_in_the_order_of_the_requests_and_one_a_machine() -> None:
    # given three machines that drifted, one of them by two rules, and room for two jobs
    known = stage((*GIVEN, Serving("*", "bands", "bands-1", "bundles/bands", "c" * 64)), jobs=2)
    for event in (drift(), drift(rule="bands", bundle="bands-1", drift_id="b"), drift("pump-2"), drift("pump-3")):
        known.drift(event)
    # when there are rows of all
    known.rows(600)
    known.rows(600)
    # then two run, of two machines
    assert known.jobs == ["pump-1", "pump-2"]
    # when one ends, then the next in order that may
    known.finish()
    known.rows(600)
    assert known.jobs == ["pump-1", "pump-2", "pump-1"]


def test_a_bundle_that_nobody_knows_is_a_failure_that_says_what_to_do() -> None:
    known = stage()
    known.drift(drift(bundle="another"))
    assert known.steps == ["requested", "failed"]
    assert "--bundle" in known.events[-1].reason


def test_a_job_that_failed_leaves_the_old_bundle() -> None:
    known = stage()
    known.drift(drift())
    known.rows(600)
    known.finish(JobOutcome("failed", "killed after 1200 s"))
    assert (known.steps[-1], known.events[-1].reason, known.modes) == ("failed", "killed after 1200 s", [])


def restarted(known: Stage) -> Stage:
    """Another service that reads what the first has published."""
    again = stage()
    for model in known.models:
        again.service.serving.take(model)
    again.actions = list(again.service.restore(known.events, known.now))
    again.now = known.now
    return again


def test_a_restart_before_the_outcome_repeats_the_request_and_says_nothing_twice() -> None:
    # given a service that ended while a job ran
    known = stage()
    known.drift(drift())
    known.rows(600)
    # when another reads the request again
    again = restarted(known)
    again.drift(drift())
    again.rows(600)
    # then the job runs again, under the same id
    assert again.jobs == ["pump-1"]
    assert again.events == []
    again.finish()
    assert again.events[0].adaptation_id == known.events[0].adaptation_id


def test_a_restart_after_the_outcome_does_nothing_again() -> None:
    known = in_shadow()
    again = restarted(known)
    again.drift(drift())
    assert (again.actions, again.jobs) == ([], [])
    assert [life.phase for life in again.service.lives.values()] == ["shadow"]


def test_a_restart_between_the_deployment_and_the_decision_makes_the_same_of_it() -> None:
    # given a service that ended when the deployment was out, and the decision was not
    known = in_shadow()
    cut = Stage(known.service, known.now, known.actions[:-2])
    again = restarted(cut)
    # when the request is read again, and the job has the same result
    again.drift(drift())
    again.rows(600)
    again.finish(PASSED)
    # then only what was missing is said
    assert again.modes == []
    assert again.steps == ["accepted", "shadow"]


def test_a_child_for_many_machines_is_made_once_however_many_of_them_drift() -> None:
    # given machines of one route that drift together
    known = stage(whole_route=True, shadow_s=3600.0, canary_s=0.0)
    known.drift(drift())
    known.drift(drift("pump-2"))
    # then the second is told that a child for both is being made
    assert known.steps == ["requested", "requested", "rejected"]
    assert "of pump-* and the same rule is under way" in known.events[-1].reason
    # when the child serves, and a third drift of the old bundle comes late: then it goes on being watched
    known.rows(600)
    known.finish()
    known.scores(block(NEW, START + DAY, 1))
    assert known.modes == ["shadow", "active"]
    known.drift(drift("pump-3"))
    assert (known.steps[-1], known.jobs) == ("rejected", ["pump-1"])
    # and one of the child itself is adapted anew
    known.drift(drift("pump-4", bundle=NEW))
    known.rows(600)
    assert known.jobs == ["pump-1", "pump-4"]


def test_machines_with_a_child_each_are_adapted_side_by_side() -> None:
    known = stage()
    known.drift(drift())
    known.drift(drift("pump-2"))
    assert known.steps == ["requested", "requested"]
