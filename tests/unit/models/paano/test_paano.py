"""PaAno: encoder, losses, memory and graph; no training here."""

from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.models.paano.config import PaanoConfig
from wheeltapper.schemas.errors import InputError

torch = pytest.importorskip("torch")

from wheeltapper.models.paano.graph import EVEN_BLAME, PaanoGraph  # noqa: E402
from wheeltapper.models.paano.loss import PaanoObjective, pretext, span, triplet  # noqa: E402
from wheeltapper.models.paano.memory import Memory, build_memory, chosen_members, segments, usual_differences  # noqa: E402
from wheeltapper.models.paano.network import PaanoNetwork, encoder_input, unit  # noqa: E402

CONFIG = PaanoConfig(window=16, width=8)


def patches(count: int, channels: int = 3, *, seed: int = 0) -> torch.Tensor:
    """[count, 16, C] smooth z-scores."""
    generator = np.random.default_rng(seed)
    time = np.arange(16)[None, :, None] / 5 + generator.uniform(0, 6, (count, 1, 1))
    return torch.as_tensor(
        np.sin(time + np.arange(channels)) + 0.05 * generator.normal(size=(count, 16, channels))
    ).float()


def remembered(network: PaanoNetwork, rows: torch.Tensor, most: int = 100) -> Memory:
    return build_memory(network, lambda: iter(rows.split(32)), rows[:, -1] * 2 + 1, most=most, seed=0)


def detector(normalise: str = "train", **settings: float) -> tuple[PaanoGraph, torch.Tensor]:
    """An untrained encoder with a memory of 60 patches, mean 1 and deviation 2 in all three channels."""
    torch.manual_seed(0)
    config = PaanoConfig(window=16, width=8, normalise=normalise, **settings)  # type: ignore[arg-type]
    network = PaanoNetwork(config, 3)
    rows = patches(60)
    memory = remembered(network, rows)
    usual = usual_differences(network, memory, [patches(40, seed=1)])
    return PaanoGraph(network, config, np.ones(3), np.full(3, 2.0), memory, usual), rows


def test_the_papers_encoder_has_a_third_of_a_million_parameters() -> None:
    network = PaanoNetwork(PaanoConfig(normalise="patch"), 38)
    assert 300_000 < sum(parameter.numel() for parameter in network.blocks.parameters()) < 350_000


def test_what_the_encoder_sees() -> None:
    rows = patches(2)
    # A shift is invisible to shapes, a level is compressed but keeps its sign and order
    np.testing.assert_allclose(encoder_input(rows + 5, "patch"), encoder_input(rows, "patch"), atol=1e-4)
    level = encoder_input(rows * 100, "train")
    assert level.abs().max() < 15
    assert (torch.sign(level) == torch.sign(rows.transpose(1, 2))).all()
    assert encoder_input(rows, "both").shape == (2, 6, 16)


def test_triplet_takes_the_farthest_of_the_batch() -> None:
    # Given three anchors with their positives beside them; the third is opposite to the first
    anchor = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    positive = anchor.clone()
    # Then distances to the farthest are 2, 1 and 2, all beyond a margin of 0.5; with one of 1.5 only the second falls short
    assert float(triplet(anchor, positive, 0.5)) == pytest.approx(0.0)
    assert float(triplet(anchor, positive, 1.5)) == pytest.approx((0 + 0.5 + 0) / 3)


def test_pretext_is_learnt_where_the_pair_tells() -> None:
    torch.manual_seed(0)
    anchor = torch.zeros(40, 2)
    follows = torch.nn.Linear(4, 1)
    # A layer that looks at the second half alone knows patches before (1) from others (0)
    with torch.no_grad():
        follows.weight.copy_(torch.tensor([[0.0, 0.0, 20.0, 0.0]]))
        follows.bias.fill_(-10.0)
        assert float(pretext(follows, anchor, torch.ones(40, 2))) < 0.01
        assert float(pretext(follows, anchor, torch.zeros(40, 2))) > 5


def test_pretext_fades_with_the_networks_own_count_of_steps() -> None:
    torch.manual_seed(0)
    network = PaanoNetwork(CONFIG, 3).train()
    objective = PaanoObjective(CONFIG, steps=20)  # fades over two
    rows = torch.randn(12, span(CONFIG), 3)
    with_pretext = [
        float(loss.detach()) > float(watched) + 1e-6 for loss, watched in (objective(network, rows) for _ in range(4))
    ]
    assert with_pretext == [True, True, False, False]
    assert int(network.steps) == 4
    # Watching does not count
    network.eval()
    objective(network, rows)
    assert int(network.steps) == 4


def test_memory_keeps_members_and_no_more_than_asked() -> None:
    pytest.importorskip("sklearn")
    embedding = unit(torch.randn(300, 4, generator=torch.Generator().manual_seed(1)))
    chosen = chosen_members(embedding, 20, seed=0)
    assert 10 <= len(chosen) <= 20
    assert (chosen.diff() > 0).all()
    np.testing.assert_array_equal(chosen_members(embedding, 300, seed=0), np.arange(300))


@pytest.mark.parametrize(
    ("window", "values", "pieces"), [(64, 10_000, 8), (96, 1_000_000, 4), (17, 100, 1), (20, 100, 5)]
)
def test_pieces_of_a_patch_divide_it_and_keep_the_bundle_small(window: int, values: int, pieces: int) -> None:
    assert segments(window, values) == pieces


@pytest.mark.parametrize("normalise", ["train", "patch", "both"])
def test_graph_scores_by_the_nearest_remembered_patches(normalise: str) -> None:
    # Given a detector and patches that it does not remember
    graph, _ = detector(normalise, input_weight=0.0)
    rows = patches(10, seed=5)
    with torch.no_grad():
        score, contribution, expected, embedding = graph(rows * 2 + 1)
        # Then the score is the mean distance to the three nearest, in units of what is usual
        halves = torch.cdist(embedding.double(), graph.bank.double()) ** 2 / 2  # 1 - cosine
        distance = torch.sort(halves, dim=1).values[:, :3].mean(dim=1)
    np.testing.assert_allclose(score, distance / graph.usual_distance, rtol=1e-3)
    np.testing.assert_allclose(contribution.sum(dim=1), score, rtol=1e-5)
    # And what was expected is the last row of a remembered patch, in raw units
    assert all(any(torch.equal(row, known) for known in graph.last) for row in expected)


def test_remembered_patch_scores_least_and_blames_nobody_in_particular() -> None:
    graph, rows = detector(neighbours=1)
    with torch.no_grad():
        score, contribution, _, _ = graph(rows[:5] * 2 + 1)
        other, _, _, _ = graph(patches(5, seed=9) * 2 + 1)
    assert float(score.max()) < 0.1 * float(other.min())
    np.testing.assert_allclose(contribution / score[:, None], 1 / 3, rtol=10 * EVEN_BLAME)


def test_value_far_out_of_range_scores_high_and_is_blamed() -> None:
    graph, _ = detector()
    rows = patches(8, seed=3)
    broken = rows.clone()
    broken[:, -4:, 1] += 30
    with torch.no_grad():
        usual, _, _, _ = graph(rows * 2 + 1)
        score, contribution, _, _ = graph(broken * 2 + 1)
    assert float(score.min()) > 3 * float(usual.max())
    assert (contribution.argmax(dim=1) == 1).all()


def test_missing_and_infinite_readings_leave_the_score_finite() -> None:
    graph, rows = detector()
    windows = rows[:2] * 2 + 1
    windows[0, :, 1] = torch.nan
    windows[1, -1, 2] = torch.inf
    with torch.no_grad():
        assert all(torch.isfinite(output).all() for output in graph(windows))


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"window": 7}, {"neighbours": 0}, {"margin": 0.0}, {"input_weight": -1.0}, {"pretext_share": 2.0}):
        with pytest.raises(InputError, match="paano"):
            PaanoConfig(**wrong)  # type: ignore[arg-type]
