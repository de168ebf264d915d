"""What the laboratory measures, on courses whose alarms and bundles are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.training.datasets.simulated import DAY, simulate
from wheeltapper.training.judging.metrics.alarms import AlarmRows
from wheeltapper.training.judging.stream_run import Alarm, MachineStream, StreamRun, run_as_stream
from wheeltapper.training.lab.shifts.bundles import fit_bundle
from wheeltapper.training.lab.shifts.climbing import WholeLadder
from wheeltapper.training.lab.shifts.course import Course, Drift, Outcome, run_course
from wheeltapper.training.lab.shifts.measures import WORSE_BY, exam_auroc, measure, recovered_share
from wheeltapper.training.lab.shifts.scenarios import Scenario, make_scenario
from wheeltapper.training.lab.shifts.strategies import FixedLevel, OperatingLayer, RefitAlways

SERIES = simulate("pump-1", train_rows=4 * DAY, test_rows=6 * DAY)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return fit_bundle("pca", SERIES, tmp_path_factory.mktemp("parent") / "bundle")


def outcome_with(scenario: Scenario, parent: Bundle, alarms: list[AlarmRows], open_at_end: bool = False) -> Outcome:
    """A course with these alarms; its scores are those of the parent."""
    run = run_as_stream(parent, scenario.rows, scenario.times)
    found = [
        Alarm(rows, int(scenario.times[rows.start]), None if open_at_end and rows is alarms[-1] else 1)
        for rows in alarms
    ]
    return Outcome(
        StreamRun(
            rows=run.rows,
            stride=run.stride,
            scored_rows=run.scored_rows,
            raw=run.raw,
            calibrated=run.calibrated,
            level=run.level,
            contribution=run.contribution,
            alarms=tuple(found),
            counters=run.counters,
        ),
        ((0, parent),),
        (),
        (),
        None,
    )


def test_an_alarm_in_a_fault_tells_it_and_one_elsewhere_is_false(parent: Bundle) -> None:
    # given a stream without a change, an alarm that opens in its first fault, and one far from any
    scenario = make_scenario("none", SERIES)
    fault = scenario.faults[0]
    quiet = np.flatnonzero(np.convolve(scenario.labels, np.ones(101), "same") == 0)
    lonely = int(quiet[quiet < scenario.change_row][-1])
    alarms = sorted([AlarmRows(fault.start, fault.start, fault.stop), AlarmRows(lonely, lonely, lonely + 10)])
    # when the course is measured
    found = measure(scenario, outcome_with(scenario, parent, alarms))
    # then one alarm is true, the other false, and all of it is before the change
    assert (found.before.alarms, found.before.false_alarms, found.before.told, found.before.met) == (2, 1, 1, 1)
    assert (found.after.alarms, found.after.told) == (0, 0)
    assert found.before.days == pytest.approx(3, abs=0.01)
    assert found.before.false_per_day == pytest.approx(1 / 3, abs=0.01)
    assert found.drift_found is None


def test_an_alarm_that_stands_for_days_meets_faults_but_tells_none(parent: Bundle) -> None:
    scenario = make_scenario("sensor-replaced", SERIES)
    row, end = scenario.change_row, len(scenario.rows)
    found = measure(scenario, outcome_with(scenario, parent, [AlarmRows(row, row, end)], open_at_end=True))
    assert found.after.faults > 3
    assert (found.after.met, found.after.told) == (found.after.faults, 0)
    assert found.after.on == 1.0
    assert found.alarm_delay_h == 0.0


@pytest.mark.parametrize("still_open", [True, False])
def test_a_lasting_fault_without_an_open_alarm_was_learnt_away(parent: Bundle, still_open: bool) -> None:
    # given a fault that the first bundle shows to the end
    scenario = make_scenario("step-fault-6", SERIES)
    row, end = scenario.change_row, len(scenario.rows)
    alarms = [AlarmRows(row, row, end if still_open else row + 600)]
    # when its alarm is open at the end, or not
    found = measure(scenario, outcome_with(scenario, parent, alarms, open_at_end=still_open))
    # then it was told to the end, or learnt away
    assert found.fault_shows
    assert found.adapted_away is not still_open


def test_a_drift_before_the_change_is_false_and_one_after_it_is_found(parent: Bundle) -> None:
    scenario = make_scenario("sensor-offset", SERIES)
    row = scenario.change_row
    drifts = tuple(Drift(at, "started", 0, (), (), False) for at in (row - 1000, row + 120))
    base = outcome_with(scenario, parent, [])
    found = measure(scenario, Outcome(base.run, base.bundles, drifts, (), None))
    assert (found.false_drifts, found.drift_found) == (1, True)
    assert found.drift_delay_h == pytest.approx(2.0)
    assert found.unchanged_days == pytest.approx(3, abs=0.01)


def test_an_accept_confirms_the_change_as_a_drift_does(parent: Bundle) -> None:
    # given a change that was accepted after an hour, and of which a drift was said later
    scenario = make_scenario("sensor-offset", SERIES)
    row = scenario.change_row
    base = outcome_with(scenario, parent, [])
    drifts = (Drift(row + 120, "started", 0, (), (), False),)
    # then it is known from the accept on
    found = measure(scenario, Outcome(base.run, base.bundles, drifts, (), row + 60))
    assert (found.drift_found, found.drift_delay_h) == (True, pytest.approx(1.0))


def test_after_an_accept_alarms_of_the_old_bundle_hide_no_rows(parent: Bundle, tmp_path: Path) -> None:
    # given a machine whose sensors were replaced, and an accept in the middle of the alarm about that
    scenario = make_scenario("sensor-replaced", SERIES)
    stream = MachineStream(parent)
    course = Course(scenario, parent, stream, tmp_path)
    at, more = scenario.change_row + 6 * 60, scenario.change_row + DAY
    stream.feed(scenario.rows[:at], scenario.times[:at])
    course.rows = at
    assert stream.open_since is not None
    since = int(scenario.times[scenario.change_row])
    assert not course.presumed_normal(since, accepted=False)[-60:].any()
    course.accepted = (scenario.change_row, at)
    stream.command("accept", course.time)
    stream.feed(scenario.rows[at:more], scenario.times[at:more])
    course.rows = more
    # then every row since the change is normal for the adaptation that was accepted
    normal = course.presumed_normal(since, accepted=True)
    assert normal[scenario.change_row :].all()
    assert not normal[: scenario.change_row].any()
    # and for another one those under the alarm that was accepted are
    assert course.presumed_normal(since, accepted=False)[scenario.change_row + 60 : at - 60].all()


@pytest.mark.parametrize(("effects", "local"), [((7.0, 6.5, 5.0, 0.4), True), ((3.0, 2.9, 2.8, 2.7, 1.5), False)])
def test_the_ladder_asks_a_person_about_a_few_channels_far_out(
    parent: Bundle, tmp_path: Path, effects: tuple[float, ...], local: bool
) -> None:
    # given a drift without an alarm, with rows enough since
    scenario = make_scenario("none", SERIES)
    stream = MachineStream(parent)
    stream.feed(scenario.rows[: 3 * DAY], scenario.times[: 3 * DAY])
    course = Course(scenario, parent, stream, tmp_path, rows=3 * DAY)
    if stream.open_since is not None:
        stream.command("accept", course.time)
    since = int(scenario.times[DAY])
    course.drifts.append(Drift(2 * DAY, "started", since, ("shift", "inputs"), (), False, effects))
    # when the strategy looks, then it climbs the ladder unless the change is local
    WholeLadder().look(course)
    assert any(tmp_path.iterdir()) is not local


def test_a_bundle_that_ranks_worse_is_counted(parent: Bundle, tmp_path: Path) -> None:
    # given a bundle of another pump, which fits this one worse
    scenario = make_scenario("none", SERIES)
    other = fit_bundle("pca", simulate("pump-3", train_rows=4 * DAY, test_rows=6 * DAY), tmp_path / "other")
    good, bad = exam_auroc(scenario, parent), exam_auroc(scenario, other)
    assert good is not None
    assert bad is not None
    assert bad < good - WORSE_BY
    # when it takes over, and then the first one comes back
    base = outcome_with(scenario, parent, [])
    found = measure(scenario, Outcome(base.run, ((0, parent), (100, other), (200, parent)), (), (), None))
    # then one of the two bundles that took over is worse, and the one in force at the examination is the first
    assert (found.swaps, found.worse) == (2, 1)
    assert found.auroc == good


def test_the_share_of_the_gap_leaves_out_where_there_is_none() -> None:
    # given two series with a gap, one without, and one where the first bundle is better than the target's
    share = recovered_share([0.6, 0.7, 0.9, 0.9], [0.7, 0.8, 0.9, 0.5], [0.8, 0.8, 0.91, 0.8])
    # then the gaps .2 and .1 count, of which .1 and .1 were recovered
    assert share == pytest.approx(2 / 3)
    assert recovered_share([0.9], [0.5], [0.9]) is None


def test_without_adaptation_a_course_is_what_evaluate_sees(parent: Bundle, tmp_path: Path) -> None:
    # given a stream that is run hour by hour, when nothing is done
    scenario = make_scenario("sensor-offset", SERIES)
    strategy = FixedLevel()
    outcome = run_course(scenario, strategy, parent, tmp_path)
    # then its scores and alarms are those of the whole stream at once
    whole = run_as_stream(parent, scenario.rows, scenario.times, alarms=strategy.alarms)
    assert outcome.run.raw == pytest.approx(whole.raw, rel=1e-4, abs=1e-6)  # batches of another size round otherwise
    assert [alarm.rows for alarm in outcome.run.alarms] == [alarm.rows for alarm in whole.alarms]
    assert outcome.adaptations == ()


def test_a_refit_every_day_learns_what_it_sees(parent: Bundle, tmp_path: Path) -> None:
    # given a stream with a lasting fault, when the detector is trained anew every day
    scenario = make_scenario("step-fault-6", SERIES)
    outcome = run_course(scenario, RefitAlways(days=2.0), parent, tmp_path)
    # then a bundle takes over each day from the second on, and the scores after it are its own
    rows = [row for row, _ in outcome.bundles]
    assert rows == [0, 2 * DAY, 3 * DAY, 4 * DAY, 5 * DAY, 6 * DAY]
    bundle = outcome.bundles[2][1]
    alone = run_as_stream(bundle, scenario.rows[: 4 * DAY], scenario.times[: 4 * DAY])
    at = (outcome.run.scored_rows >= 3 * DAY) & (outcome.run.scored_rows < 4 * DAY)
    assert outcome.run.raw[at] == pytest.approx(alone.raw[alone.scored_rows >= 3 * DAY], rel=1e-5, abs=1e-6)


def test_the_operator_accepts_a_drift_once_and_a_fault_never(parent: Bundle, tmp_path: Path) -> None:
    # given a machine that drifts and one with a lasting fault, both of which the operating layer calls
    drifts, faulty = (make_scenario(name, SERIES) for name in ("sensor-replaced", "step-fault-6"))
    strategy = OperatingLayer()
    drifted, broken = (run_course(made, strategy, parent, tmp_path) for made in (drifts, faulty))
    # then the drift's alarm ends with the accept, some hours after the change, and rows from the change on are normal
    assert drifted.accepted_at is not None
    assert drifts.change is not None
    assert drifts.change.row + 4 * 60 <= drifted.accepted_at <= drifts.change.row + 12 * 60
    ended = [alarm for alarm in drifted.run.alarms if alarm.cleared_at == drifts.times[drifted.accepted_at - 1]]
    assert len(ended) == 1
    # and nobody accepts the fault, whose alarm is open at the end
    assert broken.accepted_at is None
    assert broken.run.alarms[-1].cleared_at is None


@pytest.mark.slow
def test_the_ladder_adapts_to_an_accepted_drift_by_rows_since_the_change(parent: Bundle, tmp_path: Path) -> None:
    # given a machine whose sensors were replaced, which the operator accepts
    scenario = make_scenario("sensor-replaced", SERIES)
    outcome = run_course(scenario, WholeLadder(shadow_s=0.0), parent, tmp_path)
    assert outcome.accepted_at is not None
    # then the ladder is climbed once there is a day of rows since the change, whatever the gate says of it
    assert outcome.adaptations
    first = outcome.adaptations[0]
    assert scenario.change_row + DAY <= first.row <= scenario.change_row + 2 * DAY
    assert first.reason
    # and a bundle that took over is in force from then on
    for row, bundle in outcome.bundles[1:]:
        assert bundle.manifest.parent == parent.manifest.bundle_id
        assert outcome.bundle_at(row) is bundle


def test_the_ladder_leaves_a_lasting_fault_alone(parent: Bundle, tmp_path: Path) -> None:
    # given a fault that stands to the end under an open alarm that nobody accepts
    scenario = make_scenario("step-fault-6", SERIES)
    outcome = run_course(scenario, WholeLadder(), parent, tmp_path)
    # then nothing is learnt of it
    assert outcome.accepted_at is None
    assert all(one.row < scenario.change_row for one in outcome.adaptations)
    assert outcome.run.alarms[-1].cleared_at is None
