"""Fitting ALoRa to a series: what comes out, what is refused, and what a killed run costs."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.graph import OUTPUTS
from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.alora.spec import SPEC
from wheeltapper.training.detectors.alora.train import fit_alora, train_alora
from wheeltapper.training.fitting import torch_detector
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import scaling, window_ends
from wheeltapper.training.fitting.torch_detector import held_out_pieces
from wheeltapper.training.fitting.trainer_options import TrainerOptions

CHECKOUT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def series_of(train: np.ndarray, *, gap_after: int | None = None) -> SensorSeries:
    times = np.arange(len(train), dtype=np.int64) * 1_000_000
    if gap_after is not None:
        times[gap_after:] += 3_600_000_000
    channels = tuple(f"c{index}" for index in range(train.shape[1]))
    return SensorSeries(
        dataset="made-up",
        entity="m1",
        channels=channels,
        units=("",) * len(channels),
        sampling_interval_s=1.0,
        train=train,
        train_ts=times,
        test=train[:0],
        test_ts=times[:0],
    )


def made_up(rows: int = 900, seed: int = 0) -> np.ndarray:
    """[rows, 6] float32: two shared waves with noise, large raw values; the last channel is constant."""
    random = np.random.default_rng(seed)
    clock = np.arange(rows)
    sources = np.stack([np.sin(clock / 7), np.cos(clock / 31)], axis=1)
    mix = np.random.default_rng(5).standard_normal((2, 5))
    values = 1000 + 20 * (sources @ mix + 0.1 * random.standard_normal((rows, 5)))
    return np.concatenate([values, np.full((rows, 1), 3.0)], axis=1).astype(np.float32)


SETTINGS = {"preset": "small", "window": "8", "width": "12", "heads": "3", "windows_per_epoch": "300"}


def options(**trainer: Any) -> tuple[AloraConfig, TrainerOptions]:
    """Settings of a small network; `trainer` are fields of `TrainerOptions`."""
    chosen = TrainOptions(epochs=2, device="cpu", settings=SETTINGS)
    return SPEC.settings_for(chosen), replace(SPEC.trainer_for(chosen), **trainer)


@pytest.mark.export
@pytest.mark.nightly
def test_a_trained_detector_sees_a_fault_and_names_its_channel() -> None:
    # given normal rows, some of them missing, and a fault on channel 2 later
    train = made_up()
    train[100:103, 1] = np.nan
    # when
    # (blame by error alone: what a network of few epochs makes of its weights is not what is asked here)
    chosen = TrainOptions(epochs=4, device="cpu", settings={**SETTINGS, "localization": "error"})
    detector, scores = train_alora(series_of(train), chosen)
    graph = Graph(detector.onnx_bytes(), device="cpu")
    later = made_up(60, seed=9)
    later[50:, 2] += 200
    windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(later, 8, axis=0), -1, 1)
    output = graph.run(windows)
    # then
    assert isinstance(detector, FittedDetector)
    assert graph.output_names == OUTPUTS
    assert output.score[43:].min() > 3 * scores.score.max()
    assert (output.contribution[43:].argmax(axis=1) == 2).all()
    # and held-out scores are those of the last fifth, by the same graph
    assert len(scores.score) == len(scores.time) == 180 - 7
    assert scores.time[[0, -1]].tolist() == [(720 + 7) * 1_000_000, 899 * 1_000_000]
    assert detector.parity is not None
    assert max(detector.parity.values()) < 1e-4
    # and the manifest's parameters say how the rank threshold came about
    assert sum(detector.parameters["rank_histogram"].values()) == 173
    assert detector.parameters["width"] == 20  # 10 pairs of 5 moving channels, each twice
    assert detector.warnings[0].endswith(": c5")


def test_training_is_the_same_twice_and_other_with_another_seed() -> None:
    series = series_of(made_up())
    first, second, other = (fit_alora(series, *options(seed=seed)).history.validation for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_training_lowers_the_loss() -> None:
    history = fit_alora(series_of(made_up()), *options(epochs=12, learning_rate=1e-2)).history
    assert min(history.validation) < 0.7 * history.validation[0]
    assert history.best_epoch == int(np.argmin(history.validation)) + 1


RUN = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {folder!r})
from test_alora import made_up, options, series_of
from wheeltapper.training.detectors.alora.train import fit_alora
torch.set_num_threads(1)
fit_alora(series_of(made_up()), *options(epochs=500, checkpoint_folder=Path({checkpoints!r}), checkpoint_every_s=0.0))
"""


@pytest.mark.slow
def test_a_run_killed_with_sigkill_goes_on_where_it_was(tmp_path: Path) -> None:
    # given a training process that is killed once it has written a checkpoint of a later epoch
    code = RUN.format(folder=str(Path(__file__).parent), checkpoints=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None and _epoch(tmp_path) < 2:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    reached = _epoch(tmp_path)
    assert reached >= 2
    # when it is started again, for just a few epochs more
    series, epochs = series_of(made_up()), reached + 2
    resumed = fit_alora(series, *options(epochs=epochs, checkpoint_folder=tmp_path))
    whole = fit_alora(series, *options(epochs=epochs))
    # then it went on, and ends where an uninterrupted run ends
    assert resumed.history.resumed_at is not None
    assert resumed.history.resumed_at[0] >= 2
    assert resumed.history.validation == whole.history.validation
    assert all(torch.equal(value, whole.graph.state_dict()[name]) for name, value in resumed.graph.state_dict().items())


def _epoch(folder: Path) -> int:
    files = list(folder.glob("checkpoint-*.pt"))
    return int(torch.load(files[0], weights_only=True)["epoch"]) if files else -1


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (made_up(100), "give 73 windows of 8 rows without a gap to train on and 13 to hold out, expected at least 30"),
        (np.ones((900, 3), dtype=np.float32), "all 3 channels are constant"),
        (
            np.where(np.arange(5400).reshape(900, 6) == 7, np.inf, made_up()).astype(np.float32),
            "channel c1 is infinite",
        ),
        (np.zeros((0, 3), dtype=np.float32), "0 train rows"),
    ],
    ids=["too short", "constant", "infinite", "empty"],
)
def test_rows_that_cannot_be_trained_on_are_refused(train: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_alora(series_of(train), *options())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "large"}, "alora: --set preset=large: expected one of paper, small"),
        ({"epochs": "0"}, "alora: --set epochs=0: expected a whole number of 1 or more"),
        ({"window": "1"}, "alora: --set window=1: expected a whole number of 3 or more"),
        ({"heigth": "1"}, "alora has no setting 'heigth'"),
        ({"seed": "1"}, "alora has no setting 'seed'; it is an option of every detector: --seed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        train_alora(series_of(made_up()), TrainOptions(settings=settings))


def test_options_that_nobody_gives_keep_the_preset_s() -> None:
    trainer = SPEC.trainer_for(TrainOptions(seed=7))
    assert (trainer.epochs, trainer.seed, trainer.windows_per_epoch) == (4, 7, 6000)
    assert SPEC.trainer_for(TrainOptions(settings={"windows_per_epoch": "none"})).windows_per_epoch is None


def test_windows_do_not_cross_a_gap_nor_the_split() -> None:
    # given rows 0..9 and 10..29 with a gap between
    runs = [slice(0, 10), slice(10, 30)]
    # when / then
    assert window_ends(runs, 4, 0, 24).tolist() == [*range(3, 10), *range(13, 24)]
    assert window_ends(runs, 4, 24, 30).tolist() == [27, 28, 29]
    assert window_ends(runs, 12, 0, 10).tolist() == []
    assert held_out_pieces(np.array([3, 4, 5, 9, 10]), 3) == [slice(1, 6), slice(7, 11)]


def test_a_long_held_out_part_is_represented_by_pieces() -> None:
    # given 70,000 windows with a gap after 35,000
    ends = np.concatenate([np.arange(20, 35_020), np.arange(40_000, 75_000)])
    # when
    pieces = held_out_pieces(ends, 20)
    # then
    windows = [piece.stop - piece.start - 19 for piece in pieces]
    assert sum(windows) == torch_detector.HELD_OUT_LIMIT
    assert len(pieces) == torch_detector.HELD_OUT_PIECES
    assert all(before.stop <= after.start for before, after in itertools.pairwise(pieces))
    assert pieces[-1].stop > 70_000


def test_scaling_leaves_missing_values_out_and_constants_alone() -> None:
    train = np.array([[1.0, 5.0, np.nan], [np.nan, 5.0, np.nan], [3.0, 5.0, np.nan]])
    mean, scale = scaling(train, np.array([True, False, False]))
    assert mean.tolist() == [2, 5, 0]
    assert scale.tolist() == [1, 1, 1]


def test_a_gap_in_the_train_part_is_trained_around() -> None:
    detector = fit_alora(series_of(made_up(), gap_after=800), *options(epochs=1))
    assert detector.prepared.held_out_ends.tolist() == [*range(727, 800), *range(807, 900)]
    pieces = held_out_pieces(detector.prepared.held_out_ends, detector.window)
    assert pieces == [slice(720, 800), slice(800, 900)]


def test_a_machine_with_one_channel_can_be_fitted() -> None:
    # given one channel, and a fault in its last rows
    train = made_up()[:, :1]
    detector = fit_alora(series_of(train), *options(epochs=3))
    windows = torch.as_tensor(np.stack([train[-8:], train[-8:]]))
    windows[1, -1] += 300
    # when
    with torch.no_grad():
        score, contribution, _, _ = detector.graph(windows)
    # then
    assert float(score[1]) > 5 * float(score[0])
    assert contribution.shape == (2, 1)
