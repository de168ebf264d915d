"""The authors' protocol on NAB, by hand on small cases, and the five series as their authors split them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.reproduce import ReproduceOptions
from wheeltapper.training.lab.reproduce.vae_lstm import (
    SERIES,
    best_f1,
    nab_earned,
    random_f1,
    reproduce,
    sequence_labels,
    test_parts,
)

parts_of = test_parts
del test_parts  # pytest would take it for a test


def test_a_marked_row_labels_every_sequence_that_holds_it() -> None:
    # rows 0..9, sequences of 3 rows start at 0..7; row 4 lies in those of 2, 3, 4, row 9 in that of 7
    assert sequence_labels(np.array([4, 9]), 10, 3).tolist() == [0, 0, 1, 1, 1, 0, 0, 1]


def test_best_f1_is_that_of_the_best_of_200_thresholds() -> None:
    # given 10 scores, of which two runs are labelled and only one row stands out
    labels = np.array([0, 0, 1, 1, 1, 0, 0, 0, 1, 0])
    scores = np.array([0.1, 0.2, 0.0, 1.0, 0.1, 0.6, 0.0, 0.3, 0.5, 0.2])
    point, adjusted = best_f1(labels, scores)
    # then by rows: above .3 lie 3, 5, 8 (2 right of 3, of 4): 4/7, or row 3 alone: 2/5
    assert point == pytest.approx(4 / 7)
    # and adjusted row 3 stands for its run: 4 right of 5 flagged, 4 labelled
    assert adjusted == pytest.approx(8 / 9)


def test_bug_1_point_adjustment_rewards_random_scores() -> None:
    # given two marked rows in 5,000, each labelling 576 sequences, as published
    labels = sequence_labels(np.array([2410, 3987]), 5000, 576)
    assert labels.sum() == 2 * 576
    # when random scores are judged: then adjustment makes a good detector of them
    point, adjusted = random_f1(labels)
    assert 0.35 < point < 0.5
    assert adjusted > 0.95


def test_bug_2_both_test_parts_of_machine_temp_are_scored(data_root: Path) -> None:
    if not (data_root / "nab" / "vae_lstm").is_dir():
        pytest.skip("needs nab/vae_lstm, the authors' splits")
    parts = {part.name: part for name in SERIES for part in parts_of(data_root / "nab", name)}
    assert list(parts) == [
        "ambient_temp",
        "cpu_utilization",
        "ec2_request",
        "machine_temp, part 1",
        "machine_temp, part 2",
        "nyc_taxi",
    ]
    first, second = parts["machine_temp, part 1"], parts["machine_temp, part 2"]
    assert (first.marked.tolist(), second.marked.tolist()) == ([2410, 3987], [841, 4016])
    assert (len(first.series.test), len(second.series.test), len(first.series.train)) == (5000, 7195, 10500)
    # NAB's probation is the first 750 rows of the whole series: elsewhere they are train rows
    assert [part.probation for part in parts.values()] == [0, 0, 0, 750, 0, 0]
    # Both are judged by NAB's windows: two in each, which hold the marked rows.
    for part in (first, second):
        assert part.series.test_labels is not None
        assert len(part.series.segments) == 2
        assert part.series.test_labels[part.marked].all()


def test_alarms_earn_by_their_first_row(data_root: Path) -> None:
    if not (data_root / "nab" / "vae_lstm").is_dir():
        pytest.skip("needs nab/vae_lstm, the authors' splits")
    # given the second part of machine_temp, when nothing opens, then its two windows cost
    part = parts_of(data_root / "nab", "machine_temp")[1]
    assert nab_earned(part, []) == -2
    # when alarms open with the first row of each window, then all is earned; and less where one opens late
    opened = [int(start) for start, _ in part.windows]
    assert nab_earned(part, opened) == pytest.approx(2.0)
    start, stop = part.windows[0]
    assert 1.5 < nab_earned(part, [(start + stop) // 2, *opened[1:]]) < 1.95


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ambient_temp\.npz: no such file"):
        reproduce(ReproduceOptions(data=tmp_path, out=tmp_path))
    with pytest.raises(InputError, match="no data folder"):
        reproduce(ReproduceOptions(data=None, out=tmp_path))
