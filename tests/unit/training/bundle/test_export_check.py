"""By which measure two outputs of a graph are the same."""

from __future__ import annotations

import numpy as np

from wheeltapper.schemas.bundle.graph import GraphOutput
from wheeltapper.training.fitting.export_check import RELATIVE_TOLERANCE, differences


def output(contribution: list[list[float]]) -> GraphOutput:
    values = np.array(contribution, dtype=np.float32)
    return GraphOutput(score=values.sum(axis=1), contribution=values)


def difference(found: list[list[float]], wanted: list[list[float]]) -> float:
    reference = output(wanted)
    return differences(output(found), {"score": reference.score, "contribution": reference.contribution})[
        "contribution"
    ]


def test_rounding_of_a_contribution_next_to_nothing_is_no_difference() -> None:
    # given one channel, which fits nearly exactly in the first window: then float32's rounding there says nothing
    assert difference([[1.0003e-5], [2.0]], [[1e-5], [2.0]]) <= RELATIVE_TOLERANCE
    # but what is no longer next to nothing is held to it, in every window
    assert difference([[1.0003e-2], [2.0]], [[1e-2], [2.0]]) > RELATIVE_TOLERANCE
    assert difference([[1e-5], [2.001]], [[1e-5], [2.0]]) > RELATIVE_TOLERANCE


def test_a_contribution_is_measured_by_those_of_its_window() -> None:
    # given two windows of one size, when a small contribution differs by little beside the large one: then it is the same
    assert difference([[0.0001, 1.0], [1.0, 0.0]], [[0.00005, 1.0], [1.0, 0.0]]) <= RELATIVE_TOLERANCE
    assert difference([[0.001, 1.0], [1.0, 0.0]], [[0.0005, 1.0], [1.0, 0.0]]) > RELATIVE_TOLERANCE


def test_a_missing_or_misshapen_output_is_all_the_difference() -> None:
    values = output([[1.0, 2.0]])
    assert differences(values, {"score": values.score})["contribution"] == np.inf
    assert (
        differences(values, {"score": values.score, "contribution": values.contribution[:, :1]})["contribution"]
        == np.inf
    )
