"""Fine-tuning, for every network of the registry: it goes on from its bundle's weights, and its child can be fine-tuned again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.trained import CHANNELS, ROWS, is_network, trained
from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.bundle.store import TORCHSCRIPT, WEIGHTS
from wheeltapper.training.adaptation.child import write_child
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.rescaling import estimate_map
from wheeltapper.training.adaptation.steps import FULL_TRAINING, Ground, _settings, fine_tune, input_scaling
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.bundle_writer import write_bundle

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# Of its two networks the export is fast.
CHEAPEST = "vae-lstm"
NETWORKS = [
    pytest.param(name, marks=[] if name == CHEAPEST else [pytest.mark.nightly])
    for name in DETECTORS
    if is_network(name)
]
MINUTE = 60_000_000


def ground(parent: Bundle, rows: np.ndarray, alignment: str = "coral") -> Ground:
    first = int(make_series(rows[:1]).train_ts[0]) + 10 * ROWS * MINUTE
    recent = RecentRows(rows, first + MINUTE * np.arange(len(rows), dtype=np.int64), accepted=True)
    channel_map = estimate_map(parent.reference_rows(), rows)
    return Ground(parent, recent, channel_map, 0.25, 0, 1, "cpu", 60.0, False, alignment)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_goes_on_from_its_bundles_weights(name: str, tmp_path: Path) -> None:
    # Given a bundle of a network, and the machine with another gain on three channels, one of which measures something else
    known = trained(name)
    parent = write_bundle(known.fitted, known.series, tmp_path / "parent", scores=known.scores, torchscript=False)
    rows = normal_rows(ROWS + 800, CHANNELS, seed=CHANNELS)[ROWS:]
    rows[:, :3] = 1.4 * rows[:, :3] + 2 * rows[:, :3].std(axis=0)
    rows[:, 2] = rows[:, 2].std() * rows[:, 5] / rows[:, 5].std()
    # When it is fine-tuned
    draft = fine_tune(ground(parent, rows))
    child, change = write_child(parent, draft, tmp_path / "child"), draft.change
    # Then it went on from the weights, with fewer steps and a lower rate, and says what a whole training would take
    assert change.startswith("fine-tuned on 800 recent rows")
    assert child.manifest.parent == parent.manifest.bundle_id
    assert child.manifest.window == parent.manifest.window
    full = child.manifest.parameters[FULL_TRAINING]
    assert set(full) <= set(DETECTORS[name].fine_tuning)
    assert float(child.manifest.parameters["learning_rate"]) < float(full["learning_rate"])
    assert _settings(child) == _settings(parent)
    # And its own weights are near its parent's, which those of another seed would not be
    before, after = parent.weights(), child.weights()
    assert before is not None
    assert after is not None
    assert set(before) == set(after)
    moved = [np.abs(after[key] - before[key]).mean() / np.abs(before[key]).mean() for key in matrices(before)]
    assert np.median(moved) < 0.5, moved
    assert max(moved) > 0


def matrices(weights: dict[str, np.ndarray]) -> list[str]:
    return [name for name, value in weights.items() if value.ndim >= 2 and name.endswith("weight") and value.any()]


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in DETECTORS if is_network(name)])
def test_a_rescaled_network_keeps_its_weights_and_a_twin(name: str, tmp_path: Path) -> None:
    # Given a bundle with a TorchScript twin, and the machine with another gain on three channels
    known = trained(name)
    parent = write_bundle(known.fitted, known.series, tmp_path / "parent", scores=known.scores)
    rows = normal_rows(ROWS + 800, CHANNELS, seed=CHANNELS)[ROWS:]
    rows[:, :3] = 1.4 * rows[:, :3] + 2 * rows[:, :3].std(axis=0)
    # When its inputs are scaled to the new regime, then the child has a twin, which was checked, and the same weights
    child = write_child(parent, input_scaling(ground(parent, rows)), tmp_path / "child")
    assert TORCHSCRIPT in child.files
    assert not [text for text in child.manifest.warnings if "TorchScript" in text]
    before, after = parent.weights(), child.weights()
    assert before is not None
    assert after is not None
    assert all(np.array_equal(before[key], after[key]) for key in before.keys() | after.keys())


@pytest.mark.nightly
def test_a_bundle_without_weights_is_trained_anew_and_says_so(tmp_path: Path) -> None:
    known = trained(CHEAPEST)
    parent = write_bundle(known.fitted, known.series, tmp_path / "parent", scores=known.scores, torchscript=False)
    old = replace(parent, files={name: data for name, data in parent.files.items() if name != WEIGHTS})
    rows = normal_rows(ROWS + 800, CHANNELS, seed=CHANNELS)[ROWS:]
    draft = fine_tune(ground(old, rows))
    child, change = write_child(old, draft, tmp_path / "child"), draft.change
    assert change.startswith("trained anew on 800 recent rows")
    assert "trained anew, not fine-tuned: its parent keeps no weights to go on from" in child.manifest.warnings


@pytest.mark.nightly
def test_weights_of_another_network_lead_to_training_anew(tmp_path: Path) -> None:
    known = trained(CHEAPEST)
    parent = write_bundle(known.fitted, known.series, tmp_path / "parent", scores=known.scores, torchscript=False)
    other = replace(parent, files=parent.files | {WEIGHTS: spoilt(parent)})
    rows = normal_rows(ROWS + 800, CHANNELS, seed=CHANNELS)[ROWS:]
    child = write_child(other, fine_tune(ground(other, rows)), tmp_path / "other")
    assert any("are not those of this network" in text for text in child.manifest.warnings)
    assert child.weights() is not None


def spoilt(parent: Bundle) -> bytes:
    """Its weights, one of them of another shape."""
    from wheeltapper.training.fitting.bundle_parts import npz_bytes

    weights = parent.weights()
    assert weights is not None
    name = next(iter(weights))
    return npz_bytes({**weights, name: np.zeros(3, np.float32)})
