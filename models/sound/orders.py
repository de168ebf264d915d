"""Order tracking: bands over frequency divided by shaft speed, so that a shaft's harmonics stay in their bands at any speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend import FrontEnd, SplitDft

LOWEST_ORDER = 0.5
RPM_PER_HZ = 60.0
# Less than that is a shaft that stands still, and no speed to divide by.
LEAST_RPM = 1.0
TINIEST = 1e-20


@dataclass(frozen=True, eq=False)
class OrderBands:
    """Triangles over shaft orders.

    A triangle's sides are never narrower than the distance between two bins of the DFT. Its weights have the sum 1, so that a level
    does not depend on how many bins lie in it.

    Attributes:
        frontend: whose spectra are used.
        points: [bands + 2] orders, ascending.
    """

    frontend: FrontEnd
    points: np.ndarray

    @classmethod
    def up_to(cls, frontend: FrontEnd, bands: int, fastest_rpm: float) -> OrderBands:
        """Equally wide on a logarithmic scale, from half an order to the highest that the fastest shaft shows."""
        highest = frontend.sample_rate / 2 / (max(fastest_rpm, LEAST_RPM) / RPM_PER_HZ)
        return cls(frontend, np.geomspace(LOWEST_ORDER, max(highest, 4 * LOWEST_ORDER), bands + 2))

    @property
    def bands(self) -> int:
        return len(self.points) - 2

    def weights(self, rpm: np.ndarray) -> np.ndarray:
        """[N] rpm, NaN where it is unknown, to [N, bands, bins] float64; all 0 where it is unknown, or above half the rate."""
        known = np.nan_to_num(rpm, nan=0.0) >= LEAST_RPM
        hz = np.where(known, np.nan_to_num(rpm, nan=LEAST_RPM), LEAST_RPM)[:, None, None] / RPM_PER_HZ
        low, centre, high = (self.points[part][None, :, None] for part in (slice(-2), slice(1, -1), slice(2, None)))
        places = np.fft.rfftfreq(self.frontend.n_fft, 1 / self.frontend.sample_rate)[None, None, :]
        bin_hz = self.frontend.sample_rate / self.frontend.n_fft
        left, right = np.maximum((centre - low) * hz, bin_hz), np.maximum((high - centre) * hz, bin_hz)
        away = places - centre * hz
        shape = np.maximum(0.0, np.minimum(1 + away / left, 1 - away / right)) * known[:, None, None]
        return np.asarray(shape / np.maximum(shape.sum(axis=2, keepdims=True), TINIEST))

    def levels(self, signals: np.ndarray, rpm: float) -> np.ndarray:
        """[C, S] of one window to [C, frames, bands] dB; NaN where the speed is unknown or the band lies above half the rate."""
        weights = self.weights(np.array([rpm]))[0]
        found = np.empty((len(signals), self.frontend.frames(signals.shape[1]), self.bands))
        for channel, samples in enumerate(signals):
            for part, power in self.frontend.spectra(samples):
                found[channel, part] = 10 * np.log10(power @ weights.T + self.frontend.floor)
        return np.asarray(np.where(weights.sum(axis=1) > 0, found, np.nan))

    def graph_weights(self, graph: GraphBuilder, rpm: str) -> tuple[str, str]:
        """Append `weights` for spectra as they lie in memory.

        Args:
            rpm: tensor [N, 1].

        Returns:
            weights [N, columns, bands], and which bands have any: [N, bands], 1 or 0.
        """
        split = SplitDft.of(self.frontend.n_fft)
        bin_hz = self.frontend.sample_rate / self.frontend.n_fft
        # A comparison with NaN is false.
        known = graph.node("GreaterOrEqual", rpm, graph.constant(LEAST_RPM))
        safe = graph.node("Where", known, rpm, graph.constant(LEAST_RPM))
        hz = graph.reshape(graph.node("Mul", safe, graph.constant(1 / RPM_PER_HZ)), (-1, 1, 1))
        low, centre, high = self.points[:-2], self.points[1:-1], self.points[2:]

        def wide(orders: np.ndarray) -> str:
            return graph.node("Max", graph.node("Mul", hz, graph.constant(orders)), graph.constant(bin_hz))

        places = graph.constant((split.bins * bin_hz)[:, None])
        away = graph.node("Sub", places, graph.node("Mul", hz, graph.constant(centre)))
        one = graph.constant(1.0)
        rising = graph.node("Add", one, graph.node("Div", away, wide(centre - low)))
        falling = graph.node("Sub", one, graph.node("Div", away, wide(high - centre)))
        shape = graph.node("Relu", graph.node("Min", rising, falling))
        shape = graph.node("Mul", shape, graph.constant(split.counted[:, None]))
        shape = graph.node("Mul", shape, graph.reshape(graph.node("Cast", known, to=1), (-1, 1, 1)))
        # Each bin has two columns, of its real and its imaginary part.
        total = graph.node("Mul", graph.sum(shape, (1,), keepdims=True), graph.constant(0.5))
        weights = graph.node("Div", shape, graph.node("Max", total, graph.constant(TINIEST)))
        some = graph.node("Cast", graph.node("Greater", total, graph.constant(0.0)), to=1)
        return weights, graph.reshape(some, (-1, self.bands))
