"""Windows, their labels, their scaling and their split."""

from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.domain_adaptation.domains import WindowDomain, fit_scaler, joined, split_in_time
from wheeltapper.training.detectors.domain_adaptation.windows import window_labels


def domain(count: int = 20, window: int = 8, step: int = 4, name: str = "d") -> WindowDomain:
    random = np.random.default_rng(0)
    return WindowDomain(
        name,
        random.standard_normal((count, window, 3)).astype(np.float32),
        (np.arange(count) % 4 == 0).astype(np.int8),
        order=window - 1 + step * np.arange(count),
    )


def test_a_window_is_labelled_by_its_last_rows() -> None:
    # given one anomalous row, 10
    labels = np.zeros(40, dtype=np.uint8)
    labels[10] = 1
    ends = np.arange(7, 40)
    found = window_labels(labels, ends, label_rows=3)
    # then the windows that end there or up to two rows later count, not those that still hold it further back
    assert ends[found == 1].tolist() == [10, 11, 12]
    assert ends[window_labels(labels, ends, label_rows=8) == 1].tolist() == list(range(10, 18))


def test_scaler_takes_missing_and_constant_values() -> None:
    windows = np.array([[[1.0, 7, np.nan], [3, 7, np.nan]], [[np.nan, 7, np.nan], [5, 7, np.nan]]], dtype=np.float32)
    scaler = fit_scaler(windows)
    np.testing.assert_allclose(scaler.mean, [3, 7, 0])
    np.testing.assert_allclose(scaler.deviation, [np.sqrt(8 / 3), 1, 1], rtol=1e-6)
    scaled = scaler.apply(windows, clip=1.0)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() <= 1


def test_split_shares_no_row_between_its_parts() -> None:
    both = joined("both", [domain(), domain(30)])
    first, last = split_in_time(both, 0.3)
    assert len(first)
    assert len(last)
    for recording in (0, 1):
        early, late = first.order[first.recording == recording], last.order[last.recording == recording]
        assert late.min() - early.max() >= 8


def test_labels_and_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="label 2"):
        WindowDomain("d", np.zeros((2, 8, 1), np.float32), np.array([0, 2]))
    with pytest.raises(InputError, match="one label a window"):
        WindowDomain("d", np.zeros((2, 8, 1), np.float32), np.array([0]))
