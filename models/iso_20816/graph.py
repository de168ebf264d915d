"""The zones as an ONNX graph, written node by node without torch; opset 18."""

from __future__ import annotations

import json

from wheeltapper.models.iso_20816.fitted import FittedVelocityZones
from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend_graph import band_energies, signals


def build_graph(fitted: FittedVelocityZones) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution` [N, C * bands, columns], `embedding` [N, C * bands]."""
    bands, channels = fitted.frontend.bands, fitted.channels
    graph = GraphBuilder.for_sound(fitted.window, channels)
    (squares,) = band_energies(graph, fitted.frontend, signals(graph, without_offset=True))
    turned = graph.node("Transpose", squares, perm=[0, 1, 3, 2])
    by_column = graph.node("MatMul", turned, graph.constant(fitted.membership))
    by_band = graph.sum(by_column, (3,))
    rms = graph.node("Sqrt", graph.sum(by_band, (2,)))
    largest = graph.node("ReduceMax", rms, graph.integers([1]), keepdims=0)
    contribution = graph.reshape(by_column, (-1, channels * bands, fitted.time_columns))
    return graph.model_bytes(
        {
            "score": (graph.node("Mul", largest, graph.constant(1 / fitted.limit)), None),
            "contribution": (
                graph.node("Mul", contribution, graph.constant(1 / fitted.limit**2)),
                (channels * bands, fitted.time_columns),
            ),
            "embedding": (graph.reshape(graph.node("Sqrt", by_band), (-1, channels * bands)), channels * bands),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )
