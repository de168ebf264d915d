"""The exported module under the graph contract: its four outputs, its exports, its manners with odd input."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.embed import choose_pairs
from wheeltapper.models.alora.graph import OUTPUTS, AloraGraph, spectra_of
from wheeltapper.models.alora.localization import blame_matrix, contribution_matrix
from wheeltapper.models.alora.model import AloraNetwork
from wheeltapper.models.alora.rank import choose_threshold
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.training.fitting.export_check import ExportError, check_twin, open_for_check
from wheeltapper.training.fitting.export_torch import export_onnx, export_torchscript, prove_parity

MEAN = np.array([40, 40, 40, 40, 40, 40, 2.5], dtype=np.float32)
SCALE = np.array([3, 3, 3, 3, 3, 3, 1], dtype=np.float32)
CONFIG = AloraConfig(window=8, width=12, layers=2, heads=3)


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    """[100, 8, 7]: windows of two shared waves, every third with a fault; the last channel is constant."""
    random = np.random.default_rng(7)
    time = np.arange(408)
    sources = np.stack([np.sin(time / 9), np.cos(time / 23)], axis=1)
    values = 40 + 3 * (sources @ random.standard_normal((2, 6)) + 0.1 * random.standard_normal((408, 6)))
    rows = np.concatenate([values, np.full((408, 1), 2.5)], axis=1).astype(np.float32)
    cut = np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows, 8, axis=0), -1, 1)[::4][:100].copy()
    cut[::3, -3:, 1] += 30
    return cut


def _graph(windows: np.ndarray, config: AloraConfig = CONFIG) -> AloraGraph:
    torch.manual_seed(0)
    network = AloraNetwork(config, 7, choose_pairs(windows.reshape(-1, 7), config.width)).eval()
    threshold = choose_threshold(spectra_of(network, [torch.as_tensor((windows[1::3] - MEAN) / SCALE)]))
    return AloraGraph(network, config, MEAN, SCALE, threshold.value)


@dataclass(frozen=True)
class Exported:
    graph: AloraGraph
    model: bytes
    script: bytes


@pytest.fixture(scope="module")
def exported(windows: np.ndarray) -> Exported:
    """Of one layer: another one adds to the time of an export what it took, and to what is tested only more of the same."""
    graph = _graph(windows, replace(CONFIG, layers=1))
    return Exported(graph, export_onnx(graph, 8, 7, OUTPUTS), export_torchscript(graph, 8, 7))


def _run(graph: AloraGraph, windows: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [part.numpy() for part in graph(torch.as_tensor(windows))]


def test_outputs_are_what_the_contract_and_the_formulas_say(windows: np.ndarray) -> None:
    # given
    graph = _graph(windows)
    standardised = (windows - MEAN) / SCALE
    with torch.no_grad():
        output = graph.network(torch.as_tensor(standardised))
    reconstruction = output.reconstruction[:, -1].numpy()
    squared = (standardised[:, -1] - reconstruction) ** 2
    rank = (np.linalg.svd(output.attention[-1].double().numpy(), compute_uv=False) > float(graph.levels)).sum(axis=1)
    blame = blame_matrix(contribution_matrix(graph.network), "paper", 2)
    # when
    score, contribution, expected, embedding = _run(graph, windows)
    # then
    np.testing.assert_allclose(score, squared.mean(axis=1) * rank, rtol=1e-5)
    assert rank.max() > 1
    np.testing.assert_allclose(contribution, squared @ blame, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(expected, reconstruction * SCALE + MEAN, rtol=1e-5)
    assert embedding.shape == (100, 12 + 7)
    assert all(part.dtype == np.float32 for part in (score, contribution, expected, embedding))


def test_ablations_multiply_to_the_product(windows: np.ndarray) -> None:
    scores = {
        kind: _run(_graph(windows, replace(CONFIG, score=kind)), windows)[0] for kind in ("product", "error", "rank")
    }
    np.testing.assert_allclose(scores["product"], scores["error"] * scores["rank"], rtol=1e-6)
    assert set(scores["rank"].tolist()) <= set(range(1, 9))


@pytest.mark.export
def test_exports_agree_with_torch_at_every_batch_size(exported: Exported, windows: np.ndarray) -> None:
    parity = prove_parity(exported.graph, exported.model, windows)
    twin = check_twin(exported.script, open_for_check(exported.model), windows)
    assert list(parity) == list(twin) == list(OUTPUTS)
    assert max(*parity.values(), *twin.values()) <= 1e-4
    assert max(parity.values()) > 0, "two different programs that agree to the last bit were not both run"


@pytest.mark.export
@pytest.mark.nightly
def test_exports_agree_with_other_settings_too(windows: np.ndarray) -> None:
    graph = _graph(windows, replace(CONFIG, rank="smooth", padding="causal", localization="backward", layers=1))
    model = export_onnx(graph, 8, 7, OUTPUTS)
    prove_parity(graph, model, windows)
    check_twin(export_torchscript(graph, 8, 7), open_for_check(model), windows)


@pytest.mark.export
def test_the_onnx_file_keeps_the_contract(exported: Exported, windows: np.ndarray) -> None:
    # when the stream opens it
    opened = Graph(exported.model, device="cpu", batch_sizes=(1, 4, 16))
    # then
    assert (opened.window, opened.channels, opened.output_names) == (8, 7, OUTPUTS)
    score, contribution, _, _ = _run(exported.graph, windows)
    output = opened.run(windows)
    np.testing.assert_allclose(output.score, score, rtol=1e-4)
    np.testing.assert_allclose(output.contribution, contribution, rtol=1e-3, atol=1e-5)


@pytest.mark.export
def test_the_files_say_nothing_of_the_machine_they_were_made_on(exported: Exported) -> None:
    model = onnx.load_from_string(exported.model)
    assert not [node.name for node in model.graph.node if node.metadata_props or node.doc_string]
    assert b"site-packages" not in exported.model
    assert b".py" not in exported.model
    assert b"site-packages" not in exported.script
    assert b"test_graph" not in exported.script


@pytest.mark.export
@pytest.mark.nightly
def test_the_export_is_quiet_and_repeats_to_the_byte(exported: Exported, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert export_onnx(exported.graph, 8, 7, OUTPUTS) == exported.model
    export_torchscript(exported.graph, 8, 7)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.export
def test_torchscript_takes_any_batch(exported: Exported, windows: np.ndarray) -> None:
    script = torch.jit.load(io.BytesIO(exported.script))
    for size in (1, 5):
        shapes = [tuple(output.shape) for output in script(torch.as_tensor(windows[:size]))]
        assert shapes == [(size,), (size, 7), (size, 7), (size, 19)]


@pytest.mark.export
def test_parity_proof_catches_another_rank(exported: Exported, windows: np.ndarray) -> None:
    # given the same network with a threshold that gives some windows another rank
    graph = exported.graph
    other = AloraGraph(graph.network, CONFIG, MEAN, SCALE, float(graph.levels) * 0.7)
    # when / then
    with pytest.raises(ExportError, match="'score' of the ONNX graph differs"):
        prove_parity(other, exported.model, windows)


def test_missing_values_count_as_the_mean_and_take_no_blame(windows: np.ndarray) -> None:
    # given windows whose channel 2 is missing, and the same with its mean instead
    graph = _graph(windows, replace(CONFIG, localization="error", score="error"))
    holes = windows[:10].copy()
    holes[:, :, 2] = np.nan
    # when
    score, contribution, expected, _ = _run(graph, holes)
    _, contribution_of_mean, expected_of_mean, _ = _run(graph, np.where(np.isnan(holes), MEAN, holes))
    # then the network sees the same, but the error is the mean over the measured channels alone
    np.testing.assert_array_equal(expected, expected_of_mean)
    assert (contribution[:, 2] == 0).all()
    assert (contribution_of_mean[:, 2] > 0).all()
    np.testing.assert_allclose(score, contribution.sum(axis=1) / 6, rtol=1e-5)


@pytest.mark.parametrize("value", [3e38, -3e38, 0.0, float("nan")])
@pytest.mark.export
def test_extreme_rows_give_finite_outputs(exported: Exported, windows: np.ndarray, value: float) -> None:
    # given
    session = ort.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    odd = windows[:4].copy()
    odd[1:, 4:] = value
    # when / then
    for outputs in (session.run(None, {"window": odd}), _run(exported.graph, odd)):
        assert all(np.isfinite(part).all() for part in outputs)
        assert (outputs[0] >= 0).all()
        assert (outputs[1] >= 0).all()


def test_the_embedding_sees_a_level_move_that_layer_norm_over_time_hides(windows: np.ndarray) -> None:
    # given normal windows, and the same two standard deviations higher
    graph = _graph(windows)
    normal = windows[1::3]
    # when
    change = np.abs(_run(graph, normal + np.float32(6))[3] - _run(graph, normal)[3])
    # then the encoder's half hardly notices, the level's half does
    assert np.median(change[:, :12]) < 0.1
    np.testing.assert_allclose(change[:, 12:18], 2, rtol=1e-3)
