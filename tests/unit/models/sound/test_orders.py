"""Order bands: numpy against the graph, and what they are for."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.sound.frontend_graph import Bank, band_energies, decibels, signals
from wheeltapper.models.sound.orders import OrderBands

RATE, SAMPLES = 8000, 16000
FRONT = FrontEnd(RATE, n_fft=1024, hop=512, bands=16)


def shaft(hz: float, order: float) -> np.ndarray:
    """[S]: a tone at an order of a shaft."""
    return 0.1 * np.sin(2 * np.pi * hz * order * np.arange(SAMPLES) / RATE)


def test_an_order_stays_in_its_band_at_any_speed() -> None:
    # given the eighth order of a shaft at three speeds
    orders = OrderBands.up_to(FRONT, 24, 3000)
    # when its order levels are taken, and its mel levels
    own = [orders.levels(shaft(rpm / 60, 8)[None], rpm).mean(axis=1)[0] for rpm in (1500.0, 2250.0, 3000.0)]
    plain = [FRONT.levels(shaft(rpm / 60, 8)).mean(axis=0) for rpm in (1500.0, 2250.0, 3000.0)]
    # then the order band is the same, the mel band is not
    assert len({int(np.nanargmax(levels)) for levels in own}) == 1
    assert len({int(levels.argmax()) for levels in plain}) == 3


def test_graph_gives_the_levels_of_numpy() -> None:
    # given windows at several speeds: one unknown, one standing, one so fast that high orders lie above half the rate
    orders = OrderBands.up_to(FRONT, 24, 3000)
    rpm = np.array([600.0, 1500.0, np.nan, 0.0, 6000.0])
    rng = np.random.default_rng(0)
    windows = np.stack([shaft(20, 3) + rng.normal(0, 0.01, SAMPLES) for _ in rpm]).astype(np.float32)
    # when the graph runs
    graph = GraphBuilder.for_sound(SAMPLES, 1, 1)
    weights, known = orders.graph_weights(graph, "attributes")
    _, energies = band_energies(graph, FRONT, signals(graph), [Bank(weights, orders.bands, per_window=True)])
    frames = FRONT.frames(SAMPLES)
    levels = graph.reshape(decibels(graph, energies, FRONT.floor), (-1, frames * orders.bands))
    model = graph.model_bytes(
        {"score": (graph.mean(levels, (1,)), None), "contribution": (known, 24), "embedding": (levels, frames * 24)},
        metadata={},
    )
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    there, found = session.run(
        ["contribution", "embedding"], {"window": windows, "attributes": rpm[:, None].astype(np.float32)}
    )
    # then known bands have the levels of numpy, and the same bands are known
    for window, speed, mask, got in zip(windows, rpm, there, found.reshape(5, frames, 24), strict=True):
        expected = orders.levels(window[None].astype(np.float64), speed)[0]
        np.testing.assert_array_equal(mask > 0, ~np.isnan(expected[0]))
        np.testing.assert_allclose(got[:, mask > 0], expected[:, mask > 0], rtol=0, atol=2e-3)
    assert there[[2, 3]].sum() == 0
    assert 0 < there[4].sum() < 24
