"""The pipeline against a second implementation of its rules: windows, scores, calibration, alerts, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    REPEATABLE,
    block_of,
    feed,
    message_of,
    parsed,
    part_of,
    scores_of,
)
from tests.unit.stream.reference import Reference
from tests.unit.stream.test_chunking import machine_rows
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings, ThresholdSettings, WindowSettings

RECIPES = (
    (Recipe(),),
    (Recipe(window=1, weighting="mean"),),
    (Recipe(window=12, stride=5, lag=4, weighting="scored row"),),
    (Recipe(stride=7, window=3, weighting="mean"),),  # windows with rows in between that no window has
    (Recipe(center=0.1, alarm_level=0.7),),
    (Recipe(window=12, warm_up=3, stride=2, lag=2, weighting="mean"),),
    (Recipe(window=11, warm_up=1, weighting="mean", detector="early"), Recipe(window=4, stride=3, detector="late")),
    (
        Recipe(window=9, stride=4, lag=3, weighting="mean", detector="long"),
        Recipe(window=2, detector="short", alarm_level=2.0),
    ),
)

thresholds = st.builds(
    ThresholdSettings,
    method=st.just("fixed"),
    raise_level=st.sampled_from([0.5, 1.0, 2.0]),
    clear_ratio=st.sampled_from([0.3, 0.8, 1.0]),
    min_duration_s=st.sampled_from([0, 60, 100, 180, 240, 700]),
    clear_duration_s=st.sampled_from([0, 60, 120, 200, 240, 1_500]),
)
windowing = st.builds(
    WindowSettings,
    stride=st.sampled_from([None, None, 1, 2]),
    clock_restart_rows=st.sampled_from([0, 1, 2, 4]),
    max_gap_intervals=st.sampled_from([0, 3, 8]),
)


@pytest.mark.parametrize("recipes", RECIPES)
@settings(REPEATABLE, max_examples=30)
@given(
    threshold=thresholds, windows=windowing, seed=st.integers(0, 10_000), rows=st.integers(1, 150), messy=st.booleans()
)
def test_scores_and_alerts_are_those_of_the_reference(
    open_routes: OpenRoutes,
    recipes: tuple[Recipe, ...],
    threshold: ThresholdSettings,
    windows: WindowSettings,
    seed: int,
    rows: int,
    messy: bool,
) -> None:
    # given rows of a machine
    chosen = Settings(threshold=threshold, windows=windows)
    block = machine_rows("press-1", rows, seed, messy=messy)
    # when the pipeline takes them in blocks
    pipeline = Pipeline(open_routes(recipes, chosen), chosen)
    messages = [message_of(part_of(block, start, start + 16), "arrow") for start in range(0, len(block), 16)]
    outputs = feed(pipeline, messages, batch_sizes=[2])
    # then a row-by-row calculation comes to the same, for each rule
    for recipe in recipes:
        reference = Reference(recipe, chosen, "press-1").take(block)
        _compare_scores(outputs, reference)
        alerts = [alert for alert in parsed(outputs, "alerts") if alert["rule"] == recipe.detector]
        assert [
            (alert["event"], alert["alert_id"], alert["opened_at"], alert["time"], alert["severity"])
            for alert in alerts
        ] == [event[:5] for event in reference.events]
        peaks = [alert["peak_score"] for alert in alerts]
        np.testing.assert_allclose(peaks, [event[5] for event in reference.events], rtol=1e-5)
    counters = pipeline.counters
    assert (counters.late_rows, counters.clock_restarts, counters.gaps, counters.imputed_values) == (
        reference.late,
        reference.restarts,
        reference.gaps,
        reference.imputed,
    )
    assert counters.rows == rows - reference.late


def _compare_scores(outputs: Sequence[Output], reference: Reference) -> None:
    found = {
        time: scores for (_, rule, time), scores in scores_of(outputs).items() if rule == reference.recipe.detector
    }
    expected: dict[int, list[tuple[float, float, float]]] = {}
    for time, raw, calibrated, quality in reference.scores:
        expected.setdefault(time, []).append((raw, calibrated, quality))
    assert {time: len(scores) for time, scores in found.items()} == {time: len(s) for time, s in expected.items()}
    for time, scores in found.items():
        for score, (raw, calibrated, quality) in zip(scores, expected[time], strict=True):
            assert score.raw == pytest.approx(raw, rel=1e-5)
            assert score.score == pytest.approx(calibrated, rel=1e-5, abs=1e-6)
            assert score.quality == pytest.approx(quality, rel=1e-6)
            assert score.threshold == reference.settings.threshold.raise_level


def test_an_alert_names_channels_values_and_times(open_routes: OpenRoutes) -> None:
    # given a machine whose channel b leaves its usual value in one row, by 2, and c by 1
    block = block_of("press-1", [[0.5, 0.5, 0.5]] * 6 + [[0.5, 2.5, -0.5]] + [[0.5, 0.5, 0.5]] * 3)
    chosen = Settings()
    recipe = Recipe(weighting="scored row", lag=1)
    # when it is handled
    outputs = feed(Pipeline(open_routes(recipe, chosen), chosen), [message_of(block)])
    # then the alert says when, how bad, and who is to blame, in order; the scored row is the one before the newest
    (alert,) = parsed(outputs, "alerts")
    assert alert["time"] == alert["opened_at"] == int(block.ts[6])
    assert (alert["machine"], alert["event"], alert["bundle"]) == ("press-1", "opened", recipe.bundle_id)
    assert (alert["score"], alert["peak_score"], alert["severity"], alert["quality"]) == (5.0, 5.0, 83, 1.0)
    assert [(share["channel"], share["share"], share["actual"], share["expected"]) for share in alert["channels"]] == [
        ("b", 0.8, 2.5, 0.5),
        ("c", 0.2, -0.5, 0.5),
    ]
    assert {share["unit"] for share in alert["channels"]} == {"unit of b", "unit of c"}
    # and the localization beside it says the same of all channels
    (localization,) = parsed(outputs, "localizations")
    assert localization["alert_id"] == alert["alert_id"]
    assert localization["channels"][:2] == alert["channels"]
    assert [share["channel"] for share in localization["channels"]] == ["b", "c", "a"]
