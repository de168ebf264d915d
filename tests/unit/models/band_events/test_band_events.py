"""Band events: numpy against graph and twin, what it finds and blames, and sounds that must not break it."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
import torch

from wheeltapper.models.band_events.fit import BandEvents, fit_band_events
from wheeltapper.models.band_events.fitted import averaging, events_of
from wheeltapper.models.band_events.settings import BandEventSettings
from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError

RATE, SECONDS = 8000, 4
SAMPLES = RATE * SECONDS
SETTINGS = BandEventSettings(n_fft=512, frame_hop=256, bands=16)


def machine(seed: int, channels: int = 1) -> np.ndarray:
    """[channels * S] float32: a hum in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(SAMPLES) / RATE
    gain = 1 + 0.1 * rng.normal()
    parts = [gain * (0.05 * np.sin(2 * np.pi * 100 * time) + rng.normal(0, 0.02, SAMPLES)) for _ in range(channels)]
    return np.concatenate(parts).astype(np.float32)


@cache
def fitted(channels: int = 1) -> BandEvents:
    frontend = SETTINGS.frontend(RATE)
    blocks = averaging(frontend.frames(SAMPLES), SETTINGS.block_frames, SETTINGS.block_hop)
    events = np.stack(
        [events_of(frontend.levels(without_offset(machine(seed, channels), channels)), blocks) for seed in range(12)]
    )
    return fit_band_events(events, np.arange(12), SETTINGS, frontend, window=SAMPLES, channels=channels)


@cache
def graph_of(channels: int = 1) -> Graph:
    return Graph(fitted(channels).onnx_bytes(), device="cpu")


def with_tone(window: np.ndarray, start: float, stop: float, hz: float) -> np.ndarray:
    found = window.copy()
    rows = slice(int(start * RATE), int(stop * RATE))
    found[rows] += 0.2 * np.sin(2 * np.pi * hz * np.arange(rows.stop - rows.start) / RATE).astype(np.float32)
    return found


@pytest.mark.parametrize("channels", [1, 2])
def test_graph_and_twin_are_numpy(channels: int) -> None:
    # given windows, some with events
    windows = np.stack([machine(seed, channels) for seed in range(50, 54)])
    windows[1] = with_tone(windows[1], 1.0, 1.3, 2000.0)
    windows[2][8000:9000] = 0
    # when graph and twin score them
    found = graph_of(channels).run(windows)
    raw = fitted(channels).torchscript_bytes()
    assert raw is not None
    score, contribution, embedding = torch.jit.load(io.BytesIO(raw))(torch.from_numpy(windows))
    # then they are numpy
    expected = [fitted(channels).score(window) for window in windows]
    patches = np.stack([fitted(channels).contribution(window) for window in windows])
    np.testing.assert_allclose(found.score, expected, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(score.numpy(), expected, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(found.contribution, patches, rtol=1e-3, atol=1e-4 * patches.max())
    np.testing.assert_allclose(contribution.numpy(), patches, rtol=1e-3, atol=1e-4 * patches.max())
    np.testing.assert_allclose(embedding.numpy(), found.embedding, rtol=1e-4, atol=1e-4)
    assert found.contribution.shape == (4, 16 * channels, fitted(channels).time_columns)


@pytest.mark.parametrize(("start", "stop", "hz"), [(0.5, 0.8, 2500.0), (2.0, 2.2, 700.0)])
def test_a_squeal_is_found_and_its_patch_is_blamed(start: float, stop: float, hz: float) -> None:
    # given a short tone
    window = with_tone(machine(60), start, stop, hz)
    # when it is scored
    found = graph_of().run(np.stack([machine(60), window]))
    # then the score rises, and what is blamed lies in the tone's time and bands, within one block
    assert found.score[1] > found.score[0] + 3
    edges = np.arange(fitted().time_columns + 1) * SECONDS / fitted().time_columns
    columns = (edges[1:] > start - 0.26) & (edges[:-1] < stop + 0.26)
    bands = np.array([low / 1.4 <= hz <= high * 1.4 for _, low, high in fitted().bands])
    assert found.contribution[1][np.ix_(bands, columns)].sum() > 0.8 * found.contribution[1].sum()


def test_a_dropout_is_found() -> None:
    # given a sound that is gone for a third of a second
    window = machine(61)
    window[12000:14600] *= 0.001
    # when it is scored
    found = graph_of().run(np.stack([machine(61), window]))
    # then the score rises, and that time is blamed
    assert found.score[1] > found.score[0] + 3
    columns = slice(int(12000 / SAMPLES * 40) - 2, int(14600 / SAMPLES * 40) + 3)
    assert found.contribution[1][:, columns].sum() > 0.9 * found.contribution[1].sum()


def test_a_sound_that_lasts_is_left_to_band_profile() -> None:
    # given a tone in the whole window, and the whole window louder
    windows = np.stack([machine(62), with_tone(machine(62), 0, SECONDS, 2000.0), machine(62) * 3])
    # when they are scored
    score = graph_of().run(windows).score
    # then neither is an event
    assert score[1] < score[0] + 2
    assert abs(score[2] - score[0]) < 1


def test_sounds_that_must_not_break_it() -> None:
    # given silence, clipping, a spike and samples beyond any sensor
    spike = machine(1)
    spike[5000] = 1e6
    windows = np.stack([np.zeros(SAMPLES), np.sign(np.sin(np.arange(SAMPLES))), spike, np.full(SAMPLES, -3e38)])
    # when they are scored
    found = graph_of().run(windows.astype(np.float32))
    # then everything is finite
    for values in (found.score, found.contribution, found.embedding):
        assert values is not None
        assert np.isfinite(values).all()


@pytest.mark.parametrize(("frames", "block", "hop"), [(20, 8, 4), (21, 8, 4), (5, 8, 4), (8, 8, 8)])
def test_blocks_reach_to_the_last_frame(frames: int, block: int, hop: int) -> None:
    # when blocks are laid over frames
    found = averaging(frames, block, hop)
    # then each is a mean, and every frame is in one
    np.testing.assert_allclose(found.sum(axis=0), 1.0)
    assert (found.sum(axis=1) > 0).all()


def test_settings_and_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="block_hop is 9, expected at most block_frames, 8"):
        BandEventSettings(block_hop=9)
    frontend = SETTINGS.frontend(RATE)
    with pytest.raises(InputError, match="1 windows of normal sound, expected 2 or more"):
        fit_band_events(np.zeros((1, 5, 16)), np.arange(1), SETTINGS, frontend, window=SAMPLES)
    with pytest.raises(InputError, match="not numbers"):
        fit_band_events(np.full((4, 5, 16), np.nan), np.arange(4), SETTINGS, frontend, window=SAMPLES)
