"""The trainer: a resumed run equals an uninterrupted one, the best weights win, trouble is said clearly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.device import resolve_device
from wheeltapper.training.fitting.trainer import TrainerOptions, fingerprint, train_network

OPTIONS = TrainerOptions(
    epochs=3, batch_size=16, learning_rate=1e-2, windows_per_epoch=100, progress=False, device="cpu"
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Autoencoder(nn.Module):
    """With dropout, so that the state of torch's own random numbers matters too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, rows: Tensor) -> Tensor:
        return torch.as_tensor(self.layers(rows))


def _objective(network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    loss = torch.mean((network(rows) - rows) ** 2)
    return loss, loss.detach()


class Stop(Exception):
    """Stands for a killed process."""


class Interrupted:
    """The objective, which is killed at its n-th step of training."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        if network.training:
            if self.left == 0:
                raise Stop
            self.left -= 1
        return _objective(network, rows)


@pytest.fixture
def sources() -> tuple[WindowSource, WindowSource]:
    rows = np.random.default_rng(0).standard_normal((500, 3)).cumsum(axis=0).astype(np.float32) / 10
    return WindowSource(rows, np.arange(4, 400), 5), WindowSource(rows, np.arange(404, 500), 5)


def _weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("killed_at", [2, 7, 12, 20])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, sources: tuple[WindowSource, WindowSource], killed_at: int
) -> None:
    # given a run of 3 epochs of 7 steps
    whole = Autoencoder()
    history = train_network(whole, _objective, *sources, OPTIONS)
    options = replace(OPTIONS, checkpoint_folder=tmp_path, checkpoint_every_s=0.0)
    # when the same run is killed in the middle and started again in what could be another process
    with pytest.raises(Stop):
        train_network(Autoencoder(), Interrupted(killed_at), *sources, options, run="a")
    torch.manual_seed(999)
    resumed = Autoencoder()
    resumed_history = train_network(resumed, _objective, *sources, options, run="a")
    # then nothing differs, to the last bit
    assert resumed_history.resumed_at == (killed_at // 7, killed_at % 7)
    assert torch.equal(_weights(resumed), _weights(whole))
    assert resumed_history.training == history.training
    assert resumed_history.validation == history.validation
    # and a finished run leaves no checkpoint behind
    assert not tmp_path.exists()


def test_a_checkpoint_after_every_epoch_even_without_time_having_passed(
    tmp_path: Path, sources: tuple[WindowSource, WindowSource]
) -> None:
    options = replace(OPTIONS, checkpoint_folder=tmp_path, checkpoint_every_s=1e9)
    with pytest.raises(Stop):
        train_network(Autoencoder(), Interrupted(10), *sources, options, run="a")
    history = train_network(Autoencoder(), _objective, *sources, options, run="a")
    assert history.resumed_at == (1, 0)


def test_another_run_s_checkpoint_is_left_alone(tmp_path: Path, sources: tuple[WindowSource, WindowSource]) -> None:
    # given a killed run
    options = replace(OPTIONS, checkpoint_folder=tmp_path, checkpoint_every_s=0.0)
    with pytest.raises(Stop):
        train_network(Autoencoder(), Interrupted(9), *sources, options, run="a")
    # when one with another fingerprint runs in the same folder
    other = replace(options, seed=1)
    assert fingerprint(other) != fingerprint(options)
    history = train_network(Autoencoder(), _objective, *sources, other, run="b")
    # then it starts fresh, and the first can still go on
    assert history.resumed_at is None
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-a.pt"]


def test_the_fingerprint_ignores_what_does_not_change_the_weights(tmp_path: Path) -> None:
    same = replace(OPTIONS, epochs=30, checkpoint_folder=tmp_path, progress=True, device="auto")
    assert fingerprint(same, data="x") == fingerprint(OPTIONS, data="x")
    assert fingerprint(OPTIONS, data="y") != fingerprint(OPTIONS, data="x")


def test_a_damaged_checkpoint_is_named(tmp_path: Path, sources: tuple[WindowSource, WindowSource]) -> None:
    (tmp_path / "checkpoint-a.pt").write_bytes(b"not a checkpoint")
    options = replace(OPTIONS, checkpoint_folder=tmp_path)
    with pytest.raises(InputError, match=r"checkpoint-a\.pt: not a checkpoint of this run .* delete it"):
        train_network(Autoencoder(), _objective, *sources, options, run="a")


def test_a_checkpoint_cannot_run_code(tmp_path: Path, sources: tuple[WindowSource, WindowSource]) -> None:
    # given a pickle that would make a file
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    torch.save({"network": Evil()}, tmp_path / "checkpoint-a.pt")
    # when / then
    with pytest.raises(InputError, match="not a checkpoint"):
        train_network(Autoencoder(), _objective, *sources, replace(OPTIONS, checkpoint_folder=tmp_path), run="a")
    assert not marker.exists()


def test_early_stopping_restores_the_best_epoch(sources: tuple[WindowSource, WindowSource]) -> None:
    # given a validation value that gets worse from epoch 2 on
    network = Autoencoder()
    values = iter([5.0, 3.0, 4.0, 4.0, 1.0])
    seen: list[Tensor] = []

    def objective(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        loss = _objective(module, rows)[0]
        if module.training:
            return loss, loss.detach()
        seen.append(_weights(module))
        return loss, torch.tensor(next(values))

    # when
    options = replace(OPTIONS, epochs=9, patience=2, batch_size=128)
    history = train_network(network, objective, *sources, options)
    # then it stops two epochs after the best one, with that one's weights, ready to be used
    assert history.validation == [5.0, 3.0, 4.0, 4.0]
    assert (history.best_epoch, history.stopped_early) == (2, True)
    assert torch.equal(_weights(network), seen[1])
    assert not torch.equal(_weights(network), seen[3])
    assert not network.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_said_with_what_to_do(
    sources: tuple[WindowSource, WindowSource], value: float
) -> None:
    calls = iter(range(99))

    def objective(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        loss = _objective(module, rows)[0] * (value if next(calls) == 3 else 1.0)
        return loss, loss.detach()

    with pytest.raises(InputError, match=rf"loss became {value} in epoch 1, step 4; .*lower the learning rate"):
        train_network(Autoencoder(), objective, *sources, OPTIONS)


def test_learning_rate_halves_after_each_epoch_and_each_epoch_sees_other_windows(
    sources: tuple[WindowSource, WindowSource],
) -> None:
    # given
    rates: list[float] = []
    batches: list[Tensor] = []

    def objective(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        if module.training:
            batches.append(rows)
        return _objective(module, rows)

    original = torch.optim.Adam.step

    def step(self: torch.optim.Adam, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        original(self, closure)

    # when
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", step)
        train_network(Autoencoder(), objective, *sources, OPTIONS)
    # then
    assert rates == [0.01] * 7 + [0.005] * 7 + [0.0025] * 7
    first, second = torch.cat(batches[:7]), torch.cat(batches[7:14])
    assert len(first) == len(second) == 100
    assert not torch.equal(first, second)
    assert len(torch.unique(first[:, 0], dim=0)) == 100


def test_without_shuffling_windows_come_in_time_order(sources: tuple[WindowSource, WindowSource]) -> None:
    batches: list[Tensor] = []

    def objective(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        if module.training:
            batches.append(rows)
        return _objective(module, rows)

    train_network(Autoencoder(), objective, *sources, replace(OPTIONS, epochs=1, shuffle=False, windows_per_epoch=None))
    training = sources[0]
    torch.testing.assert_close(torch.cat(batches), training.take(torch.arange(len(training))))


def test_gradients_are_clipped_only_when_asked_for(sources: tuple[WindowSource, WindowSource]) -> None:
    def steep(module: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        loss = _objective(module, rows)[0] * 1e6
        return loss, loss.detach()

    norms: dict[float | None, float] = {}
    for limit in (None, 0.5):
        network = Autoencoder()
        train_network(network, steep, *sources, replace(OPTIONS, epochs=1, gradient_clip=limit))
        gradients = [parameter.grad for parameter in network.parameters()]
        norms[limit] = float(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm())
    assert norms[0.5] == pytest.approx(0.5, rel=1e-3)
    assert norms[None] > 1e3  # type: ignore[operator]


def test_windows_are_cut_as_asked() -> None:
    # given rows that hold their own index
    source = WindowSource(np.arange(20, dtype=np.float32)[:, None], np.array([4, 9, 19]), 5)
    # when / then
    assert source.take(torch.tensor([1, 2]))[:, :, 0].tolist() == [[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]]
    assert [len(batch) for batch in source.batches(2)] == [2, 1]
    many = WindowSource(np.arange(2000, dtype=np.float32)[:, None], np.arange(1000, 2000), 1)
    assert torch.cat(list(many.batches(3, at_most=4)))[:, 0, 0].tolist() == [1000, 1250, 1500, 1750]


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="expected auto, cpu or cuda"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device is 'cuda' but"):
            resolve_device("cuda")


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"windows_per_epoch": 0}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        replace(OPTIONS, **change)  # type: ignore[arg-type]


def test_progress_without_a_terminal_is_a_line_an_epoch(
    sources: tuple[WindowSource, WindowSource], capsys: pytest.CaptureFixture[str]
) -> None:
    train_network(Autoencoder(), _objective, *sources, replace(OPTIONS, progress=True), title="pump-1")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"pump-1: epoch {epoch}/3" for epoch in (1, 2, 3)]


def test_a_resumed_run_says_so(
    tmp_path: Path, sources: tuple[WindowSource, WindowSource], capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(OPTIONS, checkpoint_folder=tmp_path, progress=True)
    with pytest.raises(Stop):
        train_network(Autoencoder(), Interrupted(8), *sources, options, run="a", title="pump-1")
    capsys.readouterr()
    train_network(Autoencoder(), _objective, *sources, options, run="a", title="pump-1")
    said = capsys.readouterr().err.replace("\n", "")
    assert said.startswith("pump-1: goes on from epoch 2, step 1 of ")
    assert "epoch 1/3" not in said


def test_a_budget_ends_training_inside_an_epoch_and_the_history_says_so(
    sources: tuple[WindowSource, WindowSource],
) -> None:
    # given a run that would take hours, and a tenth of a second for it
    options = replace(OPTIONS, epochs=1_000_000, patience=1_000_000, budget_s=0.1)
    # when it is trained
    history = train_network(Autoencoder(), _objective, *sources, options)
    # then it ended soon, with the best weights so far, and says that it was cut
    assert history.cut
    assert history.seconds < 5
    assert len(history.validation) == len(history.training) >= 1
    # and a run that needs less than its budget is not cut
    assert not train_network(Autoencoder(), _objective, *sources, replace(OPTIONS, budget_s=600.0)).cut


def test_a_line_of_progress_says_how_far_and_how_long(
    sources: tuple[WindowSource, WindowSource], capsys: pytest.CaptureFixture[str]
) -> None:
    train_network(Autoencoder(), _objective, *sources, replace(OPTIONS, progress=True, budget_s=600.0), title="pump-1")
    lines = capsys.readouterr().err.splitlines()
    shares = [re.search(r", (\d+)%, at most (\d+) s left, loss ", line) for line in lines]
    assert all(shares), lines
    assert [int(share[1]) for share in shares if share] == [33, 67, 100]
    assert int(shares[-1][2]) == 0  # type: ignore[index]
