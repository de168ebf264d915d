"""Detectors that take runs of rows: every window of a run scores what it scores alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conformance.trained import CHANNELS, trained
from tests.helpers.machines import normal_rows
from wheeltapper.schemas.bundle import Graph
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.fitting.export_check import differences, outputs_by_name, stretches

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TAKES_RUNS = {"range-bands", "pca", "l2-norm", "kmeans-ad", "isolation-forest", "log-mean"}
"""Those whose rows can be worked on once for all windows that they lie in."""
TOLERANCE = 1e-5
"""Of float32 sums of another order."""


def graph_of(name: str) -> Graph:
    return Graph(trained(name).model, device="cpu")


def rows_of(name: str) -> np.ndarray:
    """[3, T, C]: ordinary rows; with a fault; with values missing and the first rows not there yet."""
    graph = graph_of(name)
    length = graph.window - 1 + graph.longest_run
    rows = normal_rows(3 * length, CHANNELS, seed=CHANNELS).reshape(3, length, CHANNELS)
    rows[1, -40:-30] += 5 * np.ptp(trained(name).series.train, axis=0)
    rows[2] = stretches(windows_of(rows[0], graph.window)[:3], length)[2]
    return rows


def test_the_detectors_that_can_take_runs_do(one_pass: str) -> None:
    graph = graph_of(one_pass)
    assert (graph.longest_run > 1) == (one_pass in TAKES_RUNS)
    assert graph.longest_run in (1, 64)


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_a_run_is_as_good_as_its_windows(one_pass: str, length: int) -> None:
    graph = graph_of(one_pass)
    if graph.longest_run == 1:
        pytest.skip("takes windows alone")
    # Given rows of a machine, and what each window scores alone
    rows = rows_of(one_pass)
    usual = outputs_by_name(graph.run(np.concatenate([windows_of(stretch, graph.window) for stretch in rows])))
    for first in (0, 64 - length):
        part = rows[:, first : first + graph.window - 1 + length]
        apart = graph.run(np.concatenate([windows_of(stretch, graph.window) for stretch in part]))
        # When they are scored as runs
        found = graph.run_together(part)
        # Then nothing but rounding differs
        worst = differences(found, outputs_by_name(apart), usual)
        assert all(value <= TOLERANCE for value in worst.values()), f"from row {first}: {worst}"
        assert np.isfinite(found.score).all()


@pytest.mark.parametrize("stride", [1, 3, 8, 100])
def test_stretches_of_any_length_and_stride_are_scored(one_pass: str, stride: int) -> None:
    # Given more rows than the longest run has
    graph = graph_of(one_pass)
    rows = normal_rows(graph.window + 250, CHANNELS, seed=CHANNELS)
    # When windows are picked from them: then each has its score
    found = graph.run_rows(rows[None], stride)
    wanted = graph.run(windows_of(rows, graph.window)[::stride])
    worst = differences(found, outputs_by_name(wanted))
    assert all(value <= TOLERANCE for value in worst.values()), worst
