"""The autoencoder baseline: layers, vectors, distances, graph; parity with torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from tests.helpers.sounds import RATE, make_sounds  # noqa: E402
from wheeltapper.models.dcase_ae.config import DcaseAeConfig  # noqa: E402
from wheeltapper.models.dcase_ae.graph import DcaseAeGraph  # noqa: E402
from wheeltapper.models.dcase_ae.network import Autoencoder, vectors_of, whitening_of  # noqa: E402
from wheeltapper.schemas.errors import InputError  # noqa: E402
from wheeltapper.training.datasets.sound.series import SoundSeries  # noqa: E402
from wheeltapper.training.detectors.dcase_ae.train import fit_dcase_ae  # noqa: E402
from wheeltapper.training.fitting.calibration import CalibrationScores  # noqa: E402
from wheeltapper.training.fitting.export_check import check_twin, open_for_check  # noqa: E402
from wheeltapper.training.fitting.torch_sound import TorchSound  # noqa: E402
from wheeltapper.training.fitting.trainer_options import TrainerOptions  # noqa: E402

TINY = DcaseAeConfig(mels=16, width=16, bottleneck=4, folds=2, time_columns=4)
TRAINER = TrainerOptions(epochs=4, batch_size=32, learning_rate=1e-2, patience=100, progress=False, device="cpu")


def fit(series: SoundSeries, **settings: Any) -> tuple[TorchSound, CalibrationScores]:
    return fit_dcase_ae(series, replace(TINY, **settings), TRAINER, RATE, RATE)


def test_layers_are_the_baselines() -> None:
    network = Autoencoder(640, 128, 8)
    widths = [layer.out_features for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    # weights, biases and two numbers a normalised unit
    norms = 2 * (8 * 128 + 8)
    dense = 640 * 128 + 3 * 128 * 128 + 128 * 8 + 8 * 128 + 3 * 128 * 128 + 128 * 640 + sum(widths)
    assert sum(parameter.numel() for parameter in network.parameters()) == dense + norms


def test_vectors_are_neighbouring_frames_side_by_side() -> None:
    frames = torch.arange(2 * 7 * 3, dtype=torch.float32).reshape(2, 7, 3)
    found = vectors_of(frames, 5)
    assert found.shape == (2, 3, 15)
    assert torch.equal(found[1, 2], frames[1, 2:7].flatten())


@pytest.mark.parametrize("kind", ["empirical", "ledoit-wolf"])
def test_distance_is_mahalanobis_per_dimension(kind: str) -> None:
    residual = np.random.default_rng(0).normal(size=(4000, 3)) @ np.array([[2.0, 0, 0], [1, 0.5, 0], [0, 0.2, 0.1]])
    whitening = whitening_of(residual, kind)
    precision = np.linalg.inv(residual.T @ residual / len(residual))
    wanted = np.einsum("np,pq,nq->n", residual, precision, residual) / 3
    # Shrinking changes the smallest of these variances by a seventh.
    rtol = 1e-6 if kind == "empirical" else 0.15
    np.testing.assert_allclose(np.square(residual @ whitening).sum(axis=1), wanted, rtol=rtol)
    assert np.square(residual @ whitening).sum(axis=1).mean() == pytest.approx(1.0, abs=0.05)


def test_score_is_the_mean_squared_error_and_blame_its_place() -> None:
    # given a machine and a window with a loud tone of its own in the last quarter
    series = make_sounds(8)
    fitted, scores = fit(series, score="mse", cross_fit="covariance")
    graph = fitted.graph
    assert isinstance(graph, DcaseAeGraph)
    window = series.train[0].samples[:RATE, 0].copy()
    time = np.arange(RATE // 4) / RATE
    window[-RATE // 4 :] += 0.3 * np.sin(2 * np.pi * 700 * time).astype(np.float32)
    both = torch.from_numpy(np.stack([series.train[0].samples[:RATE, 0], window]))
    # when both are scored
    with torch.no_grad():
        score, contribution, code = graph(both)
        rows = graph.rows(graph.levels(both))
        vectors = vectors_of(rows, 5)
        wanted = (vectors - graph.network(vectors.flatten(0, 1)).reshape(vectors.shape)).square().mean(dim=(1, 2))
    # then the score is the error, the strange window has more, and the tone's time and band are blamed
    torch.testing.assert_close(score, wanted, rtol=1e-4, atol=1e-6)
    assert score[1] > 2 * score[0]
    assert contribution.shape == (2, 16, 4)
    band, column = divmod(int(contribution[1].argmax()), 4)
    assert column == 3
    _, low, high = fitted.bands[band]
    assert low - 150 < 700 < high + 150
    assert code.shape == (2, 4)
    assert len(scores.score) == 8
    assert (np.diff(scores.time) > 0).all()


def test_the_least_distance_of_the_domains_counts() -> None:
    # given clips of two domains
    series = make_sounds(8)
    domains = ["source"] * 4 + ["target"] * 4
    series = replace(series, train=[replace(clip, domain=d) for clip, d in zip(series.train, domains, strict=True)])  # type: ignore[arg-type]
    fitted, _ = fit(series, cross_fit="covariance")
    graph = fitted.graph
    assert isinstance(graph, DcaseAeGraph)
    assert fitted.parameters["domains"] == ["source", "target"]
    # then each has its covariance, and a window is judged by the one that it fits better
    assert graph.whitenings.shape[0] == 2
    window = torch.from_numpy(series.train[0].samples[None, :RATE, 0])
    with torch.no_grad():
        residual, _ = graph.residual(graph.rows(graph.levels(window)))
        each = [(residual[0] @ graph.whitenings[d, 0]).square().sum(dim=1).mean() for d in (0, 1)]
        torch.testing.assert_close(graph(window)[0][0], torch.minimum(*each), rtol=1e-4, atol=1e-6)


def test_held_out_scores_come_from_networks_that_did_not_see_the_block() -> None:
    series = make_sounds(6)
    _, seen = fit(series, score="mse", cross_fit="covariance")
    _, unseen = fit(series, score="mse", cross_fit="network")
    assert not np.allclose(seen.score, unseen.score)
    assert np.isfinite(unseen.score).all()


def test_windows_that_are_too_short_or_too_few_are_refused() -> None:
    with pytest.raises(InputError, match="needs at least 10"):
        fit_dcase_ae(make_sounds(6), TINY, TRAINER, RATE // 5, RATE // 5)
    with pytest.raises(InputError, match="dcase-ae needs at least 4"):
        fit(make_sounds(2))


@pytest.mark.export
@pytest.mark.parametrize(("score", "channels"), [("mse", 1), ("mahalanobis", 2)])
def test_onnx_and_twin_agree_with_torch(score: str, channels: int) -> None:
    fitted, _ = fit(make_sounds(4, channels=channels), score=score, cross_fit="covariance")
    model = fitted.onnx_bytes()
    assert fitted.parity is not None
    assert max(fitted.parity.values()) < 1e-4
    assert len(fitted.bands) == 16 * channels
    graph = open_for_check(model, largest=8)
    check_twin(fitted.torchscript_bytes() or b"", graph, fitted.probes[0])
