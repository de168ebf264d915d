"""The life of an alert, and what its messages say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    REPEATABLE,
    START,
    TOPIC,
    block_of,
    feed,
    message_of,
    parsed,
    part_of,
    scores_of,
)
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.events import AlertEvent, Localization, ScoreBlock
from wheeltapper.stream.core.alert_life import AlertLife, AlertState, alert_id, severity_of
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import ScoringSettings, Settings, ThresholdSettings
from wheeltapper.stream.state import read_snapshot

Step = tuple[int, str, int | None, float, int]


def live(scores: list[float], **threshold: float) -> list[Step]:
    """What happens at each window, one a minute, that something happens at: (window, event, opened at, peak, severity)."""
    lifecycle = AlertLife(ThresholdSettings(**threshold), interval_s=60.0)
    state = AlertState()
    steps: list[Step] = []
    for window, score in enumerate(scores):
        time = START + window * MINUTE
        event = lifecycle.step(state, score, time, level=1.0)
        if event is not None:
            opened = None if state.opened_at is None else (state.opened_at - START) // MINUTE
            steps.append((window, event, opened, state.peak_score, severity_of(state.peak_score)))
            if event == "cleared":
                lifecycle.end(state, time)
                assert state == AlertState(above_since=state.above_since, seen_at=time, last=state.last)
    return steps


def test_an_alert_opens_at_the_level_and_clears_below_the_clear_level_for_a_while() -> None:
    # given scores that reach the level, fall below it but not below the clear level (0.8), then below that
    scores = [0.9, 1.0, 0.9, 0.8, 0.79, 0.79, 0.8, 0.7, 0.7, 0.7, 0.2]
    # when three minutes below it clear an alert: then a window at the clear level starts the count anew
    assert live(scores, clear_duration_s=180) == [(1, "opened", 1, 1.0, 50), (9, "cleared", 1, 1.0, 50)]


def test_an_alert_opens_after_its_minimum_duration_and_dates_from_the_first_window() -> None:
    # given two windows above the level, then three, the first of them the worst
    scores = [1.5, 1.5, 0.9, 4.0, 2.0, 1.1, 0.1, 0.1]
    # when three minutes are needed: then the first run is none, and the second counts from its start, with its worst score
    steps = live(scores, min_duration_s=180, clear_duration_s=120)
    assert steps == [(5, "opened", 3, 4.0, 80), (7, "cleared", 3, 4.0, 80)]


def test_an_open_alert_speaks_again_when_severity_has_risen_by_ten() -> None:
    # given an alert that grows: severities 50, 55, 59, 60, 65, 75, 75, 99, 100, 100
    scores = [1.0, 1.2, 1.45, 1.5, 1.9, 3.0, 2.0, 99.0, 500.0, 9000.0]
    # when it is watched: then each rise of ten since it last spoke is told, and reaching 100, once
    steps = live(scores)
    assert [(window, event, severity) for window, event, _, _, severity in steps] == [
        (0, "opened", 50),
        (3, "updated", 60),
        (5, "updated", 75),
        (7, "updated", 99),
        (8, "updated", 100),
    ]
    assert {opened for _, _, opened, _, _ in steps} == {0}


def test_an_alert_after_another_is_a_new_one() -> None:
    # given two faults with a quiet time between, and one that returns before it was cleared
    scores = [2.0, 0.1, 2.0, 0.1, 0.1, 3.0, 0.1, 0.1]
    steps = live(scores, clear_duration_s=120)
    assert [(window, event, opened) for window, event, opened, *_ in steps] == [
        (0, "opened", 0),
        (4, "cleared", 0),
        (5, "opened", 5),
        (7, "cleared", 5),
    ]


def test_a_machine_of_one_window_an_hour_clears_with_its_next_quiet_one() -> None:
    # given windows an hour apart, a fault in one of them, and an alert that clears after half an hour
    life, state = AlertLife(ThresholdSettings(clear_duration_s=1_800), interval_s=3_600.0), AlertState()
    hours = START + 3_600_000_000 * np.arange(4)
    # when they come: then the first quiet window clears it, as it stands for an hour
    events = [life.step(state, score, time, 1.0) for score, time in zip([0.1, 2.0, 0.1], hours.tolist(), strict=False)]
    assert events == [None, "opened", "cleared"]
    # and without a setting no alert of such a machine waits longer than that either
    life, state = AlertLife(ThresholdSettings(), interval_s=3_600.0), AlertState()
    events = [life.step(state, score, time, 1.0) for score, time in zip([0.1, 2.0, 0.1], hours.tolist(), strict=False)]
    assert events == [None, "opened", "cleared"]


def test_a_gap_is_no_time_of_quiet() -> None:
    # given windows a minute apart, an alert that clears after an hour, and a machine that is away for a day
    life, state = AlertLife(ThresholdSettings(clear_duration_s=3_600), interval_s=60.0), AlertState()
    minutes = [0, 1, 1_440, 1_441]
    # when it comes back quiet: then the day counts for ten minutes, and the alert is still open
    events = [
        life.step(state, score, START + at * MINUTE, 1.0) for score, at in zip([2, 0.1, 0.1, 0.1], minutes, strict=True)
    ]
    assert events == ["opened", None, None, None]
    assert state.quiet_us == 12 * MINUTE


def test_a_clock_that_is_set_back_counts_as_no_time() -> None:
    # given an open alert whose machine's clock is set back by a year: then quiet windows count from there, and it clears
    life, state = AlertLife(ThresholdSettings(clear_duration_s=180), interval_s=60.0), AlertState()
    year = 365 * 1_440
    minutes = [year, year + 1, 1, 2, 3]
    events = [
        life.step(state, score, START + at * MINUTE, 1.0)
        for score, at in zip([2, 0.1, 0.1, 0.1, 0.1], minutes, strict=True)
    ]
    assert events == ["opened", None, None, None, "cleared"]


def test_in_the_cool_down_only_what_is_far_more_severe_opens() -> None:
    # given an alert of severity 67 that clears after 2 minutes and a cool-down of 10
    scores = [2.0, 0.1, 0.1, 2.5, 0.1, 3.0, 3.0] + [0.1] * 8
    steps = live([*scores, 2.0], clear_duration_s=120, cool_down_s=600)
    # then what is little worse opens nothing until the time is over
    assert [(window, event) for window, event, *_ in steps] == [(0, "opened"), (2, "cleared"), (15, "opened")]
    # but severity 87 does, at once
    steps = live([2.0, 0.1, 0.1, 2.5, 0.1, 7.0], clear_duration_s=120, cool_down_s=600)
    assert [(window, event) for window, event, *_ in steps] == [(0, "opened"), (2, "cleared"), (5, "opened")]
    # and a run that outlasts the cool-down opens when it is over, and dates from its start
    steps = live([2.0, 0.1, 0.1, *[2.5] * 12], clear_duration_s=120, cool_down_s=600)
    assert steps[2][:3] == (12, "opened", 3)


def test_an_alert_that_comes_back_soon_is_the_same_alert() -> None:
    # given an alert that clears after 2 minutes, and is taken up again within 5
    scores = [2.0, 0.1, 0.1, 0.1, 1.5, 0.1, 0.1, *[0.1] * 6, 1.5]
    steps = live(scores, clear_duration_s=120, reopen_s=300)
    # then it opens under its old time, with its old peak; what comes later is a new one
    assert [(window, event, opened, peak) for window, event, opened, peak, _ in steps] == [
        (0, "opened", 0, 2.0),
        (2, "cleared", 0, 2.0),
        (4, "opened", 0, 2.0),
        (6, "cleared", 0, 2.0),
        (13, "opened", 13, 1.5),
    ]


@REPEATABLE
@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 0.79, 0.8, 0.99, 1.0, 1.5, 3.0, 1e9]), max_size=60),
    opens=st.integers(1, 4),
    clears=st.integers(1, 4),
    clear_ratio=st.sampled_from([0.5, 0.8, 1.0]),
)
def test_every_life_goes_opened_updated_cleared(
    scores: list[float], opens: int, clears: int, clear_ratio: float
) -> None:
    # given any scores, when they are watched
    steps = live(scores, min_duration_s=opens * 60, clear_duration_s=clears * 60, clear_ratio=clear_ratio)
    # then each alert is opened once, updated with rising severity, cleared once, before the next one opens
    severity, opened = -1, None
    seen: set[int | None] = set()
    for window, event, opened_at, peak, severe in steps:
        if event == "opened":
            assert opened is None
            assert opened_at not in seen
            assert opened_at == window - opens + 1
            assert min(scores[window - opens + 1 : window + 1]) >= 1.0
            opened, severity = opened_at, severe
            seen.add(opened)
        elif event == "updated":
            assert opened_at == opened
            assert severe > severity
            severity = severe
        else:
            assert opened_at == opened
            assert max(scores[window - clears + 1 : window + 1]) < clear_ratio
            opened = None
        assert peak == max(scores[opened_at or 0 : window + 1])


def test_severity_rises_with_the_score() -> None:
    assert [severity_of(score) for score in (0, 1, 3, 9, 199, 1e9)] == [0, 50, 75, 90, 100, 100]
    scores = np.concatenate([np.linspace(0, 10, 2_000), np.geomspace(10, 1e9, 500)])
    severities = [severity_of(float(score)) for score in scores]
    assert severities == sorted(severities)


def test_ids_depend_on_machine_rule_bundle_and_opening_time_alone() -> None:
    # given the same four, when the id is made again: then it is the same, also in years to come
    assert alert_id("press-1", "pca", "pca-1", 5) == "efc1588b-f495-5b08-9d88-110cd76b53d7"
    parts = ("press-1", "pca", "pca-1", 5)
    others = [("press-2", *parts[1:]), ("press-1", "alora", *parts[2:]), (*parts[:2], "pca-2", 5), (*parts[:3], 6)]
    assert len({alert_id(*one) for one in (parts, *others)}) == 5


def test_messages_are_what_the_schemas_say(open_routes: OpenRoutes) -> None:
    # given a machine with a fault
    values = np.full((50, 3), 0.5)
    values[10:14, 1] = 3.5
    outputs = feed(Pipeline(open_routes(), Settings()), [message_of(block_of("press-1", values))])
    # when its messages are read as a subscriber would
    types: dict[str, type[BaseModel]] = {"alerts": AlertEvent, "localizations": Localization, "scores": ScoreBlock}
    read = [
        decode_message(types[output.topic], output.value, dict(output.headers)["content-type"]) for output in outputs
    ]
    # then they are all valid, keyed by the machine, and the alert's life is complete
    assert {output.topic for output in outputs} == set(types)
    assert {output.key for output in outputs} == {b"press-1"}
    events = [message.event for message in read if isinstance(message, AlertEvent)]
    assert (events[0], events[-1]) == ("opened", "cleared")
    localizations = [message for message in read if isinstance(message, Localization)]
    assert len(localizations) == len(events) - 1  # none beside 'cleared'
    for message in localizations:
        assert [share.share for share in message.channels] == sorted((s.share for s in message.channels), reverse=True)
        assert sum(share.share for share in message.channels) == pytest.approx(1, abs=1e-5)


def test_an_alert_names_the_first_channels_and_a_localization_all(open_routes: OpenRoutes) -> None:
    # given a bundle of eight channels and a setting of two
    recipe = Recipe(channels=tuple("abcdefgh"), window=1)
    chosen = Settings(scoring=ScoringSettings(top_channels=2))
    values = [0.5, 0.5, 1.5, 0.5, 3.5, 0.5, 2.5, 0.5]
    block = block_of("press-1", values, channels=recipe.channels)
    # when an alert opens
    outputs = feed(Pipeline(open_routes(recipe), chosen), [message_of(block)])
    # then it names two; equal shares stand in the bundle's order
    assert [share["channel"] for share in parsed(outputs, "alerts")[0]["channels"]] == ["e", "g"]
    assert [share["channel"] for share in parsed(outputs, "localizations")[0]["channels"]] == list("egcabdfh")


def test_an_alert_names_no_channel_with_less_than_a_tenth_of_the_largest_share(open_routes: OpenRoutes) -> None:
    # given three channels: one far off, one with a tenth of its share, one with less
    recipe = Recipe(window=1)
    block = block_of("press-1", [0.5 + 2.0, 0.5 + 2.0 * 0.1**0.5 + 0.01, 0.5 + 0.6], channels=recipe.channels)
    # when an alert opens: then the third is in the localization alone, and only the others have a worst row
    outputs = feed(Pipeline(open_routes(recipe), Settings()), [message_of(block)])
    (alert,), (localization,) = parsed(outputs, "alerts"), parsed(outputs, "localizations")
    assert [share["channel"] for share in alert["channels"]] == ["a", "b"]
    assert [(share["channel"], share["worst"] is None) for share in localization["channels"]] == [
        ("a", False),
        ("b", False),
        ("c", True),
    ]


def test_an_alert_says_where_a_channel_was_worst_and_in_which_messages_its_window_came(open_routes: OpenRoutes) -> None:
    # given a detector that looks at five rows, each a message, and a channel that is far off in one, and less so two later
    values = np.full((12, 3), 0.2)
    values[7, 1], values[9, 1] = 35.0, 20.0
    routes = open_routes(Recipe(weighting="mean", alarm_level=300.0))
    messages = [message_of(part_of(block_of("press-1", values), row, row + 1)) for row in range(12)]
    # when an alert opens with the second
    outputs = feed(Pipeline(routes, Settings()), messages)
    alert = parsed(outputs, "alerts")[0]
    # then it names the first and what is usual, and the messages of its window
    (share,) = alert["channels"]
    assert share["worst"] == {
        "time": START + 7 * MINUTE, "kind": "out_of_range", "actual": 35.0, "expected": None,
        "low": pytest.approx(0.15, abs=1e-6), "high": pytest.approx(0.25, abs=1e-6),
    }  # fmt: skip
    assert (alert["time"], share["actual"]) == (START + 9 * MINUTE, 20.0)
    assert alert["input"] == {"topic": TOPIC, "partition": 0, "first_offset": 5, "last_offset": 9}
    assert alert["message"].startswith("press-1 is in alarm, severity 51 of 100: b was 35 unit of b at 2023-11-14 ")


def test_alerts_carry_where_their_machine_stands(open_routes: OpenRoutes) -> None:
    # given a route that says where its machines stand
    (route,) = open_routes(Recipe(window=1)).routes
    routes = Routes([replace(route, area="hall 2/line 1", asset="Press {machine}")])
    # when an alert opens, and when it is cleared
    values = np.full((50, 3), 0.5)
    values[10:14, 1] = 3.5
    alerts = parsed(feed(Pipeline(routes, Settings()), [message_of(block_of("press-1", values))]), "alerts")
    # then each step has it
    assert {(alert["area"], alert["asset"]) for alert in alerts} == {("hall 2/line 1", "Press press-1")}
    assert alerts[-1]["event"] == "cleared"


def test_scores_need_not_be_published(open_routes: OpenRoutes) -> None:
    # given a setting that keeps scores back, when rows are handled: then alerts come as ever
    values = [[9.5, 0.5, 0.5]]
    chosen = Settings(scoring=ScoringSettings(publish_scores=False))
    outputs = feed(Pipeline(open_routes(Recipe(window=1)), chosen), [message_of(block_of("press-1", values))])
    assert [output.topic for output in outputs] == ["alerts", "localizations"]


def test_a_score_that_overflows_raises_an_alert_that_can_be_read(open_routes: OpenRoutes) -> None:
    # given values whose squares are beyond float32, in two channels
    block = block_of("press-1", [[0.5, 0.5, 0.5], [3e38, 0.5, -3e38], [0.5, 0.5, 0.5]])
    pipeline = Pipeline(open_routes(Recipe(window=1)), Settings())
    # when they are handled
    outputs = feed(pipeline, [message_of(block)])
    # then an alert of the highest severity blames both and no other, all messages can be read, and it is counted
    alert = decode_message(AlertEvent, next(output.value for output in outputs if output.topic == "alerts"))
    assert (alert.severity, alert.time) == (100, START + MINUTE)
    assert [(share.channel, share.share) for share in alert.channels] == [("a", 0.5), ("c", 0.5)]
    for output in outputs:
        if output.topic == "scores":
            decode_message(ScoreBlock, output.value)
    assert pipeline.counters.not_finite_scores == 1
    # and the machine's next rows are judged as ever
    assert scores_of(outputs)[("press-1", "distance", START + 2 * MINUTE)][0].score == 0.0


def learned(pipeline: Pipeline) -> dict[str, Any]:
    """The threshold that press-1 has learned, as its snapshot holds it."""
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    (rule,) = read_snapshot(record.value or b"").rules.values()
    return dict(rule.slots["threshold"])


def test_a_learned_threshold_learns_nothing_of_an_alert(open_routes: OpenRoutes) -> None:
    # given a machine with a learned threshold, an hour of ordinary rows, and a fault of twenty rows that comes and goes
    chosen = Settings(threshold=ThresholdSettings(method="spot", false_alarms_per_day=1, clear_duration_s=300))
    routes = open_routes(Recipe(window=1), chosen)
    usual = np.random.default_rng(2).normal(0.5, 0.1, (100, 3)).astype(np.float32)
    fault = usual[:20].copy()
    fault[::3] += np.float32(3)
    pipeline = Pipeline(routes, chosen)
    before = [message_of(part_of(block_of("press-1", usual), row, row + 1)) for row in range(60)]
    feed(pipeline, before)
    known = learned(pipeline)
    assert known["seen"] == 500 + 60
    # when the fault comes, until its alert is about to clear: then nothing of it is learned, ordinary rows in between neither
    times = START + MINUTE * np.arange(60, 83)
    rows = np.concatenate([fault, usual[20:23]])
    outputs = feed(pipeline, [message_of(block_of("press-1", rows, times=times))])
    assert [alert["event"] for alert in parsed(outputs, "alerts")] == ["opened"]
    assert learned(pipeline) == known
    # and when it has cleared, learning goes on behind the window that cleared it
    later = block_of("press-1", usual[23:33], times=START + MINUTE * np.arange(83, 93))
    outputs = feed(pipeline, [message_of(later)])
    assert [alert["event"] for alert in parsed(outputs, "alerts")] == ["cleared"]
    assert learned(pipeline)["seen"] == 500 + 60 + 9


def test_the_level_in_force_is_published(open_routes: OpenRoutes) -> None:
    # given a learned threshold, when ordinary rows move it: then each score comes with the level that it was held against
    chosen = Settings(
        threshold=ThresholdSettings(method="spot", false_alarms_per_day=20, spot_tail=0.2, clear_duration_s=600)
    )
    recipe = Recipe(window=1, alarm_level=0.2)
    values = np.random.default_rng(2).normal(0.5, 0.25, (300, 3))
    outputs = feed(Pipeline(open_routes(recipe, chosen), chosen), [message_of(block_of("press-1", values))])
    scores = {time: score for (_, _, time), (score,) in scores_of(outputs).items()}
    assert len({score.threshold for score in scores.values()}) > 3
    opened = [alert for alert in parsed(outputs, "alerts") if alert["event"] == "opened"]
    assert opened
    for alert in opened:
        score = scores[alert["time"]]
        assert alert["threshold"] == pytest.approx(score.threshold, rel=1e-5)
        assert alert["score"] == pytest.approx(score.score, rel=1e-5)
        assert score.score >= score.threshold
