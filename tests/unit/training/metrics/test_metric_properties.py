"""What holds for any labels, scores and contributions, drawn with many ties, segments at the edges and segments of one row."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_f_score, range_pr_vus_score, range_roc_vus_score
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve

from wheeltapper.stream.core.alert_life import SpanRule, alert_spans
from wheeltapper.training.judging.metrics.alarms import AlarmRows, alarm_metrics
from wheeltapper.training.judging.metrics.localization import localization_metrics
from wheeltapper.training.judging.metrics.ranking import auc_pr, auc_roc, vus_by_ranks
from wheeltapper.training.judging.metrics.thresholded import (
    affiliation,
    affiliation_f1,
    oracle_point_f1,
    point_adjusted_f1,
    point_f1,
    range_f1,
)

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=40)
FEWER = settings(derandomize=True, deadline=None, max_examples=15)


@st.composite
def labelled(draw: st.DrawFn, least: int = 20, most: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """[T] labels, of both kinds, and [T] float64 scores of few values."""
    rows = draw(st.integers(least, most))
    labels = np.zeros(rows, dtype=np.uint8)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, rows - 1))
        labels[start : start + draw(st.integers(1, rows // 4))] = 1
    scores = np.array(draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows)), dtype=np.float64)
    return labels, scores


def in_unit_interval(*values: float | None) -> bool:
    return all(value is not None and -1e-12 <= value <= 1 + 1e-12 for value in values)


@REPEATABLE
@given(drawn=labelled())
def test_ranking_metrics_see_nothing_but_the_order(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = drawn
    transformed = np.exp(scores) * 1e-3 - 7
    for measure in (auc_pr, auc_roc):
        assert measure(labels, transformed) == pytest.approx(measure(labels, scores))
        assert in_unit_interval(measure(labels, scores))
    before, after = vus_by_ranks(labels, scores, 8), vus_by_ranks(labels, transformed, 8)
    assert after == pytest.approx(before)
    assert in_unit_interval(*before)


@REPEATABLE
@given(drawn=labelled())
def test_a_score_turned_round_has_what_is_left_of_the_auc(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = drawn
    forward, backward = auc_roc(labels, scores), auc_roc(labels, -scores)
    assert forward is not None
    assert backward == pytest.approx(1 - forward)
    # And nothing ranks above the labels themselves.
    assert (auc_pr(labels, labels.astype(float)), auc_roc(labels, labels.astype(float))) == (1.0, 1.0)


@FEWER
@given(drawn=labelled(least=30), size=st.integers(0, 12))
def test_vus_is_aeons(drawn: tuple[np.ndarray, np.ndarray], size: int) -> None:
    labels, scores = drawn
    if np.ptp(scores) == 0:
        return  # 0 by convention
    expected = (
        range_pr_vus_score(labels.astype(int), scores, max_buffer_size=size),
        range_roc_vus_score(labels.astype(int), scores, max_buffer_size=size),
    )
    assert vus_by_ranks(labels, scores, size) == pytest.approx(expected, abs=1e-12)


def test_vus_by_hand() -> None:
    # Rows 2 and 3 of 6 labelled; without a buffer VUS is the area of the point-wise curve, by trapezoids. The scores
    # take row 2 first, then row 0, then row 3, then all others.
    labels = np.array([0, 0, 1, 1, 0, 0], dtype=np.uint8)
    scores = np.array([3.0, 0, 4, 2, 0, 0])
    # A segment is found with its largest score, so recall is 1/2, 1/2, 1, 1 and precision 1, 1/2, 2/3, 1/3.
    pr = 0.5 * (1 + 1) / 2 + 0 + 0.5 * (2 / 3 + 1 / 2) / 2 + 0
    # False rates 0, 1/4, 1/4, 1.
    roc = 0.25 * (0.5 + 0.5) / 2 + 0 + 0.75 * (1 + 1) / 2
    assert vus_by_ranks(labels, scores, 0) == pytest.approx((pr, roc))


@REPEATABLE
@given(drawn=labelled(), level=st.integers(0, 10))
def test_point_f1_is_sklearns_and_the_oracle_its_best(drawn: tuple[np.ndarray, np.ndarray], level: int) -> None:
    labels, scores = drawn
    flags = scores >= level
    plain, best = point_f1(labels, flags), oracle_point_f1(labels, scores)
    assert plain == pytest.approx(f1_score(labels, flags))
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = np.maximum(precision + recall, 1e-30)
    assert best == pytest.approx(np.max(2 * precision * recall / total))
    # Point adjustment can only add to it.
    adjusted = point_adjusted_f1(labels, flags)
    assert plain is not None
    assert adjusted is not None
    assert plain - 1e-12 <= adjusted <= 1


@FEWER
@given(drawn=labelled(), level=st.integers(1, 9))
def test_range_f1_is_aeons(drawn: tuple[np.ndarray, np.ndarray], level: int) -> None:
    labels, scores = drawn
    flags = (scores >= level).astype(int)
    if 0 < flags.sum() < len(flags):  # of constant flags aeon has another opinion than the definition
        assert range_f1(labels, flags) == pytest.approx(range_f_score(labels.astype(int), flags))
        assert in_unit_interval(range_f1(labels, flags))


@REPEATABLE
@given(drawn=labelled(), level=st.integers(1, 9))
def test_affiliation_is_the_same_with_time_turned_round(drawn: tuple[np.ndarray, np.ndarray], level: int) -> None:
    labels, scores = drawn
    flags = (scores >= level).astype(np.uint8)
    precision, recall = affiliation(labels, flags)
    assert affiliation(labels[::-1], flags[::-1]) == (
        None if precision is None else pytest.approx(precision),
        pytest.approx(recall),
    )
    assert in_unit_interval(recall, 0.0 if precision is None else precision, affiliation_f1(labels, flags))
    assert affiliation(labels, labels) == pytest.approx((1.0, 1.0))


@st.composite
def blamed(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """[T, C] bool, at least one channel at fault somewhere, and [T, C] contributions of few values."""
    rows, channels = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    cells = rows * channels
    truth = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells))).reshape(rows, channels)
    truth[draw(st.integers(0, rows - 1)), draw(st.integers(0, channels - 1))] = True
    values = draw(st.lists(st.integers(0, 4), min_size=cells, max_size=cells))
    return truth, np.array(values, dtype=np.float64).reshape(rows, channels)


@REPEATABLE
@given(drawn=blamed(), seed=st.integers(0, 5))
def test_localization_is_bounded_and_knows_channels_by_rank_alone(
    drawn: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    truth, blame = drawn
    metrics = localization_metrics(truth, blame)
    assert in_unit_interval(*metrics.values())
    assert metrics["hit_rate_100"] <= metrics["hit_rate_150"] + 1e-12
    assert metrics["ips_100"] <= metrics["ips_150"] + 1e-12
    order = np.random.default_rng(seed).permutation(truth.shape[1])
    assert localization_metrics(truth[:, order], np.expm1(blame[:, order])) == pytest.approx(metrics)
    # To blame exactly those at fault is perfect.
    perfect = localization_metrics(truth, truth.astype(float))
    assert [perfect[name] for name in ("hit_rate_100", "hit_rate_150", "ndcg_100")] == pytest.approx([1.0] * 3)


@REPEATABLE
@given(drawn=blamed())
def test_ties_count_as_the_mean_over_every_order(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, blame = drawn
    wanted = []
    for row, values in zip(truth, blame, strict=True):
        if row.any():
            count = int(row.sum())
            orders = [
                order
                for order in itertools.permutations(range(len(row)))
                if all(values[left] >= values[right] for left, right in itertools.pairwise(order))
            ]
            wanted.append(np.mean([row[list(order[:count])].sum() / count for order in orders]))
    assert localization_metrics(truth, blame)["hit_rate_100"] == pytest.approx(np.mean(wanted))


@REPEATABLE
@given(drawn=labelled(least=40))
def test_louder_scores_alarm_on_the_same_rows_and_more(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = drawn
    rule = SpanRule(clear_windows=3)

    def on(values: np.ndarray) -> np.ndarray:
        rows = np.zeros(len(values), dtype=bool)
        for start, stop in alert_spans(values, rule):
            rows[start:stop] = True
        return rows

    assert (on(scores / 6) <= on(scores / 5)).all()
    assert (on(scores / 6) >= (scores / 6 >= 1)).all()
    alarms = [AlarmRows(start, start, stop) for start, stop in alert_spans(scores / 6, rule)]
    found = alarm_metrics(labels, alarms, 60.0)
    assert 0 <= found.found <= found.events
    assert 0 <= found.false_alarms <= found.alarms
