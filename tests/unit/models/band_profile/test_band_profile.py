"""Band profile: numpy against graph and twin, what its patches blame, and sounds that must not break it."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
import torch

from wheeltapper.models.band_profile.fit import BandProfile, Profiles, fit_band_profile
from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.band_profile.settings import BandProfileSettings
from wheeltapper.models.sound.orders import OrderBands
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.schemas.errors import InputError

RATE, SECONDS = 8000, 4
SAMPLES = RATE * SECONDS
SPECS = (AttributeSpec(name="rpm"), AttributeSpec(name="product", categories=("ale", "stout")))
CASES = ("mel", "log", "axes", "condition", "orders", "centres")


def machine(seed: int, rpm: float = 1200.0, channels: int = 1) -> np.ndarray:
    """[channels * S] float32: harmonics of a shaft in noise whose colour and gain differ a little each time."""
    rng = np.random.default_rng(seed)
    time = np.arange(SAMPLES) / RATE
    found = []
    for channel in range(channels):
        tones = sum(0.05 / order * np.sin(2 * np.pi * rpm / 60 * order * time + order) for order in (1, 2, 5, 16))
        white = rng.normal(0, 0.02, SAMPLES)
        colour = np.cumsum(white) * 0.002
        found.append((1 + 0.05 * rng.normal()) * (tones + white + colour + 0.01 * channel))
    return np.concatenate(found).astype(np.float32)


def settings_of(case: str) -> BandProfileSettings:
    small: dict[str, object] = {"n_fft": 512, "frame_hop": 256, "bands": 16}
    more: dict[str, dict[str, object]] = {
        "log": {"scale": "log", "low_hz": 20.0},
        "orders": {"orders": 12},
        "centres": {"references": 8},
    }
    return BandProfileSettings(**small, **more.get(case, {}))  # type: ignore[arg-type]


@cache
def fitted(case: str = "mel") -> BandProfile:
    settings = settings_of(case)
    channels = 2 if case == "axes" else 1
    frontend = settings.frontend(RATE)
    specs = SPECS if case in ("condition", "orders") else ()
    orders = OrderBands.up_to(frontend, 12, 1500) if case == "orders" else None
    rows, attributes = [], []
    for seed in range(24):
        rpm = (900.0, 1200.0, 1500.0)[seed % 3] if specs else 1200.0
        window = machine(seed, rpm, channels)
        signals = without_offset(window, channels)
        features = [frontend.levels(signals).mean(axis=1).ravel()]
        if orders is not None:
            features.append(orders.levels(signals, rpm).mean(axis=1).ravel())
        rows.append(np.concatenate(features))
        attributes.append([rpm, seed % 2, 1 - seed % 2][: 3 if specs else 0])
    profiles = Profiles(np.array(rows), np.arange(24), np.array(attributes, dtype=np.float64).reshape(24, -1))
    return fit_band_profile(
        profiles,
        settings,
        frontend,
        window=SAMPLES,
        channels=channels,
        attributes=specs,
        order_bands=orders,
        condition=("rpm", "product") if case == "condition" else (),
    )


@cache
def graph_of(case: str = "mel") -> Graph:
    return Graph(fitted(case).onnx_bytes(), device="cpu")


def probes(case: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Windows, some of them strange, and attributes, some of them unknown."""
    channels = fitted(case).channels
    windows = [machine(seed, channels=channels) for seed in range(100, 106)]
    windows[1] = windows[1] * 4
    windows[2] = np.clip(windows[2] * 20, -1, 1)
    windows[3][1000:3000] += 0.3 * np.sin(2 * np.pi * 2500 * np.arange(2000) / RATE).astype(np.float32)
    rows = np.array(
        [[1200, 1, 0], [1000, 0, 1], [np.nan, 0, 0], [1500, 0, 0], [0, 1, 0], [2400, 1, 0]], dtype=np.float32
    )
    return np.stack(windows), rows if fitted(case).attributes else None


@pytest.mark.parametrize("case", CASES)
def test_graph_is_numpy(case: str) -> None:
    # given windows, some strange
    detector, graph = fitted(case), graph_of(case)
    windows, rows = probes(case)
    # when the graph scores them
    found = graph.run(windows, rows)
    # then score and contributions are those of numpy
    assert found.embedding is not None
    for at, window in enumerate(windows):
        attributes = None if rows is None else rows[at].astype(np.float64)
        expected = detector.score(window, attributes)
        assert found.score[at] == pytest.approx(expected, rel=2e-5, abs=2e-5)
        if detector.order_bands is None:  # those of order bands are laid onto the others by the graph
            parts = np.maximum(detector.parts(window, attributes), 0)
            np.testing.assert_allclose(found.contribution[at], parts, rtol=1e-3, atol=1e-4 * parts.max())
    assert found.contribution.shape == (len(windows), len(detector.bands), detector.time_columns)
    assert (found.contribution >= 0).all()


@pytest.mark.parametrize("case", CASES)
def test_twin_is_the_graph(case: str) -> None:
    # given the TorchScript twin
    raw = fitted(case).torchscript_bytes()
    assert raw is not None
    twin = torch.jit.load(io.BytesIO(raw))
    windows, rows = probes(case)
    # when both score the same windows
    found = graph_of(case).run(windows, rows)
    score, contribution, embedding = twin(torch.from_numpy(windows), None if rows is None else torch.from_numpy(rows))
    # then they agree
    np.testing.assert_allclose(score.numpy(), found.score, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        contribution.numpy(), found.contribution, rtol=1e-2, atol=1e-3 * found.contribution.max()
    )
    np.testing.assert_allclose(embedding.numpy(), found.embedding, rtol=1e-3, atol=1e-3)


def test_contributions_add_up_to_the_squared_distance() -> None:
    # given a strange window
    detector = fitted()
    window = probes("mel")[0][3]
    # when its signed parts are added up
    total = detector.parts(window).sum()
    # then that is the squared distance to the nearest reference
    around = detector.around
    z = around.whitened(detector.levels(window).mean(axis=0)[None])[0]
    away = np.linalg.norm(z - around.references, axis=1)
    assert total == pytest.approx(away[(away / around.radius).argmin()] ** 2, rel=1e-6)


@pytest.mark.parametrize(("start", "stop", "hz"), [(0.4, 0.9, 2500.0), (2.0, 3.0, 700.0), (3.4, 3.9, 3300.0)])
def test_energy_of_a_disturbance_falls_into_its_patch(start: float, stop: float, hz: float) -> None:
    # given a tone of known time and frequency in a normal sound
    window = machine(200)
    rows = slice(int(start * RATE), int(stop * RATE))
    window[rows] += 0.3 * np.sin(2 * np.pi * hz * np.arange(rows.stop - rows.start) / RATE).astype(np.float32)
    # when it is scored
    found = graph_of().run(np.stack([machine(200), window]))
    # then the score rises, and most of what is blamed lies in the tone's time and bands
    assert found.score[1] > found.score[0] + 3
    detector = fitted()
    bands = [low / 1.3 <= hz <= high * 1.3 for _, low, high in detector.bands]
    edges = np.arange(detector.time_columns + 1) * SECONDS / detector.time_columns
    columns = (edges[1:] > start) & (edges[:-1] < stop)
    patch = found.contribution[1][np.ix_(np.array(bands), columns)]
    assert patch.sum() > 0.7 * found.contribution[1].sum()


def test_a_change_of_gain_is_nearly_harmless() -> None:
    # given normal windows, the same 2 dB louder, and the same with one band 6 dB louder
    windows = np.stack([machine(seed) for seed in range(300, 308)])
    tone = 0.05 * np.sin(2 * np.pi * 3000 * np.arange(SAMPLES) / RATE).astype(np.float32)
    graph = graph_of()
    # when they are scored
    usual, louder, strange = (graph.run(part).score for part in (windows, windows * 1.26, windows + tone))
    # then gain adds less than a band of its own does
    assert np.median(louder - usual) < 0.5 * np.median(strange - usual)


def test_an_offset_changes_nothing() -> None:
    # given a window with and without gravity
    window = machine(400)[None]
    graph = graph_of()
    # then the score is the same
    assert graph.run(window + 0.5).score[0] == pytest.approx(graph.run(window).score[0], abs=1e-2)


@pytest.mark.parametrize("case", ["mel", "log", "axes"])
def test_sounds_that_must_not_break_it(case: str) -> None:
    # given silence, full-scale clipping, one spike, and samples beyond any sensor
    size = fitted(case).channels * SAMPLES
    spike = machine(1, channels=fitted(case).channels)
    spike[size // 2] = 1e6
    windows = np.stack(
        [
            np.zeros(size),
            np.sign(np.sin(np.arange(size))),
            spike,
            np.full(size, 3e38),
            np.tile([3e38, -3e38], size // 2),
        ]
    ).astype(np.float32)
    # when they are scored
    found = graph_of(case).run(windows)
    # then everything is finite, and each is far from normal
    assert np.isfinite(found.score).all()
    assert np.isfinite(found.contribution).all()
    assert np.isfinite(found.embedding).all()  # type: ignore[arg-type]
    assert (found.score > 3).all()


def test_a_dead_channel_is_blamed() -> None:
    # given two axes of which the second is dead
    window = machine(500, channels=2)
    window[SAMPLES:] = 0
    # when it is scored
    found = graph_of("axes").run(window[None])
    # then the second axis has nearly all of the blame
    assert found.contribution[0][16:].sum() > 0.9 * found.contribution[0].sum()


def test_batches_change_nothing() -> None:
    # given more windows than are run at a time
    windows = np.stack([machine(seed) for seed in range(600, 621)])
    graph = graph_of()
    # when they are scored together and one by one
    together = graph.run(windows)
    apart = [graph.run(window[None]) for window in windows]
    # then the scores are the same
    np.testing.assert_allclose(together.score, [one.score[0] for one in apart], rtol=0, atol=2e-5)


def test_a_window_of_training_scores_low() -> None:
    # when a window that it was fitted on is scored, then it is finite and below what is held out
    score = graph_of().run(machine(3)[None]).score[0]
    assert np.isfinite(score)
    assert score < 1


def test_training_on_silence_scores_silence_as_normal_and_sound_as_strange() -> None:
    # given a microphone that never heard anything
    settings = settings_of("mel")
    frontend = settings.frontend(RATE)
    silence = frontend.levels(np.zeros((1, SAMPLES))).mean(axis=1)
    detector = fit_band_profile(
        Profiles(np.repeat(silence, 6, axis=0), np.arange(6), np.zeros((6, 0))), settings, frontend, window=SAMPLES
    )
    # when silence and sound are scored
    score = Graph(detector.onnx_bytes(), device="cpu").run(np.stack([np.zeros(SAMPLES, np.float32), machine(0)])).score
    # then both are finite, sound is stranger, and the fit warned
    assert np.isfinite(score).all()
    assert score[1] > score[0] + 10
    assert any("floor" in warning for warning in detector.warnings)


def test_known_speed_takes_its_effect_out() -> None:
    # given a fit that takes out the effect of speed, with levels that rise by 6 dB with it
    detector = fitted("condition")
    assert detector.effect is not None
    columns = np.array([[1200.0, 1, 0], [np.nan, 0, 0], [1500.0, 0, 1]])
    inputs = detector.effect.inputs(columns)
    # then the mean speed and unknown values have no effect, others have
    np.testing.assert_allclose(inputs[0][0], 0, atol=1e-9)
    np.testing.assert_array_equal(inputs[1], 0)
    assert inputs[2][0] > 1


def test_two_windows_are_enough_to_rank_by() -> None:
    # given two normal windows
    settings = settings_of("mel")
    frontend = settings.frontend(RATE)
    features = np.array([frontend.levels(without_offset(machine(seed), 1)).mean(axis=1).ravel() for seed in (0, 1)])
    detector = fit_band_profile(Profiles(features, np.arange(2), np.zeros((2, 0))), settings, frontend, window=SAMPLES)
    # when a normal one and one with a tone are scored
    tone = 0.2 * np.sin(2 * np.pi * 3000 * np.arange(SAMPLES) / RATE).astype(np.float32)
    score = Graph(detector.onnx_bytes(), device="cpu").run(np.stack([machine(9), machine(9) + tone])).score
    # then the tone is stranger
    assert np.isfinite(score).all()
    assert score[1] > score[0]


def test_too_few_windows_are_refused() -> None:
    settings = settings_of("mel")
    with pytest.raises(InputError, match="1 windows of normal sound, expected 2 or more"):
        fit_band_profile(
            Profiles(np.zeros((1, 16)), np.arange(1), np.zeros((1, 0))),
            settings,
            settings.frontend(RATE),
            window=SAMPLES,
        )


def test_samples_that_are_not_numbers_are_refused() -> None:
    settings = settings_of("mel")
    features = np.zeros((5, 16))
    features[2, 3] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        fit_band_profile(
            Profiles(features, np.arange(5), np.zeros((5, 0))), settings, settings.frontend(RATE), window=SAMPLES
        )


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"scale": "log"}, "low_hz"), ({"high_hz": 10.0, "low_hz": 20.0}, "high_hz"), ({"n_fft": 1023}, "an even number")],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        BandProfileSettings(**changes)  # type: ignore[arg-type]
