"""The graph: which error is scored, what a short history changes, and that contributions sum to the score."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from tests.unit.models.vae_lstm.conftest import GraphOf
from wheeltapper.models.vae_lstm.graph import OUTPUTS, mean_by_channel
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.training.fitting.export_check import RELATIVE_TOLERANCE, warming_windows
from wheeltapper.training.fitting.export_torch import export_onnx_traced, prove_parity


def windows_for(graph: torch.nn.Module, count: int = 4, rows: int = 72) -> torch.Tensor:
    """[count, rows, C] raw units, a few deviations around the mean."""
    return torch.randn(count, rows, len(graph.mean)) * graph.scale + graph.mean  # type: ignore[arg-type,operator]


def test_score_is_the_weighted_error_of_what_the_lstm_predicts(graph_of: GraphOf) -> None:
    # given a graph, and its networks applied step by step
    graph = graph_of()
    window = windows_for(graph)
    z = graph.standardise(window)
    codes = torch.stack([graph.encoder(part)[0] for part in z.split(24, dim=1)], dim=1)
    predicted = graph.decoder(graph.predictor(codes[:, :2])[:, 1])
    squared = (z[:, 48:] - predicted) ** 2
    # when it scores: then later rows weigh more, the newest 1, the one before 1 - 2 / 25 of that, and so on
    weight = (1 - 2 / 25) ** torch.arange(24).flip(0).float()
    wanted = (squared.mean(dim=2) * weight).sum(dim=1) / weight.sum()
    score, contribution, expected, embedding = graph(window)
    torch.testing.assert_close(score, wanted)
    torch.testing.assert_close(contribution.sum(dim=1), score)
    torch.testing.assert_close(expected, graph.to_raw(predicted[:, -1]))
    torch.testing.assert_close(embedding, codes[:, -1])


@pytest.mark.parametrize("score", ["recent", "window", "sequence"])
def test_bug_7_score_does_not_grow_with_the_sequence_or_the_channels(graph_of: GraphOf, score: str) -> None:
    # given graphs whose networks predict nothing at all, so that the error of noise is its variance
    for l_seq, channels in ((2, 1), (6, 1), (3, 20)):
        graph = graph_of(channels, l_seq=l_seq, score=score)
        with torch.no_grad():
            graph.decoder.last.weight.zero_()
        # when noise of variance 1 is scored: then the mean is 1 for any length and width
        mean = graph(windows_for(graph, 300, 24 * l_seq))[0].mean().item()
        assert mean == pytest.approx(1.0, abs=0.1)


def test_sequence_score_takes_all_short_windows_but_the_first(graph_of: GraphOf) -> None:
    graph = graph_of(score="sequence")
    window = windows_for(graph, 1)
    base = graph(window)[0]
    with torch.no_grad():
        graph.decoder.last.weight.zero_()  # the prediction no longer depends on what is read
    z = graph.standardise(window)
    torch.testing.assert_close(graph(window)[0], (z[:, 24:] ** 2).mean(dim=(1, 2)))
    assert not torch.allclose(base, graph(window)[0])


def test_bug_8_before_the_history_is_full_the_vae_scores_alone(graph_of: GraphOf) -> None:
    # given windows of which ever more rows have not been yet, down to the last short window
    graph = graph_of()
    whole = windows_for(graph, 1)
    z = graph.standardise(whole)[:, 48:]
    reconstruction = graph.decoder(graph.encoder(z)[0])
    for blank in (1, 23, 24, 30, 48):
        window = whole.clone()
        window[:, :blank] = torch.nan
        # when they are scored: then by the VAE's reconstruction of the last short window, whatever came before
        score, contribution, expected, _ = graph(window)
        torch.testing.assert_close(
            contribution, mean_by_channel((z - reconstruction) ** 2, graph.weights.expand(1, -1, 3))
        )
        torch.testing.assert_close(contribution.sum(dim=1), score)
        torch.testing.assert_close(expected, graph.to_raw(reconstruction[:, -1]))
    # and with all rows there, or a row that misses one channel, by the prediction
    full = graph(whole)[0]
    one_missing = whole.clone()
    one_missing[:, 5, 1] = torch.nan
    assert not torch.allclose(full, score)
    torch.testing.assert_close(graph(one_missing)[0], full, rtol=0.2, atol=0.0)


def test_both_scores_are_put_on_one_scale(graph_of: GraphOf) -> None:
    graph = graph_of()
    windows = windows_for(graph, 400)
    graph.set_scales([windows[:200], windows[200:]])
    blank = windows.clone()
    blank[:, :48] = torch.nan
    for score in (graph(windows)[0], graph(blank)[0]):
        assert (score > 1).float().mean().item() == pytest.approx(0.01, abs=0.003)


def test_a_missing_value_takes_no_part(graph_of: GraphOf) -> None:
    graph = graph_of()
    window = windows_for(graph, 2)
    window[:, -10:, 1] = torch.nan
    score, contribution, _, _ = graph(window)
    assert torch.isfinite(score).all()
    assert (contribution > 0).all()
    window[:, -24:, 1] = torch.nan
    assert (graph(window)[1][:, 1] == 0).all()
    window[:, -24:] = torch.nan
    assert (graph(window)[0] == 0).all()


@pytest.mark.parametrize("settings", [{"l_win": 24}, {"l_win": 48}, {"l_win": 144, "hidden": 256, "l_seq": 2}])
def test_exported_graph_agrees_with_torch(graph_of: GraphOf, settings: dict[str, int]) -> None:
    # given a graph, and windows of which some are not full yet
    graph = graph_of(**settings)
    rows = graph.l_win * graph.l_seq
    windows = windows_for(graph, 6, rows).numpy()
    windows = np.concatenate([windows, warming_windows(windows, graph.l_win)])
    # when it is exported: then it agrees at batches of 1, 2, 3 and the largest, with an LSTM operator a layer in it
    model = export_onnx_traced(graph, rows, 3, OUTPUTS)
    operators = [node.op_type for node in onnx.load_model_from_string(model).graph.node]
    assert operators.count("LSTM") == 2
    worst = prove_parity(graph, model, windows)
    assert set(worst) == set(OUTPUTS)
    assert max(worst.values()) <= RELATIVE_TOLERANCE
    assert Graph(model, device="cpu").run(windows[:1]).embedding is not None
