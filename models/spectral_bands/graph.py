"""Spectral bands as an ONNX graph."""

from __future__ import annotations

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend_graph import band_levels
from wheeltapper.models.spectral_bands.fitted import FittedSpectralBands


def build_graph(fitted: FittedSpectralBands) -> bytes:
    """The formulas of `fit`: window [N, C * S] to score, contribution [N, C * bands, T] and embedding [N, C * bands]."""
    graph = GraphBuilder.for_sound(fitted.window, fitted.channels)
    bands = fitted.channels * fitted.frontend.bands
    levels = band_levels(graph, fitted.frontend)  # [N, C, frames, bands]
    profile = graph.reshape(graph.mean(levels, (2,)), (-1, bands))
    standardised = graph.node(
        "Mul", graph.node("Sub", profile, graph.constant(fitted.mean)), graph.constant(1 / fitted.spread)
    )
    squares = graph.node("Mul", standardised, standardised)
    top, _ = graph.nodes(2, "TopK", squares, graph.integers([fitted.settings.top]), axis=1, largest=1, sorted=1)
    by_time = graph.node(
        "MatMul", graph.node("Transpose", levels, perm=[0, 1, 3, 2]), graph.constant(fitted.column_weights())
    )
    columns = graph.reshape(by_time, (-1, bands, fitted.time_columns))
    away = graph.node(
        "Mul",
        graph.node("Sub", columns, graph.constant(fitted.mean[:, None])),
        graph.constant(1 / fitted.column_spread[:, None]),
    )
    return graph.model_bytes(
        {
            "score": (graph.mean(top, (1,)), None),
            "contribution": (graph.node("Mul", away, away), (bands, fitted.time_columns)),
            "embedding": (standardised, bands),
        },
        metadata={"detector": fitted.detector},
    )
