"""Blocks of time inside of a fit."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.sound.blocks import blocks_of_time, centre_and_spread


def test_blocks_keep_recordings_whole() -> None:
    # given nine recordings of four windows
    recording = np.repeat(np.arange(9)[::-1], 4)
    # when blocks are made
    blocks = blocks_of_time(recording)
    # then there are six in order of time, each row is held out once, and no recording is on both sides
    assert len(blocks) == 6
    np.testing.assert_array_equal(np.concatenate([own for own, _ in blocks]), np.arange(36))
    for own, others in blocks:
        assert not set(recording[own]) & set(recording[others])


def test_blocks_of_one_recording_do_not_touch() -> None:
    # given one recording whose windows overlap by half
    blocks = blocks_of_time(np.zeros(30, dtype=np.int64), overlap=1)
    # then a window that shares samples with a held-out one is not fitted on
    for own, others in blocks:
        assert np.abs(own[:, None] - others[None, :]).min() > 1


def test_scores_that_are_all_the_same_have_a_spread() -> None:
    assert centre_and_spread(np.full(4, 2.0)) == (2.0, 0.1)
