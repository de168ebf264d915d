"""After a child has come into service, a better one is looked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.training.adaptation.lives import (
    DAY,
    HOUR,
    NEW,
    PASSED,
    START,
    Stage,
    alert,
    block,
    command,
    drift,
    in_service,
    stage,
)
from wheeltapper.schemas.adaptation import ActiveModel
from wheeltapper.training.adaptation.service.life import Life, Phase

REFIT = replace(PASSED, step="refit", bundle="pca-pump-1-refit", uri="out/refit", sha256="c" * 64)


def deployed(known: Stage) -> Stage:
    """What it has deployed is on the topic `models`."""
    for model in known.models:
        known.service.serving.take(model)
    return known


def bridged(**rules: int) -> Stage:
    """A child of input scaling in service."""
    return deployed(in_service(**{"tries": 3, **rules}))


def follower(known: Stage) -> Life:
    (found,) = (life for life in known.service.lives.values() if life.follows)
    return found


def a_day_later(known: Stage) -> None:
    known.scores(block(NEW, START + DAY + 6 * HOUR, 30))
    follower(known).seen_at = START + 3 * DAY
    known.rows(2_000)


def test_a_child_is_followed_by_another_climb_from_it() -> None:
    # given a child of input scaling in service
    known = bridged()
    # then another adaptation is asked for, of the same rows and those to come, with the child as its parent
    life = follower(known)
    assert (life.parent.bundle, life.since, life.source.first_offset) == (NEW, START, 10)
    assert known.steps[-1] == "requested"
    assert "input-scaling took over" in known.events[-1].reason
    # and not before the machine has sent a day more of rows
    assert life.not_before == START + 3 * HOUR + DAY
    life.seen_at = life.not_before - 1
    known.rows(2_000)
    assert known.jobs == ["pump-1"]
    a_day_later(known)
    assert known.jobs == ["pump-1", "pump-1"]
    # when its child takes over, that of the first is no longer watched, and the last try follows
    known.finish(REFIT)
    known.scores(block(REFIT.bundle, START + 4 * DAY, 6))
    assert [life.phase for life in known.service.lives.values()] == [Phase.WATCHED, Phase.COLLECTING]
    assert known.models[-1].bundle == REFIT.bundle
    assert known.steps[-1] == "requested"


def test_nothing_follows_the_last_try() -> None:
    known = stage(tries=1)
    known.drift(drift())
    known.rows(600)
    known.finish()
    known.scores(block(NEW, START + DAY, 6))
    assert len(known.service.lives) == 1
    assert known.steps[-1] == "activated"


def test_what_the_gate_refuses_leaves_the_child_in_service() -> None:
    known = bridged()
    a_day_later(known)
    known.finish(replace(PASSED, status="rejected", step="", reason="no gain"))
    assert known.steps[-1] == "waiting"
    follower(known).seen_at += 2 * DAY
    known.rows(2_000)
    known.finish(replace(PASSED, status="rejected", step="", reason="no gain"))
    assert known.steps[-1] == "rejected"
    assert known.models[-1].bundle == NEW


@pytest.mark.parametrize("when", ["before the outcome", "in shadow"])
def test_it_ends_with_the_child_that_it_goes_on_from(when: str) -> None:
    # given a follow-up under way
    known = bridged()
    if when == "in shadow":
        a_day_later(known)
        known.finish(REFIT)
    # when the child in service is taken back
    for number in range(8):
        time = START + 2 * DAY + number * 2 * HOUR
        known.alert(alert("opened", time, ident=f"new-{number}", bundle=NEW))
        known.alert(alert("cleared", time + HOUR, opened_at=time, ident=f"new-{number}", bundle=NEW))
    known.scores(block(NEW, START + DAY + 6 * HOUR, 60))
    # then both have ended
    assert known.service.lives == {}
    assert sorted(known.steps[-2:]) == sorted(
        ["rolled-back", "rejected" if when == "before the outcome" else "rolled-back"]
    )
    assert known.modes[-1] == "back"


def test_a_person_who_deploys_another_bundle_ends_it() -> None:
    known = bridged()
    theirs = ActiveModel(
        route="pump-1", rule="pca", bundle="theirs", uri="theirs", sha256="d" * 64, mode="active", who="anna"
    )
    known.model(theirs)
    assert known.service.lives == {}


def test_a_new_drift_takes_its_place() -> None:
    # given a follow-up that waits for rows
    known = bridged()
    # when the machine drifts away from the child
    known.drift(drift(drift_id="second", bundle=NEW, since=START + 2 * DAY))
    # then the rows of that drift alone count
    (life,) = (life for life in known.service.lives.values() if life.phase is Phase.COLLECTING)
    assert (life.follows, life.since) == ("", START + 2 * DAY)
    assert "takes its place" in [event.reason for event in known.events if event.event == "rejected"][-1]


def test_the_end_of_the_drift_does_not_end_it() -> None:
    # the child has ended the drift, that is what it is for
    known = bridged()
    known.drift(drift(event="ended"))
    assert follower(known).phase is Phase.COLLECTING


def test_what_was_accepted_stays_accepted() -> None:
    known = stage(tries=3)
    known.drift(drift())
    known.command(command("accept", known.now))
    known.rows(600)
    known.finish()
    known.scores(block(NEW, START + DAY, 6))
    assert follower(known).accepted_us is not None
    assert follower(known).who == "anna"


def test_a_restart_goes_on_with_it() -> None:
    known = bridged()
    again = deployed(Stage(stage(tries=3).service, known.now, list(known.actions)))
    again.service.restore(known.events, known.now)
    assert replace(follower(again), holds=[]) == replace(follower(known), holds=[])
    # and says nothing twice
    assert again.events == known.events
