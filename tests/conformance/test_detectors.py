"""The battery that every detector of rows has to pass; here what one usual machine shows.

A new detector joins by its spec: `battery` holds options with which it is fitted in a second or two, `exceptions` what it cannot
meet by its nature, with the reason; an exception that is none fails. How it fares on other machines is in
`test_detectors_on_machines.py`, on the stream in `test_detectors_on_stream.py`.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conformance.promises import PROMISES, promised
from tests.conformance.trained import CHANNELS, ROWS, fit, trained
from tests.helpers.machines import make_series, normal_rows, windows_of
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.bundle.graph import GraphOutput
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.export_check import (
    RELATIVE_TOLERANCE,
    differences,
    open_for_check,
    outputs_by_name,
    probe_windows,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def assert_same(found: GraphOutput, wanted: dict[str, np.ndarray], usual: dict[str, np.ndarray], where: str) -> None:
    worst = differences(found, wanted, usual)
    assert all(value <= RELATIVE_TOLERANCE for value in worst.values()), f"{where}: {worst}"


def test_exceptions_are_from_promises_of_the_battery() -> None:
    unknown = {name: set(spec.exceptions) - PROMISES for name, spec in DETECTORS.items()}
    assert {name: promises for name, promises in unknown.items() if promises} == {}


def test_graph_keeps_the_contract(name: str) -> None:
    detector = trained(name)
    graph, output = detector.graph(), detector.graph().run(probe_windows(detector.series.train, detector.fitted.window))
    assert (graph.window, graph.channels) == (detector.fitted.window, CHANNELS)
    assert output.score.shape == (8,)
    assert output.contribution.shape == (8, CHANNELS)
    assert (output.contribution >= 0).all()
    for values in outputs_by_name(output).values():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    opset = {entry.domain: entry.version for entry in onnx.load_model_from_string(detector.model).opset_import}
    assert opset[""] >= 17


def plain(value: object) -> bool:
    """True for what JSON holds."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return type(value) in (int, float, str, bool, type(None))


def test_describes_itself_in_plain_types(name: str) -> None:
    fitted = trained(name).fitted
    assert fitted.detector == name
    assert fitted.version >= 1
    assert 0 <= fitted.lag < fitted.window
    assert [key for key, value in fitted.parameters.items() if not plain(value)] == []
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
    usual = {key: np.concatenate([one[key] for one in alone]) for key in alone[0]}
    assert_same(found, wanted, usual, f"batch of {size}")


def test_torchscript_twin_agrees_with_the_graph(name: str) -> None:
    torch = pytest.importorskip("torch")
    detector = trained(name)
    twin = detector.fitted.torchscript_bytes()
    assert twin is not None
    module = torch.jit.load(BytesIO(twin))
    graph = open_for_check(detector.model)
    windows = probe_windows(detector.series.train, detector.fitted.window)
    usual = outputs_by_name(graph.run(windows))
    for size in (1, 2, 3, 512):
        batch = np.resize(windows, (size, *windows.shape[1:]))
        with torch.no_grad():
            outputs = module(torch.from_numpy(batch))
        values = outputs.values() if isinstance(outputs, dict) else outputs
        wanted = {key: value.numpy() for key, value in zip(graph.output_names, values, strict=True)}
        assert_same(graph.run(batch), wanted, usual, f"batch of {size}")


def test_same_seed_gives_the_same_detector(name: str) -> None:
    first = trained(name)
    again = fit(name, DETECTORS[name].battery, first.series, exported=False)
    assert again.outcome() == first.outcome()
    assert again.fitted.parameters == first.fitted.parameters
    np.testing.assert_array_equal(again.scores.time, first.scores.time)


def test_another_seed_gives_another_detector_where_the_registry_says_so(one_pass: str) -> None:
    # a network's seed is that of its weights and batches, which the tests of the trainer look at
    first = trained(one_pass)
    spec = DETECTORS[one_pass]
    other = fit(one_pass, replace(spec.battery, seed=spec.battery.seed + 1), first.series)
    assert (other.outcome() != first.outcome()) == spec.seeded


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
    assert score[[16, 17, 19]].min() > score[:16].max()
    with promised(name, "disturbed windows score three times as much"):
        assert score[[16, 17, 19]].min() > 3 * score[:16].max()


def test_a_disturbed_channel_is_blamed(name: str) -> None:
    # Given a normal window
    detector = trained(name)
    window = windows_of(detector.series.train[300 : 300 + detector.fitted.window], detector.fitted.window)
    blamed = []
    for channel in range(CHANNELS):
        # When one channel leaves its range in the last rows
        broken = window.copy()
        broken[0, -6:, channel] += 4 * np.ptp(detector.series.train[:, channel])
        blamed.append(int(detector.graph().run(broken).contribution[0].argmax()))
    # Then it has the largest contribution; where channels explain each other, blame may fall on a neighbour now and then
    with promised(name, "the disturbed channel is blamed"):
        assert np.mean(np.array(blamed) == np.arange(CHANNELS)) >= 2 / 3, blamed


def test_a_missing_value_in_a_window_is_no_alarm(name: str) -> None:
    # Given a normal window, and a disturbed one
    detector = trained(name)
    graph = detector.graph()
    windows = probe_windows(detector.series.train, detector.fitted.window)
    normal, disturbed = windows[:1], windows[[4, 5, 7]]
    # When a value is missing, or all of the last row
    one, row = normal.copy(), normal.copy()
    one[0, -2, 4] = np.nan
    row[0, -1] = np.nan
    # Then there is a score like those of normal windows
    output = graph.run(np.concatenate([one, row]))
    assert all(np.isfinite(values).all() for values in outputs_by_name(output).values())
    assert output.score.max() < graph.run(disturbed).score.min()


def test_too_short_a_train_part_is_refused_in_one_line(name: str) -> None:
    series = make_series(normal_rows(40, 5))
    with pytest.raises(InputError) as error:
        train_detector(name, series, DETECTORS[name].battery)
    assert "40" in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no setting 'nonsense'"):
        train_detector(name, trained(name).series, replace(DETECTORS[name].battery, settings={"nonsense": "1"}))
