"""Training that goes on from a bundle's weights: what is loaded, what is refused, and what alignment does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wheeltapper.training.fitting.alignment import aligner_for
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.trainer import TrainingHistory, train_network
from wheeltapper.training.fitting.trainer_options import TrainerOptions
from wheeltapper.training.fitting.warm_start import OtherWeightsError, WarmStart, alignment_named, weights_of

WINDOW, CHANNELS, KNOWN = 8, 4, 400
OPTIONS = TrainerOptions(epochs=3, batch_size=32, learning_rate=1e-2, seed=1, device="cpu", progress=False)


class Autoencoder(nn.Module):
    """Small enough for milliseconds, with an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(WINDOW * CHANNELS, 6)
        self.decoder = nn.Linear(6, WINDOW * CHANNELS)

    def embed(self, rows: Tensor) -> Tensor:
        return torch.tanh(self.encoder(rows.flatten(1)))

    def forward(self, rows: Tensor) -> Tensor:
        return self.decoder(self.embed(rows)).reshape(rows.shape)  # type: ignore[no-any-return]


def objective(network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    loss = torch.mean((network(rows) - rows) ** 2)
    return loss, loss.detach()


def rows_of_two_regimes() -> np.ndarray:
    """[800, C]: after row `KNOWN` the channels' levels differ."""
    random = np.random.default_rng(4)
    mixing = random.normal(size=(2, CHANNELS))
    swings = np.stack([np.sin(np.arange(800) / 5), np.cos(np.arange(800) / 9)], axis=1)
    rows = swings @ mixing + 0.1 * random.standard_normal((800, CHANNELS))
    rows[KNOWN:] += np.array([1.5, -1.0, 0.0, 0.5])
    return rows.astype(np.float32)


ROWS = rows_of_two_regimes()
ENDS = np.concatenate([np.arange(WINDOW - 1, KNOWN), np.arange(KNOWN + WINDOW - 1, 700)])


def train(network: nn.Module, options: TrainerOptions = OPTIONS) -> TrainingHistory:
    torch.manual_seed(3)
    training = WindowSource(ROWS, ENDS, WINDOW)
    validation = WindowSource(ROWS, np.arange(700 + WINDOW, 800), WINDOW)
    return train_network(network, objective, training, validation, options, part="network")


@pytest.fixture(scope="module")
def weights() -> Mapping[str, np.ndarray]:
    torch.manual_seed(0)
    network = Autoencoder()
    train(network, replace(OPTIONS, epochs=15, learning_rate_decay=0.9))
    return weights_of({"network": network})


def test_training_goes_on_where_it_ended(weights: Mapping[str, np.ndarray]) -> None:
    # Given a network that has learned, and a new one
    torch.manual_seed(9)
    anew, warm = Autoencoder(), Autoencoder()
    # When both are trained for an epoch, one from the weights
    short = replace(OPTIONS, epochs=1)
    fresh, going_on = train(anew, short), train(warm, replace(short, warm_start=WarmStart(weights)))
    # Then that one is far ahead
    assert going_on.validation[0] < 0.7 * fresh.validation[0]


def test_weights_stay_where_no_epoch_is_better(weights: Mapping[str, np.ndarray]) -> None:
    # Given a learning rate that ruins everything
    network = Autoencoder()
    history = train(network, replace(OPTIONS, learning_rate=3.0, warm_start=WarmStart(weights)))
    # Then the network is what it was
    assert history.best_epoch == 0
    for name, value in weights_of({"network": network}).items():
        np.testing.assert_array_equal(value, weights[name])


def test_it_writes_no_checkpoints(weights: Mapping[str, np.ndarray], tmp_path: Path) -> None:
    train(Autoencoder(), replace(OPTIONS, checkpoint_folder=tmp_path / "kept", warm_start=WarmStart(weights)))
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network/encoder.bias": None}, "encoder.bias is in one of them only; train the bundle again"),
        ({"network/encoder.bias": np.zeros(7, np.float32)}, r"encoder.bias has shape \(7,\), expected \(6,\)"),
        ({"network/more": np.zeros(2, np.float32)}, "more is in one of them only"),
    ],
)
def test_weights_of_another_network_are_refused(
    weights: Mapping[str, np.ndarray], change: dict[str, np.ndarray | None], message: str
) -> None:
    changed = {name: value for name, value in {**weights, **change}.items() if value is not None}
    with pytest.raises(OtherWeightsError, match=message):
        WarmStart(changed).load("network", Autoencoder())
    with pytest.raises(OtherWeightsError, match="hold no network/pairs"):
        WarmStart(weights).array("network", "pairs")


def gap_of(network: Autoencoder) -> float:
    """Distance of the mean embeddings of both regimes, in deviations of the first."""
    source = WindowSource(ROWS, np.arange(WINDOW - 1, KNOWN), WINDOW)
    target = WindowSource(ROWS, np.arange(KNOWN + WINDOW - 1, 800), WINDOW)
    with torch.no_grad():
        known, recent = (network.embed(torch.cat(list(each.batches(512)))) for each in (source, target))
    return float((((known.mean(0) - recent.mean(0)) / known.std(0)) ** 2).mean())


@pytest.mark.parametrize(("method", "epochs"), [("coral", 8), ("mmd", 8), ("dann", 20)])
def test_alignment_brings_the_embeddings_of_both_regimes_together(
    weights: Mapping[str, np.ndarray], method: str, epochs: int
) -> None:
    # Given the same weights and data, with alignment and without
    longer = replace(OPTIONS, epochs=epochs, learning_rate_decay=1.0, patience=epochs)
    plain, aligned = Autoencoder(), Autoencoder()
    train(plain, replace(longer, warm_start=WarmStart(weights, KNOWN)))
    train(aligned, replace(longer, warm_start=WarmStart(weights, KNOWN, alignment_named(method))))
    # Then the aligned network tells the regimes apart less
    assert gap_of(aligned) < 0.9 * gap_of(plain)


def test_there_is_no_alignment_without_two_sides_or_an_embedding(weights: Mapping[str, np.ndarray]) -> None:
    windows, device = WindowSource(ROWS, ENDS, WINDOW), torch.device("cpu")
    assert aligner_for(Autoencoder(), windows, WarmStart(weights, KNOWN, "coral"), device) is not None
    assert aligner_for(Autoencoder(), windows, WarmStart(weights, 0, "coral"), device) is None
    assert aligner_for(Autoencoder(), windows, WarmStart(weights, KNOWN, "none"), device) is None
    assert aligner_for(nn.Linear(2, 2), windows, WarmStart(weights, KNOWN, "coral"), device) is None
    assert aligner_for(Autoencoder(), windows, None, device) is None


def test_half_of_an_epoch_is_recent(weights: Mapping[str, np.ndarray]) -> None:
    # Given many windows of the reference and few recent ones
    ends = np.concatenate([np.arange(WINDOW - 1, KNOWN), np.arange(KNOWN + WINDOW - 1, KNOWN + WINDOW + 39)])
    windows = WindowSource(np.arange(800, dtype=np.float32)[:, None].repeat(CHANNELS, 1), ends, WINDOW)
    seen: list[float] = []

    def noting(network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        if network.training:
            seen.extend(rows[:, -1, 0].tolist())
        return objective(network, rows / 800)

    # When a network goes on from its weights for an epoch
    options = replace(OPTIONS, epochs=1, warm_start=WarmStart(weights, KNOWN))
    train_network(Autoencoder(), noting, windows, windows, options)
    # Then it sees as many of either, every recent one once
    recent = [row for row in seen if row >= KNOWN]
    assert len(seen) == 80
    assert len(recent) == len(set(recent)) == 40
