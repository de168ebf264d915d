"""The mean of log scores: its graph against its members', what it leaves out, and held-out scores at a stride."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows, windows_of
from wheeltapper.models.log_mean.fit import LogMean
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.options import TrainOptions


def trained(rows: int = 1500, channels: int = 7, **options: object) -> tuple[LogMean, np.ndarray]:
    train = normal_rows(2500, channels, seed=3, offset=50.0)[:rows]
    fitted, scores = train_detector("log-mean", make_series(train), TrainOptions(**options))  # type: ignore[arg-type]
    assert isinstance(fitted, LogMean)
    return fitted, scores.score


def test_the_score_is_the_mean_of_the_members_log_scores() -> None:
    # Given the three members, fitted to a machine whose readings lie far from zero
    fitted, _ = trained()
    assert [member.fitted.detector for member in fitted.members] == ["range-bands", "pca", "kmeans-ad"]
    # When windows over a fault are scored by the one graph and by the members' own
    rows = normal_rows(2500, 7, seed=3, offset=50.0)[1500:]
    rows[300:330, 2] += 4 * np.ptp(rows[:, 2])
    windows = windows_of(rows, fitted.window, step=11)
    found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    logs, contributions = [], []
    for member in fitted.members:
        own = Graph(member.fitted.onnx_bytes(), device="cpu").run(windows[:, -member.fitted.window :])
        log = np.log(member.calibrate(own.score) + 0.01)
        share = own.contribution / np.maximum(own.contribution.sum(axis=1, keepdims=True), 1e-30)
        logs.append(log)
        contributions.append(share * (log - np.log(0.01))[:, None])
    # Then the one graph gives their mean, blames the faulty channel, and never gives a negative contribution
    np.testing.assert_allclose(found.score, np.mean(logs, axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.contribution, np.mean(contributions, axis=0), rtol=1e-3, atol=1e-4)
    assert found.contribution[found.score.argmax()].argmax() == 2
    assert found.contribution.min() >= 0


def test_a_member_whose_window_is_too_long_for_the_history_is_left_out_and_named() -> None:
    # Given fewer rows than range bands and their default window need
    fitted, _ = trained(rows=300)
    # Then the others stand alone, and the bundle will say so
    assert [member.fitted.detector for member in fitted.members] == ["pca", "kmeans-ad"]
    assert "range-bands is left out: 300 train rows" in fitted.warnings[0]


def test_too_little_history_for_any_member_is_refused() -> None:
    with pytest.raises(InputError, match=r"30 train rows, kmeans-ad needs at least"):
        trained(rows=30)


def test_held_out_scores_at_a_stride_are_every_nth_of_those_at_stride_1() -> None:
    # Given members with windows of different lengths, whose strides alone would meet at no row
    every = trained(rows=900)[1]
    # Then a stride picks from the windows that all members scored
    np.testing.assert_array_equal(trained(rows=900, stride=7)[1], every[::7])
