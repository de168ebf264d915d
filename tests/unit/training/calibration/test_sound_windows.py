"""Windows of clips: as `windows_of_clips` cuts them, a bounded number at a time, and found again by their time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.sounds import RATE, hum, make_sounds
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.training.datasets.sound.series import Clip, windows_of_clips
from wheeltapper.training.fitting import sound_windows
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import blocks_of_time
from wheeltapper.training.fitting.sound_windows import (
    ClipWindows,
    clip_starts,
    window_and_hop,
    windows_ending_at,
)

WINDOW, HOP = 700, 300


@pytest.fixture
def clips() -> list[Clip]:
    """Of several lengths: shorter than a window, one exactly, longer, and one of many windows."""
    lengths = (0.2, 0.35, 1.0, 9.03)
    return [
        Clip(
            f"{index}", hum(seconds, seed=index, channels=2), "fan", group=str(index // 2), attributes={"speed": index}
        )
        for index, seconds in enumerate(lengths)
    ]


@pytest.mark.parametrize("at_once", [1, 5_000, 10**9])
def test_batches_are_the_windows_however_many_are_held(
    clips: list[Clip], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_windows, "_BATCH_VALUES", at_once)
    wanted, owner = windows_of_clips(clips, WINDOW, HOP)
    found = ClipWindows.of(clips, clip_starts(clips, RATE, HOP), RATE, WINDOW, HOP)
    batches = list(found.batches([AttributeSpec(name="speed")]))
    np.testing.assert_array_equal(np.concatenate([windows for windows, _ in batches]), wanted)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in batches if rows is not None])[:, 0], owner)
    np.testing.assert_array_equal(found.owner, owner)
    assert max(len(windows) for windows, _ in batches) <= max(1, -(-at_once // (2 * WINDOW)))


def test_every_window_is_found_again_by_its_time(clips: list[Clip]) -> None:
    starts = clip_starts(clips, RATE, HOP)
    found = ClipWindows.of(clips, starts, RATE, WINDOW, HOP)
    wanted, owner = windows_of_clips(clips, WINDOW, HOP)
    windows, of_clip = windows_ending_at(clips, starts, RATE, WINDOW, found.time)
    np.testing.assert_array_equal(windows, wanted)
    np.testing.assert_array_equal(of_clip, owner)


def test_blocks_of_time_hold_every_sample_once_and_whole_clips(clips: list[Clip]) -> None:
    starts = clip_starts(clips, RATE, HOP)
    blocks = blocks_of_time(clips, starts, RATE, WINDOW, 6)
    pieces = [clip for held, _ in blocks for clip in held]
    np.testing.assert_array_equal(
        np.concatenate([piece.samples for piece in pieces]), np.concatenate([clip.samples for clip in clips])
    )
    assert 3 <= len(blocks) <= 6
    # a clip of a few windows is not cut, a long one is, and every piece begins where it says
    assert [len(piece.samples) for piece in pieces[:3]] == [len(clip.samples) for clip in clips[:3]]
    begins = np.concatenate([own for _, own in blocks])
    assert (np.diff(begins) > 0).all()
    cut = len(pieces) - 3
    assert cut >= 3
    lengths = np.cumsum([0] + [len(piece.samples) for piece in pieces[3:-1]])
    np.testing.assert_allclose(begins[3:], starts[3] + lengths * 1e6 / RATE, atol=1)


def test_the_default_window_is_ten_seconds_or_the_shortest_clip() -> None:
    assert window_and_hop(make_sounds(3, seconds=12.0), TrainOptions()) == (10 * RATE, 5 * RATE)
    assert window_and_hop(make_sounds(3, seconds=1.5), TrainOptions()) == (3_000, 1_500)
    assert window_and_hop(make_sounds(3), TrainOptions(window=500, stride=200)) == (500, 200)
    assert window_and_hop(make_sounds(3), TrainOptions(), window_s=0.5, hop_s=0.1) == (1_000, 200)
