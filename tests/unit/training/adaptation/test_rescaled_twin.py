"""The TorchScript twin of a child whose inputs are rescaled, or whose alarm level alone has changed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.training.adaptation.ladder import LadderOptions, climb
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = normal_rows(5_000, 6, seed=31, offset=10.0)
MINUTE = 60_000_000


@pytest.fixture(scope="module", params=[True, False], ids=["twin", "no twin"])
def parent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    series = make_series(ROWS[:3000])
    fitted, scores = train_detector("pca", series, TrainOptions(window=16))
    out = tmp_path_factory.mktemp("parent") / "pca"
    return write_bundle(fitted, series, out, scores=scores, torchscript=request.param)


@pytest.mark.parametrize("step", ["input-scaling", "operating-level"])
def test_a_child_has_a_twin_where_its_parent_has_one(parent: Bundle, step: str, tmp_path: Path) -> None:
    # Given a machine with another gain and offset on two channels
    rows = ROWS[3000:].copy()
    rows[:, :2] = 1.3 * rows[:, :2] + 3 * ROWS[:, :2].std(axis=0)
    times = int(make_series(ROWS[:3000]).train_ts[-1]) + MINUTE * np.arange(1, 2001, dtype=np.int64)
    attempt = climb(
        parent, RecentRows(rows, times, accepted=True), LadderOptions(tmp_path / "child", steps=[step])
    ).attempts[0]
    # When its bundle is adapted
    assert attempt.bundle is not None, attempt.verdict.reasons
    child = open_bundle(attempt.bundle.location)
    # Then it has a twin exactly where the parent has one, and warns of none that nobody had
    assert ("model.ts" in child.files) == ("model.ts" in parent.files)
    assert not [text for text in child.manifest.warnings if "TorchScript" in text]
    if "model.ts" not in child.files:
        return
    # And the twin gives what the graph gives, expected values in the machine's new units
    golden = child.golden()
    windows = golden.pop("window")
    names = [output.name for output in child.manifest.outputs]
    with torch.no_grad():
        found = torch.jit.load(BytesIO(child.files["model.ts"]))(torch.from_numpy(windows))
    named = found if isinstance(found, dict) else dict(zip(names, found, strict=True))
    assert "expected" in golden
    for name, wanted in golden.items():
        np.testing.assert_allclose(named[name].numpy(), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
