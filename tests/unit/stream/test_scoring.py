"""Windows of many machines as batches: the same scores as one plain run of the graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe, graph_of
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.schemas.bundle.batches import split_padded
from wheeltapper.schemas.bundle.graph import BATCH_SIZES, Graph
from wheeltapper.stream.core.scoring import BatchScorer
from wheeltapper.stream.core.windows import windows_of

RECIPE = Recipe(window=6, lag=2, weighting="rising")


@pytest.mark.parametrize("sizes", [BATCH_SIZES, (1, 4), (1,)])
def test_padding_never_doubles_the_work(sizes: tuple[int, ...]) -> None:
    # given any number of windows that fits the largest batch
    for count in range(1, sizes[-1] + 1):
        # when it is split into runs
        runs = split_padded(count, sizes)
        # then every window is in one run, in order, and each run is of an allowed size and no more than doubled
        assert [start for start, _, _ in runs] == [
            sum(length for _, length, _ in runs[:run]) for run in range(len(runs))
        ]
        assert sum(length for _, length, _ in runs) == count
        for start, length, size in runs:
            assert size in sizes
            assert length <= size <= 2 * length
            assert start + size <= sizes[-1]


@settings(REPEATABLE, max_examples=60)
@given(rounds=st.lists(st.lists(st.integers(0, 700), max_size=6), min_size=1, max_size=3), seed=st.integers(0, 1_000))
def test_scores_are_those_of_a_plain_run(open_routes: OpenRoutes, rounds: list[list[int]], seed: int) -> None:
    # given a scorer and the graph it runs
    rule = open_routes(RECIPE).rules[0]
    scorer = BatchScorer(rule)
    rng = np.random.default_rng(seed)
    total = 0
    for counts in rounds:
        parts = [rng.normal(0.5, 1, (count, 6, 3)).astype(np.float32) for count in counts]
        # when windows are added in parts of any size, and changed afterwards
        for part in parts:
            given_away = part.copy()
            scorer.add(given_away)
            given_away[:] = np.nan
        scored = scorer.finish()
        # then everything is in the order they came, as one run of the graph gives it
        windows = np.concatenate([np.empty((0, 6, 3), dtype=np.float32), *parts])
        plain = rule.graph.run(windows)
        np.testing.assert_allclose(scored.raw, plain.score, rtol=1e-5)
        np.testing.assert_allclose(scored.contribution, plain.contribution, rtol=1e-5)
        if len(windows):
            assert scored.expected is not None
            assert plain.expected is not None
            np.testing.assert_allclose(scored.expected, plain.expected, rtol=1e-5)
        np.testing.assert_allclose(scored.raw, RECIPE.contribution(windows).sum(axis=1), rtol=1e-5)
        np.testing.assert_allclose(scored.score, RECIPE.calibrated(windows), rtol=1e-5)
        total += len(windows)
        assert scorer.windows == total


def test_views_of_a_tail_need_not_be_contiguous(open_routes: OpenRoutes) -> None:
    # given overlapping windows over one array, as a tail gives them
    rows = np.random.default_rng(1).random((40, 3)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 6, axis=0).transpose(0, 2, 1)[::3]
    scorer = BatchScorer(open_routes(RECIPE).rules[0])
    # when they are scored: then overlap and stride make no difference
    scorer.add(windows)
    np.testing.assert_allclose(scorer.finish().score, RECIPE.calibrated(windows), rtol=1e-5)


def test_what_an_earlier_batch_left_behind_does_no_harm(open_routes: OpenRoutes) -> None:
    # given a batch full of windows that overflow
    scorer = BatchScorer(open_routes(RECIPE).rules[0])
    scorer.add(np.full((512, 6, 3), 3e38, dtype=np.float32))
    assert np.isinf(scorer.finish().raw).all()
    # when a few windows follow, padded with what is left of it
    windows = np.random.default_rng(1).random((5, 6, 3)).astype(np.float32)
    scorer.add(windows)
    # then their scores are their own
    np.testing.assert_allclose(scorer.finish().score, RECIPE.calibrated(windows), rtol=1e-5)


@settings(REPEATABLE, max_examples=60)
@given(
    rounds=st.lists(st.lists(st.integers(1, 90), max_size=8), min_size=1, max_size=3),
    stride=st.sampled_from([1, 2, 5, 40]),
    longest_run=st.sampled_from([1, 32]),
    at_once=st.integers(1, 4),
    seed=st.integers(0, 1_000),
)
def test_windows_cut_from_rows_are_scored_as_they_are(
    open_routes: OpenRoutes, rounds: list[list[int]], stride: int, longest_run: int, at_once: int, seed: int
) -> None:
    # given a graph that takes runs or not, and machines with any numbers of windows due
    recipe = Recipe(window=24, lag=2, weighting="rising", longest_run=longest_run, detector="runs")
    rule = replace(open_routes(recipe).rules[0], stride=stride)
    scorer = BatchScorer(rule)
    rng = np.random.default_rng(seed)
    for counts in rounds:
        windows = [np.empty((0, 24, 3), dtype=np.float32)]
        for first in range(0, len(counts), at_once):
            some = np.array(counts[first : first + at_once])
            lengths = (some - 1) * stride + 24
            rows = rng.normal(0.5, 1, (int(lengths.sum()), 3)).astype(np.float32)
            starts = np.cumsum(lengths) - lengths
            for start, length in zip(starts, lengths, strict=True):
                windows.append(windows_of(rows[start : start + length], 24)[::stride].copy())
            # when their rows are given, of several machines at a time, and changed afterwards
            scorer.add_rows(rows, starts, some, [f"m-{index}" for index in range(len(some))])
            rows[:] = np.nan
        # then every window has its own score, in the order they came
        scored, expected = scorer.finish(), np.concatenate(windows)
        assert len(scored.raw) == len(expected)
        np.testing.assert_allclose(scored.raw, recipe.contribution(expected).sum(axis=1), rtol=1e-5)
        np.testing.assert_allclose(scored.contribution, recipe.contribution(expected), rtol=1e-5, atol=1e-7)
        if len(expected):
            assert scored.expected is not None
            assert scored.expected.shape == (len(expected), 3)


def test_a_run_is_taken_where_it_costs_less_rows() -> None:
    # given a graph of windows of 192 rows, in runs of 64
    graph = Graph(graph_of(Recipe(window=192, longest_run=64)), device="cpu")
    # then several windows of a machine are a run, as long as they share enough of their rows
    assert [graph.is_run_cheaper(windows) for windows in (1, 2, 64, 1_000)] == [False, True, True, True]
    assert [graph.is_run_cheaper(8, stride) for stride in (1, 8, 32, 48, 64)] == [True, True, True, False, False]
