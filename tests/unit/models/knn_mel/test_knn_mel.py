"""Log-mel nearest neighbour: graph and twin against numpy, and domains."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.knn_mel.fit import KnnMel, Spectra, fit_knn_mel
from wheeltapper.models.knn_mel.settings import KnnMelSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError

RATE = SAMPLES = 8000
SETTINGS = KnnMelSettings(n_fft=512, frame_hop=256, bands=24)


def clip(seed: int, level: float = 0.02, spread: float = 0.02) -> np.ndarray:
    """[S] float32: noise whose colour differs by `spread` between clips."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, level, SAMPLES)
    tilt = spread * rng.normal()
    return np.convolve(noise, [1.0, tilt], mode="same").astype(np.float32)


def fit(windows: list[np.ndarray], domain: list[str], settings: KnnMelSettings = SETTINGS) -> KnnMel:
    frontend = settings.frontend(RATE)
    features = np.array([frontend.levels(without_offset(window, 1)).mean(axis=1).ravel() for window in windows])
    return fit_knn_mel(Spectra(features, np.arange(len(windows)), domain), settings, frontend, window=SAMPLES)


def test_graph_and_twin_are_numpy() -> None:
    # given a fit and windows, some strange
    detector = fit([clip(seed) for seed in range(12)], [""] * 12)
    windows = np.stack([clip(20), clip(21) * 3, np.zeros(SAMPLES, np.float32), clip(0)])
    # when graph and twin score them
    found = Graph(detector.onnx_bytes(), device="cpu").run(windows)
    raw = detector.torchscript_bytes()
    assert raw is not None
    score = torch.jit.load(io.BytesIO(raw))(torch.from_numpy(windows), None)[0].numpy()
    # then they are numpy; a clip of training has the least distance there is
    expected = [detector.score(window) for window in windows]
    np.testing.assert_allclose(found.score[:3], expected[:3], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(score[:3], expected[:3], rtol=2e-5, atol=2e-5)
    assert found.score[3] < min(found.score[:3])
    assert (found.contribution >= 0).all()


def test_a_domain_is_measured_by_its_own_distances() -> None:
    # given a source whose clips are alike, and a louder target whose few clips differ
    source, target = [clip(seed) for seed in range(20)], [clip(seed, 0.2, 0.6) for seed in range(50, 60)]
    names = ["source"] * 20 + ["target"] * 10
    fresh = np.stack([*(clip(seed) for seed in range(100, 130)), *(clip(seed, 0.2, 0.6) for seed in range(200, 230))])
    gaps = {}
    for per_domain in (True, False):
        settings = KnnMelSettings(n_fft=512, frame_hop=256, bands=24, per_domain=per_domain)
        graph = Graph(fit([*source, *target], names, settings).onnx_bytes(), device="cpu")
        # when new normal clips of both are scored
        score = graph.run(fresh).score * fit([*source, *target], names, settings).spread
        gaps[per_domain] = np.median(score[30:]) - np.median(score[:30])
    # then the target's are not much stranger than the source's where domains count, and are where they do not
    assert abs(gaps[True]) < 0.5 * gaps[False]


def test_a_domain_of_two_clips_shares_the_scale_and_says_so() -> None:
    detector = fit([clip(seed) for seed in range(8)], ["source"] * 6 + ["target"] * 2)
    assert any("target" in warning for warning in detector.warnings)
    np.testing.assert_allclose(detector.around.radius[6:], detector.around.radius[6])


def test_more_windows_than_references_become_centres() -> None:
    settings = KnnMelSettings(n_fft=512, frame_hop=256, bands=24, references=8)
    detector = fit([clip(seed) for seed in range(30)], ["source"] * 20 + ["target"] * 10, settings)
    assert len(detector.around.references) <= 8


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(InputError, match="1 windows of normal sound"):
        fit([clip(0)], [""])
    with pytest.raises(InputError, match="not numbers"):
        fit([clip(0), clip(1), np.full(SAMPLES, np.nan, np.float32)], ["", "", ""])
