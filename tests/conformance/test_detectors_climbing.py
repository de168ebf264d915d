"""The ladder of adaptation for every detector, on a machine with replaced sensors: a child, or a reason; never half of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.training.adaptation.ladder import LadderOptions, climb
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.steps import steps_for
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle

CHANNELS, TRAINED, RECENT = 5, 2500, 1000
BUDGET_S = 4.0
"""For a network's training: what it finds in that time is of no matter here, that it is whole is."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_one_pass_detectors_climb(one_pass: str, tmp_path: Path) -> None:
    climbs(one_pass, tmp_path)


@pytest.mark.nightly
def test_networks_climb(network: str, tmp_path: Path) -> None:
    climbs(network, tmp_path)


def climbs(name: str, tmp_path: Path) -> None:
    # Given a bundle, and rows of the machine after two of its sensors were replaced
    rows = normal_rows(TRAINED + RECENT, CHANNELS, seed=31, offset=20.0)
    series = make_series(rows[:TRAINED])
    fitted, scores = train_detector(name, series, DETECTORS[name].battery)
    parent = write_bundle(fitted, series, tmp_path / "parent", scores=scores, torchscript=False)
    later = rows[TRAINED:].copy()
    spread, mean = rows.std(axis=0), rows.mean(axis=0)
    later[:, :2] = 1.5 * (later[:, :2] - mean[:2]) + mean[:2] + 3 * spread[:2]
    times = int(series.train_ts[-1]) + 60_000_000 * np.arange(1, RECENT + 1, dtype=np.int64)
    # When the ladder is climbed
    options = LadderOptions(tmp_path / "child", budget_s=BUDGET_S)
    result = climb(parent, RecentRows(later, times, accepted=True), options)
    # Then every step that was tried says what came of it, in words
    tried = [attempt.step for attempt in result.attempts]
    assert tried == list(steps_for(name))[: len(tried)]
    assert tried
    assert all(attempt.verdict.reasons and all(attempt.verdict.reasons) for attempt in result.attempts)
    # And every child that was made, taken or not, is a whole bundle that names its parent
    made = [attempt.bundle for attempt in result.attempts if attempt.bundle is not None]
    assert made, [attempt.verdict.reasons for attempt in result.attempts]
    for child in made:
        is_whole(child, parent)
    # And the one that passed is where it was asked for; without one the parent stays
    assert (result.child is not None) is (tmp_path / "child").is_dir()
    assert result.reason
    if result.child is not None:
        assert result.child.location == tmp_path / "child"
        assert result.taken is not None
        assert result.taken.verdict.accepted
        assert open_bundle(tmp_path / "child").manifest.bundle_id == result.child.manifest.bundle_id
    else:
        assert not any(attempt.verdict.accepted for attempt in result.attempts)


def is_whole(child: Bundle, parent: Bundle) -> None:
    """It opens from its folder with the right hashes, its graph gives the golden outputs, and it keeps its parent's form."""
    opened = open_bundle(child.location)
    assert opened.manifest.parent == parent.manifest.bundle_id
    assert opened.manifest.bundle_id != parent.manifest.bundle_id
    opened.open_graph(device="cpu")  # raises where the graph does not give the golden outputs
    kept = ("detector", "window", "stride", "channels", "lag", "sampling_interval_s")
    assert [getattr(opened.manifest, field) for field in kept] == [getattr(parent.manifest, field) for field in kept]
