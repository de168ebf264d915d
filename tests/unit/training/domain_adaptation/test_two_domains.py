"""The generator of two domains."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.labels import runs
from wheeltapper.training.datasets.two_domains import SEGMENT_GAP, TARGET_SHIFT, Shift, make_domain
from wheeltapper.training.detectors.domain_adaptation.windows import window_labels


@pytest.mark.parametrize("seed", range(4))
def test_stated_share_of_rows_is_reached_by_segments_that_do_not_overlap(seed: int) -> None:
    made = make_domain(6000, seed=seed)
    # the share is that of rows, to the row
    assert made.labels.sum() == 240
    segments = list(runs(made.labels))
    assert len(segments) >= 6
    assert all(later[0] - earlier[1] >= SEGMENT_GAP for earlier, later in pairwise(segments))
    # of the 64-row windows, one in ten to one in five holds an anomalous row
    ends = np.arange(63, 6000, 16)
    assert 0.10 <= window_labels(made.labels, ends, 64).mean() <= 0.20


def test_both_domains_run_the_same_process_and_differ_by_the_stated_shift_alone() -> None:
    # given no noise and no anomalies
    quiet = Shift(noise=0.0)
    source = make_domain(2000, quiet, seed=1, anomalous_share=0.0).values
    # when only gain and offset change, and the seed of noise and anomalies
    target = make_domain(2000, replace(quiet, gain=1.8, offset=1.5), seed=2, anomalous_share=0.0).values
    # then each channel of the target is a line of the same channel of the source
    for channel in range(source.shape[1]):
        assert np.corrcoef(source[:, channel], target[:, channel])[0, 1] > 0.99999
        gain = target[:, channel].std() / source[:, channel].std()
        assert 1.4 <= gain <= 2.2


def test_a_trend_is_there_only_where_it_is_asked_for() -> None:
    flat = make_domain(8000, TARGET_SHIFT, seed=3).values
    rising = make_domain(8000, replace(TARGET_SHIFT, trend=1.0), seed=3).values
    difference = (rising - flat)[:, 0]
    np.testing.assert_allclose(difference, 0.0005 * np.arange(8000), atol=1e-3)
    assert np.abs(flat[-2000:].mean(axis=0) - flat[:2000].mean(axis=0)).max() < 0.25


def test_an_anomalous_row_differs_from_what_the_process_would_have_done() -> None:
    clean, made = (make_domain(6000, Shift(noise=0.0), seed=5, anomalous_share=share) for share in (0.0, 0.04))
    changed = (np.abs(clean.values - made.values) > 1e-4).any(axis=1)
    assert not changed[made.labels == 0].any()
    assert changed[made.labels == 1].mean() > 0.7  # spikes leave rows between them


def test_too_many_anomalies_are_refused() -> None:
    with pytest.raises(InputError, match="anomalous_share"):
        make_domain(1000, anomalous_share=0.6)
