"""Range bands of a run of rows: the formulas of `graph` for every window of [N, T, C] at once.

No step but the last average depends on where a window begins, so a row is scaled, compared with its recent past and scored once
for all windows that it lies in. Both averages are products with a banded matrix (`onnx_builder.banded`), cut to the length of the run.

How it is arranged, and why:
- Channels come before time: a per-channel constant then broadcasts over a whole run, and the averages of all runs, channels and views
  are one product of two matrices.
- Both views are one tensor of 2 C channels from there on: half the operators.
- The projection comes before the average here: in a long run that is no more work, and the views can be one.
"""

from __future__ import annotations

import numpy as np

from wheeltapper.models.onnx_builder import LAST, LONGEST_RUN, GraphBuilder, Outputs, banded
from wheeltapper.models.range_bands.constants import GraphConstants, change_taps, row_weights
from wheeltapper.models.range_bands.settings import RangeBandSettings

_CHANNELS, _TIME = 1, 2


def run_outputs(graph: GraphBuilder, settings: RangeBandSettings, constants: GraphConstants) -> Outputs:
    """Append the formulas to a builder; outputs are [N, T - W + 1, ..]."""
    run = _Run(graph, settings, constants)
    contribution = run.contribution()
    score = graph.sum(contribution, (_CHANNELS,))
    embedding = graph.node(
        "Concat",
        graph.node("Add", run.scored(run.values), run.column(constants.offset)),
        run.scored(run.changes),
        graph.node("Log", graph.node("Add", contribution, graph.constant(1.0))),
        axis=_CHANNELS,
    )
    width = graph.channels
    return {
        "score": (score, None),
        "contribution": (run.turned(contribution), width),
        "expected": (run.turned(run.expected()), width),
        "embedding": (run.turned(embedding), 3 * width),
    }


class _Run:
    """The parts of the graph; tensors are [N, C or 2 C, time].

    Attributes:
        last: [N, C, n], the scored rows in raw units.
        values, changes: [N, C or 2 C, n + K - 1], of every row that an average over scored rows takes in.
    """

    def __init__(self, graph: GraphBuilder, settings: RangeBandSettings, constants: GraphConstants) -> None:
        self._graph, self._settings, self._constants = graph, settings, constants
        rows, kept, width = settings.window, settings.scored_rows, graph.channels
        # The reshape changes nothing. It keeps onnxruntime from moving the transposition behind what follows, where it costs more.
        turned = graph.reshape(graph.node("Transpose", "window", perm=[0, 2, 1]), (0, width, -1))
        filled = graph.node("Where", graph.node("IsNaN", turned), self.column(constants.typical), turned)
        relative = graph.node(
            "Mul", graph.node("Sub", filled, self.column(constants.anchor)), self.column(constants.gain)
        )
        both = self._clip(relative, constants.clip_low, constants.clip_high)
        if constants.second is not None:
            second = constants.second
            clipped = self._clip(relative, second.z_low, second.z_high)
            residual = graph.node("MatMul", graph.constant(second.matrix.T), clipped)
            both = graph.node("Concat", both, residual, axis=_CHANNELS)

        time = graph.node("Shape", "window", start=1, end=2)
        self._recent = graph.node("Add", time, graph.integers([kept - rows]))  # n + K - 1
        self._windows = graph.node("Add", time, graph.integers([1 - rows]))  # n
        # The average of a row reaches to one row behind the window's first: a weight of 0 spares cutting it off.
        taps = np.concatenate([[0.0], change_taps(rows, kept, settings.baseline_half_life)])
        self.changes = graph.node("MatMul", both, self._band(taps, LONGEST_RUN - 1 + kept, time, self._recent))
        self.values = graph.slice(both, rows - kept, LAST, _TIME)
        self.last = self._until_lag(filled, rows - 1 - settings.lag)

    def column(self, values: np.ndarray) -> str:
        """[C] constants, one each channel."""
        return self._graph.constant(np.asarray(values).reshape(-1, 1))

    def turned(self, tensor: str) -> str:
        """[N, C, n] to [N, n, C]."""
        return self._graph.node("Transpose", tensor, perm=[0, 2, 1])

    def scored(self, tensor: str) -> str:
        """Of values or changes, the scored rows in the view of the channels, [N, C, n]."""
        found = tensor
        if self._constants.second is not None:
            found = self._graph.slice(found, 0, self._graph.channels, _CHANNELS)
        return self._until_lag(found, self._settings.scored_rows - 1 - self._settings.lag)

    def contribution(self) -> str:
        """[N, C, n]."""
        graph, settings, constants = self._graph, self._settings, self._constants
        second = constants.second
        views = [constants.first] + ([] if second is None else [second.view])
        outside = self._excess(self.values, [v.middle for v in views], [v.half_width for v in views])
        unusual = self._excess(self.changes, [v.change_middle for v in views], [v.change_half_width for v in views])
        excess = graph.node("Min", outside, unusual)
        if settings.leak > 0:
            excess = graph.node("Add", excess, graph.node("Mul", outside, graph.constant(settings.leak)))
        if settings.down != 1:
            low = self.column(np.concatenate([view.middle - view.half_width for view in views]))
            weight = graph.node(
                "Where",
                graph.node("Less", self.values, low),
                graph.constant(settings.down),
                graph.constant(1.0),
            )
            excess = graph.node("Mul", excess, weight)
        caps = self.column(np.concatenate([view.cap for view in views]))
        saturated = graph.node("Div", excess, graph.node("Add", excess, caps))
        squared = graph.node("Mul", saturated, saturated)
        weights = row_weights(settings.scored_rows, settings.score_half_life, settings.lag) * settings.cap**2
        found = graph.node("MatMul", squared, self._band(weights, LONGEST_RUN, self._recent, self._windows))
        if second is not None:
            one = np.eye(graph.channels)
            found = graph.node("MatMul", graph.constant(np.hstack([one, settings.residual_weight * one])), found)
        if constants.inside > 0:
            root = np.sqrt(constants.inside)
            gain = self.column(constants.gain * root)
            distance = graph.node("Mul", graph.node("Sub", self.last, self.column(constants.typical)), gain)
            bound = settings.clip * root
            distance = graph.node("Clip", distance, graph.constant(-bound), graph.constant(bound))
            found = graph.node("Add", found, graph.node("Mul", distance, distance))
        return found

    def expected(self) -> str:
        """[N, C, n]."""
        return self._clip(self.last, self._constants.low_raw, self._constants.high_raw)

    def _clip(self, tensor: str, low: np.ndarray, high: np.ndarray) -> str:
        return self._graph.node("Min", self._graph.node("Max", tensor, self.column(low)), self.column(high))

    def _excess(self, tensor: str, middle: list[np.ndarray], half_width: list[np.ndarray]) -> str:
        """How far outside of middle +- half_width; 0 inside."""
        graph = self._graph
        distance = graph.node("Abs", graph.node("Sub", tensor, self.column(np.concatenate(middle))))
        return graph.node("Relu", graph.node("Sub", distance, self.column(np.concatenate(half_width))))

    def _band(self, taps: np.ndarray, columns: int, height: str, width: str) -> str:
        """The upper left [height, width] of a banded matrix, which has up to so many columns."""
        graph = self._graph
        size = graph.node("Concat", height, width, axis=0)
        return graph.node("Slice", graph.constant(banded(taps, columns)), graph.integers([0, 0]), size)

    def _until_lag(self, tensor: str, first: int) -> str:
        lag = self._settings.lag
        return self._graph.slice(tensor, first, -lag if lag else LAST, _TIME)
