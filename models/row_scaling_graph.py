"""Standardised rows as nodes of an ONNX graph."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.onnx_builder import GraphBuilder, rows_per_group
from wheeltapper.models.row_scaling import RowScaling


def standardise_rows(graph: GraphBuilder, scaling: RowScaling, clip: float) -> str:
    """Append the formula for rows of any number; z, [N, T, C]."""
    filled = graph.node("Where", graph.node("IsNaN", "window"), graph.constant(scaling.typical), "window")
    scaled = graph.node(
        "Mul", graph.node("Sub", filled, graph.constant(scaling.mean)), graph.constant(1.0 / scaling.std)
    )
    return graph.node("Min", graph.node("Max", scaled, graph.constant(-clip)), graph.constant(clip))


def standardise(graph: GraphBuilder, scaling: RowScaling, clip: float) -> str:
    """Append the formula to a graph.

    Returns:
        z, [N, W / g, g * C]: g rows are seen as one (see `rows_per_group`), to be reshaped as the caller needs it.
    """
    rows, width = graph.window, graph.channels
    group = rows_per_group(rows, width)

    def repeated(values: np.ndarray) -> str:
        return graph.constant(np.tile(values, group))

    raw = graph.reshape("window", (-1, rows // group, group * width))
    filled = graph.node("Where", graph.node("IsNaN", raw), repeated(scaling.typical), raw)
    scaled = graph.node("Mul", graph.node("Sub", filled, repeated(scaling.mean)), repeated(1.0 / scaling.std))
    # Min and Max pass infinities to the bounds.
    return graph.node("Min", graph.node("Max", scaled, graph.constant(-clip)), graph.constant(clip))
