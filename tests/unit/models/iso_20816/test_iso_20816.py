"""The zones of vibration velocity: known sines, units, integration, graph and twin, and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.sounds import make_sounds
from wheeltapper.models.iso_20816.fit import VelocityZones, fit_velocity_zones
from wheeltapper.models.iso_20816.fitted import STANDARD_GRAVITY
from wheeltapper.models.iso_20816.settings import Unit, VelocityZoneSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.calibration import alarm_level
from wheeltapper.training.fitting.options import TrainOptions

RATE = SAMPLES = 8000


def zones(unit: Unit = "g", channels: int = 1, **settings: object) -> VelocityZones:
    chosen = VelocityZoneSettings(unit=unit, **settings)  # type: ignore[arg-type]
    return fit_velocity_zones(chosen, sample_rate=RATE, window=SAMPLES, units=("",) * channels)


def sine(hz: float, amplitude: float) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(SAMPLES) / RATE + 0.3)).astype(np.float32)


@pytest.mark.parametrize("hz", [25.0, 50.0, 333.0, 900.0])
@pytest.mark.parametrize("unit", ["g", "m/s2", "mm/s"])
def test_a_sine_of_known_velocity_has_it(hz: float, unit: Unit) -> None:
    # given a velocity of 3 mm/s RMS at one frequency, as a sensor of each unit gives it, with gravity
    peak = 3 * np.sqrt(2)
    acceleration = peak * 2 * np.pi * hz
    amplitude = {"g": acceleration / STANDARD_GRAVITY, "m/s2": acceleration / 1000, "mm/s": peak}[unit]
    offset = 1.0 if unit == "g" else 0.0
    # when it is scored against 4.5 mm/s
    found = Graph(zones(unit).onnx_bytes(), device="cpu").run(sine(hz, amplitude)[None] + offset)
    # then the score is 3 / 4.5, and nearly all blame lies in bands around its frequency
    assert found.score[0] == pytest.approx(3 / 4.5, rel=0.02)
    near = np.array([low / 1.3 <= hz <= high * 1.3 for _, low, high in zones(unit).bands])
    assert found.contribution[0][near].sum() > 0.98 * found.contribution[0].sum()


@pytest.mark.parametrize("hz", [2.5, 1500.0, 3000.0])
def test_what_lies_outside_of_the_band_does_not_count(hz: float) -> None:
    # given a strong velocity below 10 Hz or above 1000 Hz
    found = Graph(zones("mm/s").onnx_bytes(), device="cpu").run(sine(hz, 10.0)[None])
    # then hardly any of it is seen
    assert found.score[0] < 0.05


def test_graph_and_twin_are_numpy_and_the_worst_axis_counts() -> None:
    # given two axes, the second worse
    detector = zones("mm/s", channels=2)
    rng = np.random.default_rng(0)
    window = np.concatenate([sine(100, 1.0) + rng.normal(0, 0.1, SAMPLES), sine(60, 5.0)]).astype(np.float32)
    # when graph and twin score them
    found = Graph(detector.onnx_bytes(), device="cpu").run(window[None])
    raw = detector.torchscript_bytes()
    assert raw is not None
    score, contribution, embedding = torch.jit.load(io.BytesIO(raw))(torch.from_numpy(window[None]))
    # then both have numpy's RMS of the worse axis over the limit
    rms = detector.rms(window)
    assert rms.argmax() == 1
    assert found.score[0] == pytest.approx(rms.max() / 4.5, rel=1e-5)
    assert float(score[0]) == pytest.approx(rms.max() / 4.5, rel=1e-5)
    # and a channel's contributions add up to the square of its share of the limit
    np.testing.assert_allclose(found.contribution[0].reshape(2, -1).sum(axis=1), (rms / 4.5) ** 2, rtol=1e-4)
    np.testing.assert_allclose(contribution.numpy(), found.contribution, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(embedding.numpy(), found.embedding, rtol=1e-3, atol=1e-6)


def test_the_alarm_level_is_the_limit_whatever_training_shows() -> None:
    # given clips of an accelerometer in g
    series = make_sounds(8, rate=RATE, unit="g")
    # when the rule is made
    fitted, scores = train_detector("iso-20816", series, TrainOptions(settings={"machine_class": "large-flexible"}))
    calibration = alarm_level(scores)
    # then 1 is the alarm level, 0 the centre
    assert (calibration.center, calibration.alarm_level, calibration.method) == (0.0, 1.0, "fixed")
    assert fitted.parameters["limit_d"] == 11.0
    assert fitted.parameters["unit"] == "g"


def test_units_and_windows_that_say_too_little_are_refused() -> None:
    with pytest.raises(InputError, match="units are V, expected one of g"):
        train_detector("iso-20816", make_sounds(8, rate=RATE, unit="V"))
    with pytest.raises(InputError, match="units are not named"):
        train_detector("iso-20816", make_sounds(8, rate=RATE))
    short = make_sounds(8, rate=RATE, unit="g")
    with pytest.raises(InputError, match=r"0\.2 s, expected 0\.4 s or more to see 10 Hz"):
        train_detector("iso-20816", short, TrainOptions(window=1600))
    with pytest.raises(InputError, match="half of the sample rate"):
        train_detector("iso-20816", replace(short, sample_rate=1500))


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"limit_c is 9\.0, expected between limit_b, 1\.4 mm/s, and limit_d, 4\.5 mm/s"
    ):
        VelocityZoneSettings(limit_c=9.0)
    with pytest.raises(InputError, match="high_hz"):
        VelocityZoneSettings(high_hz=5.0)
