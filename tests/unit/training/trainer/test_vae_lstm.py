"""Fitting VAE-LSTM: the split, both stages, what an interruption and a budget cost, and the bundle on the stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.machines import make_series, normal_rows
from tests.unit.stream.feeds import block_of, feed, message_of, parsed
from wheeltapper.models.vae_lstm.config import VaeLstmConfig
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import VariationalAutoencoder
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import ScoringSettings, Settings, WindowSettings
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.vae_lstm import stages as vae_lstm_stages
from wheeltapper.training.detectors.vae_lstm import train as vae_lstm
from wheeltapper.training.detectors.vae_lstm.stages import clipped_gradients, code_sequences, encode_rows, short_windows
from wheeltapper.training.detectors.vae_lstm.train import chosen_settings, fit_vae_lstm, train_vae_lstm
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import prepare
from wheeltapper.training.judging.stream_run import run_as_stream

TINY = {"l_win": "24", "l_seq": "3", "hidden": "32", "code": "4", "windows_per_epoch": "256"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def series() -> SensorSeries:
    """Three channels, 800 train rows with a hole in time after row 299."""
    made = make_series(normal_rows(800, 3, seed=3), normal_rows(150, 3, seed=3))
    times = made.train_ts.copy()
    times[:300] -= 3_600_000_000
    return replace(made, train_ts=times)


def tiny(**changes: Any) -> TrainOptions:
    settings = {**TINY, **changes.pop("settings", {})}
    return TrainOptions(epochs=2, device="cpu", settings=settings, **changes)


def test_nothing_is_trained_on_and_watched_alike(series: SensorSeries) -> None:
    # given the windows of both stages on either side of the split, row 640, across which none may reach
    prepared = prepare(series, window=72)
    config = VaeLstmConfig(l_win=24, l_seq=3, hidden=32, code=4)
    short = [source.ends.numpy() for source in short_windows(prepared, 24)]
    for window, (training, held_out) in ((24, short), (72, [prepared.train_ends, prepared.held_out_ends])):
        # then a whole window lies between the last row trained on and the first window's end that is watched
        assert training.max() == 639
        assert held_out.min() - window + 1 == 640
        # and none spans the hole
        for end in np.concatenate([training, held_out]):
            assert not end - window + 1 < 300 <= end
    sources = code_sequences(np.zeros((800, 4), np.float32), prepared, config)
    assert [len(source) for source in sources] == [len(prepared.train_ends), len(prepared.held_out_ends)]


def test_bug_5_every_window_counts_the_last_ones_too(series: SensorSeries) -> None:
    # The published loops repeat a fixed number of steps and drop what does not fill a batch.
    prepared = prepare(series, window=72)
    training, held_out = short_windows(prepared, 24)
    assert len(training) == (300 - 23) + (340 - 23)
    assert len(held_out) == 160 - 23
    for source in (training, held_out):
        assert sum(len(batch) for batch in source.batches(50)) == len(source)
    assert prepared.held_out_ends.max() == 799


def test_sequences_are_codes_of_short_windows_that_follow_each_other(series: SensorSeries) -> None:
    # given codes that tell their row
    prepared = prepare(series, window=72)
    codes = np.arange(800, dtype=np.float32)[:, None]
    training, held_out = code_sequences(codes, prepared, VaeLstmConfig(l_win=24, l_seq=3, hidden=32, code=1))
    # when all sequences are taken: then each ends at its window's end, at steps of l_win, in every phase
    for source, ends in ((training, prepared.train_ends), (held_out, prepared.held_out_ends)):
        rows = source.take(torch.arange(len(source)))[:, :, 0].numpy().astype(int)
        np.testing.assert_array_equal(rows, ends[:, None] - [48, 24, 0])
        assert set(rows[:, -1] % 24) == set(range(24))


def test_each_row_is_encoded_once_and_without_noise(series: SensorSeries) -> None:
    prepared = prepare(series, window=72)
    vae = VariationalAutoencoder(VaeLstmConfig(l_win=24, hidden=32, code=4), 3).train()
    codes = encode_rows(vae, prepared.rows, 24)
    assert codes.shape == (800, 4)
    assert not codes[:23].any()
    for end in (23, 500, 799):
        wanted = vae.encoder(torch.from_numpy(prepared.rows[None, end - 23 : end + 1]))[0]
        np.testing.assert_allclose(codes[end], wanted.detach().numpy()[0], rtol=1e-4, atol=1e-5)


def test_gradients_are_cut_entry_by_entry_and_only_inside() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    rows = torch.tensor([[30.0, 0.5]])
    with clipped_gradients(layer):
        layer(rows).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[1.0, 0.5]]
    layer.weight.grad = None
    layer(rows).sum().backward()
    assert layer.weight.grad.tolist() == [[30.0, 0.5]]


def test_settings_follow_the_number_of_channels() -> None:
    one, many = chosen_settings(TrainOptions(), channels=1), chosen_settings(TrainOptions(), channels=38)
    assert (one[0].l_win, one[0].l_seq, one[0].hidden, one[0].code) == (48, 12, 512, 6)
    assert (many[0].l_win, many[0].hidden) == (24, 128)
    assert (one[1].epochs, many[1].epochs) == (50, 10)
    assert chosen_settings(TrainOptions(window=96, epochs=3), channels=2)[0].l_seq == 4
    assert chosen_settings(TrainOptions(epochs=3), channels=2)[0].lstm_epochs == 3
    with pytest.raises(InputError, match=r"window is 100, expected a multiple of l_win=24"):
        chosen_settings(TrainOptions(window=100), channels=2)
    with pytest.raises(InputError, match=r"vae-lstm: --set preset=large: expected one of small, paper"):
        chosen_settings(TrainOptions(settings={"preset": "large"}), channels=2)
    with pytest.raises(InputError, match=r"l_win is 20, expected one of 24, 48, 144"):
        chosen_settings(TrainOptions(settings={"l_win": "20"}), channels=2)


def test_a_run_interrupted_in_its_second_stage_does_not_repeat_the_first(
    series: SensorSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a whole run, and one that is interrupted when the VAE is done
    whole = fit_vae_lstm(series, *chosen_settings(tiny(), channels=3))
    config, trainer = chosen_settings(tiny(checkpoint_folder=tmp_path / "checkpoints"), channels=3)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(vae_lstm, "train_predictor", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit_vae_lstm(series, config, trainer)
    (kept,) = (tmp_path / "checkpoints").iterdir()
    assert kept.name.startswith("vae-")
    # when it is started again: then only the LSTM is trained
    with monkeypatch.context() as patched:
        trained = []
        train = vae_lstm_stages.train_network
        patched.setattr(
            vae_lstm_stages,
            "train_network",
            lambda network, *rest, **named: (trained.append(type(network)), train(network, *rest, **named))[1],
        )
        resumed = fit_vae_lstm(series, config, trainer)
    assert trained == [CodePredictor]
    # and weights and history are those of the whole run
    for name, value in whole.graph.state_dict().items():
        assert torch.equal(value, resumed.graph.state_dict()[name]), name
    assert resumed.history.validation == whole.history.validation
    assert not (tmp_path / "checkpoints").exists()
    # and a longer run does not take the shorter one's VAE for its own
    assert len(fit_vae_lstm(series, config, replace(trainer, epochs=3)).history.validation) == 3


def test_a_damaged_first_stage_is_refused(series: SensorSeries, tmp_path: Path) -> None:
    config, trainer = chosen_settings(tiny(checkpoint_folder=tmp_path), channels=3)
    prepared = prepare(series, window=72)
    vae = VariationalAutoencoder(config, 3)
    _, kept = vae_lstm.train_vae(vae, prepared, config, trainer)
    assert kept.file is not None
    kept.file.write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="not a finished VAE of this run"):
        fit_vae_lstm(series, config, trainer)


def test_a_budget_is_shared_by_both_stages(series: SensorSeries) -> None:
    # given more epochs than a second holds
    config, trainer = chosen_settings(tiny(budget_s=0.5), channels=3)
    config = replace(config, lstm_epochs=5000, lstm_patience=5000)
    trainer = replace(trainer, epochs=5000, patience=5000, windows_per_epoch=None)
    # when it is fitted: then both stages were trained, and were cut
    detector = fit_vae_lstm(series, config, trainer)
    assert detector.parameters["cut_by_budget"] is True
    assert detector.history.cut
    assert 1 <= detector.parameters["lstm_epochs"] < 5000
    assert detector.history.seconds < 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bug_8_what_was_evaluated_is_what_the_stream_scores(series: SensorSeries, tmp_path: Path) -> None:
    # given a bundle that scores from 24 rows on, by windows of 72
    detector, scores = train_vae_lstm(series, tiny())
    assert (detector.warm_up, detector.window) == (24, 72)
    bundle = write_bundle(detector, series, tmp_path / "bundle", scores=scores)
    assert bundle.manifest.warm_up == 24
    golden = bundle.golden()["window"]
    assert np.isnan(golden).any()
    assert bundle.manifest.training_data.rows == 800
    # when a machine's 150 rows come one by one, with a gap after row 99
    chosen = Settings(scoring=ScoringSettings(publish_scores=True), windows=WindowSettings(max_gap_intervals=5))
    times = 60_000_000 * np.arange(150)
    times[100:] += 3_600_000_000
    evaluated = run_as_stream(bundle, series.test, times, windows=chosen.windows)
    for sizes in ([1], [150], [7, 30]):
        messages = [
            message_of(
                block_of("press", series.test[row], times=times[row : row + 1], channels=series.channels), "arrow"
            )
            for row in range(150)
        ]
        outputs = feed(Pipeline(load_routes([str(tmp_path / "bundle")], chosen), chosen), messages, batch_sizes=sizes)
        told = parsed(outputs, "scores")
        found = {time: raw for part in told for time, raw in zip(part["time"], part["raw"], strict=True)}
        quality = {time: share for part in told for time, share in zip(part["time"], part["quality"], strict=True)}
        # then both stretches are scored from their 24th row on, as the evaluation scores them
        assert list(found) == [*times[23:100], *times[123:]]
        assert evaluated.scored_rows.tolist() == [*range(23, 100), *range(123, 150)]
        np.testing.assert_allclose(list(found.values()), evaluated.raw, rtol=1e-4)
        # and rows that are not there yet lower the quality
        assert [quality[times[row]] for row in (23, 47, 71, 99)] == pytest.approx([24 / 72, 48 / 72, 1, 1])
