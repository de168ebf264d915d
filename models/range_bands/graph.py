"""Range bands as an ONNX graph, written node by node without torch; opset 17, no loops, no control flow.

For a window x [W, C] and the last K of its rows:

    u = clip((x - min) / (max - min), clip_low, clip_high)     z = clip((u - mean) / std, -clip, clip)
    d = D u, D [K, W]: row i is one-hot minus the weights of the moving average up to that row
    g = max(u - high, low - u, 0)                      outside of the range of training
    l = max(d - change_high, change_low - d, 0)        unusual against the recent past
    v = (min(g, l) + leak * g) / scale  (* down where u < low)
    s = (v / (1 + v / cap))^2                          saturates at cap^2
    contribution = sum over rows of w_i s_i            w_i ~ 0.5^(|K - 1 - lag - i| / h_score), sum 1

and the same for r = (z - center)(I - V V') in place of u, its contributions added with the residual weight. A channel
inside of its bands contributes 0 by that; where there are several channels, inside * clip((x - median) / (max - min), -clip,
clip)^2 of the scored row is added, which says in what order such channels stand.

How it is arranged, and why:
- float32 keeps about 7 digits. A channel that lives at 10,000 +- 1 would lose four of them to `x * gain - offset`, so a
  value near the channel's average is subtracted first, in raw units, and everything after is relative to it.
- D's rows sum to 0 and the projection is linear: D is applied to the clipped z before the projection, and the
  projection, 1 / std and 1 / scale are one matrix, used on 2 K rows instead of W.
- max(u - high, low - u, 0) = relu(|u - middle| - half width), and v's scale goes into its cap: fewer passes.
- Per-channel constants are repeated over a group of rows (see `rows_per_group`).
- The model has a second form, `run_graph`, for runs of rows. This one is for a window alone, which it scores faster.
- NaN becomes the channel's median of training: by itself it scores 0, and its `expected` is that median.
"""

from __future__ import annotations

import json

import numpy as np

from wheeltapper.models.onnx_builder import GraphBuilder, rows_per_group
from wheeltapper.models.range_bands.constants import GraphConstants, ViewConstants, graph_constants, row_weights
from wheeltapper.models.range_bands.fitted import FittedBands
from wheeltapper.models.range_bands.run_graph import run_outputs


def build_graph(fitted: FittedBands) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding` (3 C wide); it takes runs of rows."""
    settings, constants = fitted.settings, graph_constants(fitted)
    rows, kept, width = settings.window, settings.scored_rows, fitted.channels
    scored = rows - 1 - settings.lag
    graph = GraphBuilder(rows, width)
    wide, tall = _Repeated(graph, rows, width), _Repeated(graph, kept, width)

    raw = wide.fold("window")
    # x - x is NaN for infinities too, which the clip below handles well: only NaN itself is replaced.
    filled = graph.node("Where", graph.node("IsNaN", raw), wide.constant(constants.typical), raw)
    relative = graph.node(
        "Mul", graph.node("Sub", filled, wide.constant(constants.anchor)), wide.constant(constants.gain)
    )
    first = _clip(graph, relative, wide, constants.clip_low, constants.clip_high)
    change = graph.constant(constants.change)
    changes = graph.node("MatMul", change, wide.unfold(first))
    contribution = _view(graph, fitted, wide.last_rows(first, tall), tall.fold(changes), constants.first, weight=1.0)
    if constants.second is not None:
        second = constants.second
        clipped = _clip(graph, relative, wide, second.z_low, second.z_high)
        matrix = graph.constant(second.matrix)
        unfolded = wide.unfold(clipped)
        residual = graph.node("MatMul", graph.slice(unfolded, rows - kept, rows, 1), matrix)
        residual_changes = graph.node("MatMul", graph.node("MatMul", change, unfolded), matrix)
        part = _view(
            graph,
            fitted,
            tall.fold(residual),
            tall.fold(residual_changes),
            second.view,
            weight=settings.residual_weight,
        )
        contribution = graph.node("Add", contribution, part)

    last = _row(graph, wide.unfold(filled), scored)
    if constants.inside > 0:
        contribution = graph.node("Add", contribution, _inside(graph, fitted, last, constants))
    score = graph.sum(contribution, (1,))
    expected = graph.node(
        "Min", graph.node("Max", last, graph.constant(constants.low_raw)), graph.constant(constants.high_raw)
    )
    embedding = graph.node(
        "Concat",
        graph.node("Add", _row(graph, wide.unfold(first), scored), graph.constant(constants.offset)),
        _row(graph, changes, kept - 1 - settings.lag),
        graph.node("Log", graph.node("Add", contribution, graph.constant(1.0))),
        axis=1,
    )
    run = GraphBuilder(rows, width, prefix="run_")
    return graph.model_bytes_with_runs(
        {
            "score": (score, None),
            "contribution": (contribution, width),
            "expected": (expected, width),
            "embedding": (embedding, 3 * width),
        },
        run,
        run_outputs(run, settings, constants),
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )


class _Repeated:
    """Folds [N, rows, C] so that per-channel constants, repeated as often, broadcast over long runs."""

    def __init__(self, graph: GraphBuilder, rows: int, channels: int) -> None:
        self._graph, self._rows, self._channels = graph, rows, channels
        self._group = rows_per_group(rows, channels)
        self._unfolded: dict[str, str] = {}

    def fold(self, tensor: str) -> str:
        if self._group == 1:
            return tensor
        return self._graph.reshape(tensor, (-1, self._rows // self._group, self._group * self._channels))

    def unfold(self, tensor: str) -> str:
        if self._group == 1:
            return tensor
        if tensor not in self._unfolded:
            self._unfolded[tensor] = self._graph.reshape(tensor, (-1, self._rows, self._channels))
        return self._unfolded[tensor]

    def last_rows(self, tensor: str, fewer: _Repeated) -> str:
        """Of a folded tensor the last rows, folded as those of `fewer`."""
        before = self._rows - fewer._rows
        if self._group == fewer._group and before % self._group == 0:
            return self._graph.slice(tensor, before // self._group, self._rows // self._group, 1)
        return fewer.fold(self._graph.slice(self.unfold(tensor), before, self._rows, 1))

    def constant(self, values: np.ndarray) -> str:
        return self._graph.constant(np.tile(values, self._group))


def _row(graph: GraphBuilder, tensor: str, row: int) -> str:
    """One row of [N, rows, C], [N, C]."""
    return graph.node("Gather", tensor, graph.integers(row), axis=1)


def _clip(graph: GraphBuilder, tensor: str, wide: _Repeated, low: np.ndarray, high: np.ndarray) -> str:
    return graph.node("Min", graph.node("Max", tensor, wide.constant(low)), wide.constant(high))


def _view(
    graph: GraphBuilder, fitted: FittedBands, values: str, changes: str, bands: ViewConstants, *, weight: float
) -> str:
    """One view's contributions [N, C] from its values and changes [N, K, C], both folded.

    Args:
        weight: of the view.
    """
    settings = fitted.settings
    tall = _Repeated(graph, settings.scored_rows, fitted.channels)
    outside = _excess(graph, tall, values, bands.middle, bands.half_width)
    unusual = _excess(graph, tall, changes, bands.change_middle, bands.change_half_width)
    excess = graph.node("Min", outside, unusual)
    if settings.leak > 0:
        excess = graph.node("Add", excess, graph.node("Mul", outside, graph.constant(settings.leak)))
    if settings.down != 1:
        below = graph.node("Less", values, tall.constant(bands.middle - bands.half_width))
        excess = graph.node(
            "Mul", excess, graph.node("Where", below, graph.constant(settings.down), graph.constant(1.0))
        )
    saturated = graph.node("Div", excess, graph.node("Add", excess, tall.constant(bands.cap)))
    squared = tall.unfold(graph.node("Mul", saturated, saturated))
    weights = row_weights(settings.scored_rows, settings.score_half_life, settings.lag) * settings.cap**2 * weight
    return graph.reshape(graph.node("MatMul", graph.constant(weights[None, :]), squared), (-1, fitted.channels))


def _inside(graph: GraphBuilder, fitted: FittedBands, last: str, constants: GraphConstants) -> str:
    """[N, C] from the scored row: next to nothing, but in order."""
    root = np.sqrt(constants.inside)
    bound = fitted.settings.clip * root
    distance = graph.node(
        "Mul", graph.node("Sub", last, graph.constant(constants.typical)), graph.constant(constants.gain * root)
    )
    clipped = graph.node("Clip", distance, graph.constant(-bound), graph.constant(bound))
    return graph.node("Mul", clipped, clipped)


def _excess(graph: GraphBuilder, tall: _Repeated, tensor: str, middle: np.ndarray, half_width: np.ndarray) -> str:
    """How far outside of middle +- half_width; 0 inside."""
    distance = graph.node("Abs", graph.node("Sub", tensor, tall.constant(middle)))
    return graph.node("Relu", graph.node("Sub", distance, tall.constant(half_width)))
