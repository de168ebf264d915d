from __future__ import annotations

import numpy as np

from wheeltapper.training.datasets.labels import runs, segments_of
from wheeltapper.training.datasets.series import LabelledSegment


def flags(rows: int, *stretches: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(rows, dtype=np.uint8)
    for start, stop in stretches:
        labels[start:stop] = 1
    return labels


def test_runs_reach_both_ends() -> None:
    assert runs(flags(6, (0, 2), (5, 6))) == [(0, 2), (5, 6)]
    assert runs(np.ones(3)) == [(0, 3)]
    assert runs(np.zeros(3)) == []
    assert runs(np.zeros(0)) == []


def test_the_labels_decide_where_a_described_segment_ends() -> None:
    described = [LabelledSegment(10, 19, (1,)), LabelledSegment(30, 50, (2,)), LabelledSegment(60, 70, (3,))]
    found = segments_of(flags(80, (10, 20), (30, 40), (55, 58)), described)
    assert found == (LabelledSegment(10, 20, (1,)), LabelledSegment(30, 40, (2,)), LabelledSegment(55, 58, ()))


def test_two_descriptions_share_one_run() -> None:
    described = [LabelledSegment(15, 20, (2,)), LabelledSegment(10, 15, (1,))]
    assert segments_of(flags(30, (10, 21)), described) == (
        LabelledSegment(10, 15, (1,)),
        LabelledSegment(15, 21, (2,)),
    )
