"""One battery for every detector of the registry; a new one joins by adding its name to `SETTINGS`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.fitted import FittedDetector
from schemas.bundle import Graph, open_bundle
from schemas.bundle.graph import GraphOutput
from schemas.errors import InputError
from tests.helpers.machines import make_series, normal_rows, windows_of
from training.bundle_writer import write_bundle
from training.calibration import CalibrationScores
from training.datasets.series import SensorSeries
from training.detectors import TrainOptions, train_detector
from training.export_check import RELATIVE_TOLERANCE, differences, open_for_check, outputs_by_name, probe_windows

# Detector -> options that make it small enough to be fitted many times.
SETTINGS = {
    "range-bands": TrainOptions(settings={"window": "48", "scored_rows": "16"}),
    "pca": TrainOptions(settings={"window": "16"}),
    "l2-norm": TrainOptions(settings={"window": "16"}),
    "kmeans-ad": TrainOptions(),
    "isolation-forest": TrainOptions(settings={"trees": "20", "samples": "128"}),
    "vae-lstm": TrainOptions(window=72, epochs=4, settings={"l_win": "24", "hidden": "32", "code": "4"}),
    "rl-vae": TrainOptions(
        window=16,
        epochs=3,
        settings={"hidden": "32", "q_hidden": "8", "episodes": "3", "walkers": "64", "pool_limit": "400"},
    ),
}
ROWS = 2000

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@dataclass(frozen=True)
class Trained:
    series: SensorSeries
    fitted: FittedDetector
    scores: CalibrationScores
    model: bytes

    def graph(self) -> Graph:
        return Graph(self.model, device="cpu")


@cache
def trained(name: str, channels: int = 9, constant: bool = False) -> Trained:
    """A detector fitted on a machine with so many channels; the last one constant where asked for."""
    rows = normal_rows(ROWS if channels < 100 else 600, channels, seed=channels)
    if constant:
        rows[:, -1] = 5.0
    series = make_series(rows)
    fitted, scores = train_detector(name, series, SETTINGS[name])
    return Trained(series, fitted, scores, fitted.onnx_bytes())


@pytest.fixture(params=SETTINGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def assert_same(found: GraphOutput, wanted: dict[str, np.ndarray], where: str) -> None:
    worst = differences(found, wanted)
    assert all(value <= RELATIVE_TOLERANCE for value in worst.values()), f"{where}: {worst}"


def test_graph_keeps_the_contract(name: str) -> None:
    detector = trained(name)
    graph, output = detector.graph(), detector.graph().run(probe_windows(detector.series.train, detector.fitted.window))
    assert (graph.window, graph.channels) == (detector.fitted.window, 9)
    assert output.score.shape == (8,)
    assert output.contribution.shape == (8, 9)
    assert (output.contribution >= 0).all()
    for values in outputs_by_name(output).values():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    opset = {entry.domain: entry.version for entry in onnx.load_model_from_string(detector.model).opset_import}
    assert opset[""] >= 17


def test_describes_itself_in_plain_types(name: str) -> None:
    fitted = trained(name).fitted
    assert fitted.detector == name
    assert fitted.version >= 1
    assert 0 <= fitted.lag < fitted.window
    assert all(isinstance(value, (int, float, str, bool, type(None), list)) for value in fitted.parameters.values())
    assert all(isinstance(warning, str) and warning for warning in fitted.warnings)


@pytest.mark.parametrize("size", [1, 2, 3, 512])
def test_score_of_a_window_does_not_depend_on_its_batch(name: str, size: int) -> None:
    # Given normal and disturbed windows, each scored alone
    detector = trained(name)
    graph = open_for_check(detector.model)
    windows = probe_windows(detector.series.train, detector.fitted.window)
    alone = [outputs_by_name(graph.run(windows[index : index + 1])) for index in range(len(windows))]
    # When they are scored in a batch of another size
    batch = np.resize(windows, (size, *windows.shape[1:]))
    found = graph.run(batch)
    # Then nothing changes
    wanted = {key: np.concatenate([alone[i % len(alone)][key] for i in range(size)]) for key in alone[0]}
    assert_same(found, wanted, f"batch of {size}")


def test_torchscript_twin_agrees_with_the_graph(name: str) -> None:
    torch = pytest.importorskip("torch")
    detector = trained(name)
    twin = detector.fitted.torchscript_bytes()
    assert twin is not None
    module = torch.jit.load(BytesIO(twin))
    graph = open_for_check(detector.model)
    windows = probe_windows(detector.series.train, detector.fitted.window)
    for size in (1, 2, 3, 512):
        batch = np.resize(windows, (size, *windows.shape[1:]))
        with torch.no_grad():
            outputs = module(torch.from_numpy(batch))
        values = outputs.values() if isinstance(outputs, dict) else outputs
        wanted = {key: value.numpy() for key, value in zip(graph.output_names, values, strict=True)}
        assert_same(graph.run(batch), wanted, f"batch of {size}")


def test_same_seed_gives_the_same_detector(name: str) -> None:
    first = trained(name)
    fitted, scores = train_detector(name, first.series, SETTINGS[name])
    assert fitted.onnx_bytes() == first.model
    np.testing.assert_array_equal(scores.score, first.scores.score)


def test_held_out_scores_are_in_order_and_of_the_train_part(name: str) -> None:
    detector = trained(name)
    scores = detector.scores
    assert len(scores.score) == len(scores.time) > ROWS // 10
    assert np.isfinite(scores.score).all()
    assert (np.diff(scores.time) > 0).all()
    assert np.isin(scores.time, detector.series.train_ts).all()
    assert scores.origin


def test_bundle_comes_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    detector = trained(name)
    written = write_bundle(detector.fitted, detector.series, tmp_path / "bundle.zip", scores=detector.scores)
    read = open_bundle(tmp_path / "bundle.zip")
    assert read.manifest == written.manifest
    graph = read.open_graph(device="cpu")
    windows = windows_of(detector.series.train[:200], detector.fitted.window, step=9)
    np.testing.assert_array_equal(graph.run(windows).score, detector.graph().run(windows).score)
    assert read.manifest.calibration.alarm_level > read.manifest.calibration.center


def test_disturbed_windows_score_above_normal_ones(name: str) -> None:
    detector = trained(name)
    score = detector.graph().run(probe_windows(detector.series.train, detector.fitted.window, normal=16)).score
    # Far above, far below, noise: gross by any measure. All channels stuck is left to detectors of patterns.
    assert score[[16, 17, 19]].min() > 3 * score[:16].max()


def test_a_disturbed_channel_is_blamed(name: str) -> None:
    # Given a normal window
    detector = trained(name)
    window = windows_of(detector.series.train[300 : 300 + detector.fitted.window], detector.fitted.window)
    blamed = []
    for channel in range(9):
        # When one channel leaves its range in the last rows
        broken = window.copy()
        broken[0, -6:, channel] += 4 * np.ptp(detector.series.train[:, channel])
        blamed.append(int(detector.graph().run(broken).contribution[0].argmax()))
    # Then it has the largest contribution; where channels explain each other, blame may fall on a neighbour now and then
    assert np.mean(np.array(blamed) == np.arange(9)) >= 2 / 3, blamed


def test_constant_channel_is_silent_until_it_moves(name: str) -> None:
    detector = trained(name, constant=True)
    window = windows_of(detector.series.train[300 : 300 + detector.fitted.window], detector.fitted.window)
    moved = window.copy()
    moved[0, -4:, -1] += 5.0
    before, after = detector.graph().run(window), detector.graph().run(moved)
    assert np.isfinite(before.score).all()
    assert after.score[0] > 3 * before.score[0]
    assert after.contribution[0].argmax() == 8


@pytest.mark.parametrize("channels", [1, 2, 5, 6])
def test_few_channels(name: str, channels: int) -> None:
    detector = trained(name, channels=channels)
    windows = probe_windows(detector.series.train, detector.fitted.window)
    output = detector.graph().run(windows)
    assert output.contribution.shape == (8, channels)
    assert output.score[[4, 5, 7]].min() > output.score[:4].max()


def test_many_channels(name: str, tmp_path: Path) -> None:
    detector = trained(name, channels=500)
    written = write_bundle(detector.fitted, detector.series, tmp_path / "b", scores=detector.scores, torchscript=False)
    assert len(written.manifest.channels) == 500
    assert sum(map(len, written.files.values())) < 60e6


def test_missing_training_values_are_no_obstacle(name: str) -> None:
    rows = normal_rows(ROWS, 9, seed=9)
    rows[200:260, 3] = np.nan
    rows[:10, 5] = np.nan
    fitted, scores = train_detector(name, make_series(rows), SETTINGS[name])
    assert np.isfinite(scores.score).all()
    clean = normal_rows(ROWS, 9, seed=9)
    assert np.isfinite(Graph(fitted.onnx_bytes(), device="cpu").run(windows_of(clean[:200], fitted.window)).score).all()


def test_too_short_a_train_part_is_refused_in_one_line(name: str) -> None:
    series = make_series(normal_rows(40, 5))
    with pytest.raises(InputError) as error:
        train_detector(name, series, SETTINGS[name])
    assert "40" in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no setting 'nonsense'"):
        train_detector(name, trained(name).series, replace(SETTINGS[name], settings={"nonsense": "1"}))
