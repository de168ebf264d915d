"""What an operator's accept means to the adaptation worker, before, during and after a job."""

from __future__ import annotations

import numpy as np

from tests.unit.training.adaptation.lives import (
    DAY,
    HOUR,
    START,
    alert,
    command,
    drift,
    stage,
)
from wheeltapper.schemas.events import ClearReason
from wheeltapper.training.adaptation.service.life import JobOutcome
from wheeltapper.training.adaptation.service.presumed_normal import outside


def test_an_accept_ends_the_drift_and_not_its_adaptation() -> None:
    # given a drift under an alert
    known = stage()
    known.alert(alert("opened", START + HOUR))
    known.drift(drift(alert_open=True))
    # when it is accepted, which ends both
    known.command(command("accept", known.now))
    known.alert(alert("cleared", START + 2 * HOUR, opened_at=START + HOUR, reason=ClearReason.ACCEPTED))
    known.drift(drift(event="ended"))
    # then its adaptation goes on
    known.rows(600)
    assert known.jobs == ["pump-1"]


def test_an_accept_that_is_read_after_the_end_of_its_drift_still_means_it() -> None:
    # given a drift without an alert, which an accept has ended in the worker
    known = stage()
    known.drift(drift())
    accept = command("accept", known.now)
    known.drift(drift(event="ended"))
    assert known.steps[-1] == "rejected"
    # when the accept is read, then an adaptation begins, by the drift's rows
    known.command(accept)
    (life,) = known.service.collecting
    assert (life.since, life.source.first_offset, life.accepted_us) == (START, 10, accept.at)
    # and an accept long after the end means nothing
    other = stage()
    other.drift(drift())
    other.drift(drift(event="ended"))
    assert other.command(command("accept", other.now + HOUR)) == []


def test_an_accept_while_a_job_runs_holds_for_the_next_try() -> None:
    # given a job that runs for a drift that nobody has accepted
    known = stage(tries=2)
    known.drift(drift())
    known.rows(600)
    # when the operator accepts, and the gate rejects
    known.command(command("accept", known.now))
    known.finish(JobOutcome("rejected", "still moving"))
    # then an alert does not hold the next try back
    known.alert(alert("opened", START + 4 * HOUR))
    (life,) = known.service.collecting
    assert life.accepted_us is not None


def test_an_accept_means_the_change_from_its_beginning() -> None:
    # given a drift whose job failed, and an alert that has stood for longer
    known = stage()
    known.drift(drift(since=START))
    known.rows(600)
    known.finish(JobOutcome("failed", "killed"))
    known.alert(alert("opened", START - HOUR))
    # when it is accepted, then the rows since the alert are meant
    known.command(command("accept", known.now))
    assert [life.since for life in known.service.lives.values()] == [START - HOUR]


def test_a_drift_that_has_been_open_for_long_is_not_what_an_alert_of_today_is_about() -> None:
    # given a drift whose adaptation was rejected, and an alert two days later
    known = stage()
    known.drift(drift(since=START))
    known.rows(600)
    known.finish(JobOutcome("rejected", "no gain"))
    known.alert(alert("opened", START + 2 * DAY))
    # when it is accepted, then the rows since the alert are meant
    known.command(command("accept", known.now))
    assert [life.since for life in known.service.lives.values()] == [START + 2 * DAY]


def test_rows_in_maintenance_are_not_learned() -> None:
    known = stage()
    known.drift(drift())
    known.command(command("maintenance", known.now, machine="pump-*", start=START + HOUR, until=START + 2 * HOUR))
    (life,) = known.service.collecting
    times = np.array([START + HOUR - 1, START + HOUR, START + 2 * HOUR - 1, START + 2 * HOUR])
    assert outside(times, known.service.excluded(life, 0)).tolist() == [True, False, False, True]


def test_an_accept_without_a_drift_asks_for_an_adaptation_of_what_the_alert_began() -> None:
    # given an open alert, and no drift
    known = stage()
    known.alert(alert("opened", START + HOUR))
    # when the operator accepts it, and says so twice
    accept = command("accept", known.now)
    known.command(accept)
    known.command(accept)
    # then rows since its opening are collected, wherever they lie
    (life,) = known.service.collecting
    assert (life.since, life.source.partition, life.source.published_us) == (START + HOUR, -1, START + 1_000_000)
    assert known.steps == ["requested"]
    assert known.events[0].who == "anna"
    # and an accept of a machine that nothing is known of does nothing
    assert known.command(command("accept", known.now, machine="fan-1")) == []


def test_an_accept_after_a_rejection_tries_again_with_the_same_rows() -> None:
    # given a drift whose adaptation was rejected
    known = stage()
    known.drift(drift())
    known.rows(600)
    known.finish(JobOutcome("rejected", "no step passed the gate"))
    assert (known.steps[-1], known.service.lives) == ("rejected", {})
    # when the operator accepts
    known.command(command("accept", known.now))
    # then another adaptation has the drift's rows
    (life,) = known.service.collecting
    assert (life.since, life.source.first_offset) == (START, 10)
    assert life.adaptation_id != known.events[0].adaptation_id
