"""The battery of `test_detectors.py` on machines that are out of the ordinary."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.promises import promised
from tests.conformance.trained import CHANNELS, Trained, is_network, trained
from tests.helpers.machines import normal_rows, windows_of
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.export_check import probe_windows
from wheeltapper.training.fitting.options import TrainOptions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_constant_channel_is_silent_until_it_moves(name: str) -> None:
    detector = trained(name, "rough")
    window = windows_of(detector.series.train[300 : 300 + detector.fitted.window], detector.fitted.window)
    moved = window.copy()
    moved[0, -4:, -1] += 5.0
    before, after = detector.graph().run(window), detector.graph().run(moved)
    assert np.isfinite(before.score).all()
    # It scores above every normal window, and is blamed.
    normal = windows_of(detector.series.train[300:800], detector.fitted.window, step=3)
    assert after.score[0] > detector.graph().run(normal).score.max()
    with promised(name, "a constant channel that moves is blamed"):
        assert after.contribution[0].argmax() == CHANNELS - 1
    with promised(name, "a constant channel that moves triples the score"):
        assert after.score[0] > 3 * before.score[0]


def test_missing_training_values_are_no_obstacle(name: str) -> None:
    detector = trained(name, "rough")
    assert np.isfinite(detector.series.train).mean() < 1
    assert np.isfinite(detector.scores.score).all()
    clean = normal_rows(300, CHANNELS, seed=CHANNELS)
    assert np.isfinite(detector.graph().run(windows_of(clean, detector.fitted.window)).score).all()


def test_a_single_channel(name: str) -> None:
    assert_disturbed_windows_stand_out(trained(name, "1 channel"), 1)


@pytest.mark.parametrize("channels", [2, pytest.param(5, marks=pytest.mark.nightly), 6])
def test_few_channels(one_pass: str, channels: int) -> None:
    # some of these choose groups of channels, which is no matter of course where there are so few
    assert_disturbed_windows_stand_out(trained(one_pass, f"{channels} channels"), channels)


def assert_disturbed_windows_stand_out(detector: Trained, channels: int) -> None:
    output = detector.graph().run(probe_windows(detector.series.train, detector.fitted.window))
    assert output.contribution.shape == (8, channels)
    assert output.score[[4, 5, 7]].min() > output.score[:4].max()


@pytest.mark.parametrize("channels", [120, pytest.param(500, marks=pytest.mark.nightly)])
def test_many_channels(one_pass: str, channels: int, tmp_path: Path) -> None:
    assert_bundle_of_moderate_size(trained(one_pass, f"{channels} channels"), channels, tmp_path)


@pytest.mark.nightly
def test_networks_of_many_channels_are_exported(network: str, tmp_path: Path) -> None:
    assert_bundle_of_moderate_size(trained(network, "500 channels"), 500, tmp_path)


def test_networks_of_many_channels_score(network: str) -> None:
    # an export takes ten seconds: at night; and that there is a score does not take a training to its end
    detector = trained(network, "120 channels", given_no_time(DETECTORS[network].battery))
    output = detector.graph().run(windows_of(detector.series.train[:200], detector.fitted.window, step=9))
    assert output.contribution.shape[1] == 120
    assert np.isfinite(output.score).all()
    assert np.isfinite(detector.scores.score).all()
    assert sum(map(len, detector.outcome().values())) < 60e6


def assert_bundle_of_moderate_size(detector: Trained, channels: int, tmp_path: Path) -> None:
    written = write_bundle(detector.fitted, detector.series, tmp_path / "b", scores=detector.scores, torchscript=False)
    assert len(written.manifest.channels) == channels
    assert sum(map(len, written.files.values())) < 60e6


def published(name: str) -> Trained:
    """Fitted to values as they were published, and given no time where it is trained step by step."""
    battery = DETECTORS[name].battery
    options = replace(battery, settings={**battery.settings, "scale": "given"})
    return trained(name, "published", given_no_time(options) if is_network(name) else options)


def given_no_time(options: TrainOptions) -> TrainOptions:
    """Epochs for days, and a twentieth of a second."""
    return replace(options, epochs=100_000, budget_s=0.05)


def test_values_are_taken_as_given_where_asked_for(name: str) -> None:
    detector = published(name)
    assert detector.fitted.parameters["scale"] == "given"
    assert np.isfinite(detector.scores.score).all()


def test_a_budget_ends_the_training(network: str) -> None:
    # Given epochs for days, when a twentieth of a second is all there is: then it ends, and says so
    started = time.process_time()
    parameters = published(network).fitted.parameters
    assert time.process_time() - started < 120
    assert parameters["cut_by_budget"] is True
