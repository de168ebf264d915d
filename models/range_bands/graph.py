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
- max(u - high, low - u, 0) = relu(|u - middle| - half width): fewer passes.
- Per-channel constants are repeated over a group of rows (see `rows_per_group`).
- NaN becomes the channel's median of training: by itself it scores 0, and its `expected` is that median.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from wheeltapper.models.onnx_builder import GraphBuilder, rows_per_group
from wheeltapper.models.range_bands.fitted import CONSTANT_GAIN, FittedBands


@dataclass(frozen=True)
class GraphConstants:
    """What graph and TorchScript twin compute with; arrays are float32 unless said otherwise.

    Attributes:
        anchor: [C] raw units, near each channel's average; u = (x - anchor) * gain + offset.
        gain, offset: [C]; typical: [C] raw units, replaces NaN.
        clip_low, clip_high: [C], bounds of (x - anchor) * gain.
        change: [K, W], D.
        weights: [K], sum 1.
        inside: of the settings; 0 for a single channel, which has nobody beside it to be ranked with.
        low_raw, high_raw: [C] the band in raw units, for `expected`.
        first: the view of the channels. second: of the residual, or None.
    """

    anchor: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    typical: np.ndarray
    clip_low: np.ndarray
    clip_high: np.ndarray
    change: np.ndarray
    weights: np.ndarray
    inside: float
    low_raw: np.ndarray
    high_raw: np.ndarray
    first: ViewConstants
    second: ResidualConstants | None


@dataclass(frozen=True)
class ViewConstants:
    """Bands around the view's values, divided by scale where the values are; all [C] float32."""

    middle: np.ndarray
    half_width: np.ndarray
    change_middle: np.ndarray
    change_half_width: np.ndarray


@dataclass(frozen=True)
class ResidualConstants:
    """Second view: clip (x - anchor) * gain to [z_low, z_high] [C], times matrix [C, C]: r / scale, up to a shift that
    the bands' middle holds."""

    z_low: np.ndarray
    z_high: np.ndarray
    matrix: np.ndarray
    view: ViewConstants


def graph_constants(fitted: FittedBands) -> GraphConstants:
    """Fold the fitted parameters, in double precision, into what float32 arithmetic can use safely."""
    settings = fitted.settings
    constant = fitted.gain == CONSTANT_GAIN
    anchor = np.where(constant, fitted.minimum, fitted.average).astype(np.float32)
    # The anchor as float32 holds it, not as it was meant: all else is exact relative to that.
    offset = (anchor.astype(np.float64) - fitted.minimum) * fitted.gain
    bands = fitted.bands
    second = None
    if fitted.residual is not None:
        view = fitted.residual
        mean = view.mean - offset
        reach = settings.clip * view.std
        matrix = view.projector / view.std[:, None] / view.bands.scale[None, :]
        shift = -(mean / view.std + view.center) @ view.projector / view.bands.scale
        second = ResidualConstants(
            z_low=_float32(np.maximum(mean - reach, fitted.clip_low - offset)),
            z_high=_float32(np.minimum(mean + reach, fitted.clip_high - offset)),
            matrix=_float32(matrix),
            view=ViewConstants(
                middle=_float32((view.bands.high + view.bands.low) / 2 / view.bands.scale - shift),
                half_width=_float32((view.bands.high - view.bands.low) / 2 / view.bands.scale),
                change_middle=_float32((view.bands.change_high + view.bands.change_low) / 2 / view.bands.scale),
                change_half_width=_float32((view.bands.change_high - view.bands.change_low) / 2 / view.bands.scale),
            ),
        )
    return GraphConstants(
        anchor=anchor,
        gain=_float32(fitted.gain),
        offset=_float32(offset),
        typical=_float32(fitted.typical),
        clip_low=_float32(fitted.clip_low - offset),
        clip_high=_float32(fitted.clip_high - offset),
        change=_float32(change_matrix(settings.window, settings.scored_rows, settings.baseline_half_life)),
        weights=_float32(row_weights(settings.scored_rows, settings.score_half_life, settings.lag)),
        inside=settings.inside if fitted.channels > 1 else 0.0,
        low_raw=_float32(fitted.minimum + bands.low / fitted.gain),
        high_raw=_float32(fitted.minimum + bands.high / fitted.gain),
        first=ViewConstants(
            middle=_float32((bands.high + bands.low) / 2 - offset),
            half_width=_float32((bands.high - bands.low) / 2),
            change_middle=_float32((bands.change_high + bands.change_low) / 2),
            change_half_width=_float32((bands.change_high - bands.change_low) / 2),
        ),
        second=second,
    )


def change_matrix(window: int, scored_rows: int, half_life: float) -> np.ndarray:
    """D [K, W] float64: (D u)_i is the i-th scored row less its moving average over the W - K rows up to it."""
    rows = window - scored_rows
    weights = 0.5 ** (np.arange(rows)[::-1] / half_life)
    weights /= weights.sum()
    matrix = np.zeros((scored_rows, window))
    for row in range(scored_rows):
        matrix[row, row + 1 : row + 1 + rows] = -weights
        matrix[row, row + rows] += 1.0
    return matrix


def row_weights(scored_rows: int, half_life: float, lag: int) -> np.ndarray:
    """w [K] float64, sum 1, largest at the scored row."""
    weights = 0.5 ** (np.abs(scored_rows - 1 - lag - np.arange(scored_rows)) / half_life)
    return np.asarray(weights / weights.sum())


def build_graph(fitted: FittedBands) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding` (3 C wide)."""
    settings, constants = fitted.settings, graph_constants(fitted)
    rows, kept, width = settings.window, settings.scored_rows, fitted.channels
    scored = rows - 1 - settings.lag
    graph = GraphBuilder(rows, width)
    wide = _Repeated(graph, rows, width)

    raw = wide.fold("window")
    # x - x is NaN for infinities too, which the clip below handles well: only NaN itself is replaced.
    filled = graph.node("Where", graph.node("IsNaN", raw), wide.constant(constants.typical), raw)
    relative = graph.node(
        "Mul", graph.node("Sub", filled, wide.constant(constants.anchor)), wide.constant(constants.gain)
    )
    first = wide.unfold(_clip(graph, relative, wide, constants.clip_low, constants.clip_high))
    change = graph.constant(constants.change)

    values = graph.slice(first, rows - kept, rows, 1)
    changes = graph.node("MatMul", change, first)
    inverse_scale = 1.0 / fitted.bands.scale
    contribution = _view(graph, fitted, values, changes, constants.first, inverse_scale, weight=1.0)
    if constants.second is not None:
        second = constants.second
        clipped = wide.unfold(_clip(graph, relative, wide, second.z_low, second.z_high))
        matrix = graph.constant(second.matrix)
        residual = graph.node("MatMul", graph.slice(clipped, rows - kept, rows, 1), matrix)
        residual_changes = graph.node("MatMul", graph.node("MatMul", change, clipped), matrix)
        part = _view(graph, fitted, residual, residual_changes, second.view, None, weight=settings.residual_weight)
        contribution = graph.node("Add", contribution, part)

    last = graph.reshape(graph.slice(wide.unfold(filled), scored, scored + 1, 1), (-1, width))
    if constants.inside > 0:
        contribution = graph.node("Add", contribution, _inside(graph, fitted, last, constants))
    score = graph.node("ReduceSum", contribution, graph.integers([1]), keepdims=0)
    expected = graph.node(
        "Min", graph.node("Max", last, graph.constant(constants.low_raw)), graph.constant(constants.high_raw)
    )
    place = kept - 1 - settings.lag
    last_value = graph.reshape(graph.slice(values, place, place + 1, 1), (-1, width))
    last_change = graph.reshape(graph.slice(changes, place, place + 1, 1), (-1, width))
    embedding = graph.node(
        "Concat",
        graph.node("Add", last_value, graph.constant(constants.offset)),
        last_change,
        graph.node("Log", graph.node("Add", contribution, graph.constant(1.0))),
        axis=1,
    )
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, width),
            "expected": (expected, width),
            "embedding": (embedding, 3 * width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )


class _Repeated:
    """Folds [N, rows, C] so that per-channel constants, repeated as often, broadcast over long runs."""

    def __init__(self, graph: GraphBuilder, rows: int, channels: int) -> None:
        self._graph, self._rows, self._channels = graph, rows, channels
        self._group = rows_per_group(rows, channels)

    def fold(self, tensor: str) -> str:
        if self._group == 1:
            return tensor
        return self._graph.reshape(tensor, (-1, self._rows // self._group, self._group * self._channels))

    def unfold(self, tensor: str) -> str:
        return tensor if self._group == 1 else self._graph.reshape(tensor, (-1, self._rows, self._channels))

    def constant(self, values: np.ndarray) -> str:
        return self._graph.constant(np.tile(values, self._group))


def _clip(graph: GraphBuilder, tensor: str, wide: _Repeated, low: np.ndarray, high: np.ndarray) -> str:
    return graph.node("Min", graph.node("Max", tensor, wide.constant(low)), wide.constant(high))


def _view(
    graph: GraphBuilder,
    fitted: FittedBands,
    values: str,
    changes: str,
    bands: ViewConstants,
    inverse_scale: np.ndarray | None,
    *,
    weight: float,
) -> str:
    """One view's contributions [N, C] from its values and changes [N, K, C].

    Args:
        inverse_scale: [C], where the values were not divided by scale yet.
        weight: of the view.
    """
    settings = fitted.settings
    tall = _Repeated(graph, settings.scored_rows, fitted.channels)
    values, changes = tall.fold(values), tall.fold(changes)
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
    if inverse_scale is not None:
        excess = graph.node("Mul", excess, tall.constant(_float32(inverse_scale)))
    # v / (1 + v / cap) = cap * v / (cap + v); cap^2 goes into the row weights.
    saturated = graph.node("Div", excess, graph.node("Add", excess, graph.constant(settings.cap)))
    squared = tall.unfold(graph.node("Mul", saturated, saturated))
    weights = row_weights(settings.scored_rows, settings.score_half_life, settings.lag) * settings.cap**2 * weight
    return graph.reshape(graph.node("MatMul", graph.constant(weights[None, :]), squared), (-1, fitted.channels))


def _inside(graph: GraphBuilder, fitted: FittedBands, last: str, constants: GraphConstants) -> str:
    """[N, C] from the scored row: next to nothing, but in order."""
    settings = fitted.settings
    distance = graph.node(
        "Mul", graph.node("Sub", last, graph.constant(constants.typical)), graph.constant(constants.gain)
    )
    clipped = graph.node(
        "Min", graph.node("Max", distance, graph.constant(-settings.clip)), graph.constant(settings.clip)
    )
    return graph.node("Mul", graph.node("Mul", clipped, clipped), graph.constant(constants.inside))


def _excess(graph: GraphBuilder, tall: _Repeated, tensor: str, middle: np.ndarray, half_width: np.ndarray) -> str:
    """How far outside of middle +- half_width; 0 inside."""
    distance = graph.node("Abs", graph.node("Sub", tensor, tall.constant(middle)))
    return graph.node("Relu", graph.node("Sub", distance, tall.constant(half_width)))


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)
