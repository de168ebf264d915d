"""L2 norm as an ONNX graph, written node by node without torch."""

from __future__ import annotations

import json

from wheeltapper.models.l2_norm.fitted import FittedL2Norm
from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.row_scaling_graph import standardise


def build_graph(fitted: FittedL2Norm) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected` (the mean), `embedding` (the standardised row)."""
    settings = fitted.settings
    rows, width = settings.window, fitted.channels
    graph = GraphBuilder(rows, width)
    scaled = graph.reshape(standardise(graph, fitted.scaling, settings.clip), (-1, rows, width))
    weights = graph.constant(settings.row_weights()[None, :])
    contribution = graph.reshape(graph.node("MatMul", weights, graph.node("Mul", scaled, scaled)), (-1, width))
    score = graph.node("Sqrt", graph.node("ReduceSum", contribution, graph.integers([1]), keepdims=0))
    last = graph.reshape(graph.slice(scaled, rows - 1, rows, 1), (-1, width))
    # A constant takes its batch axis from what it is added to.
    expected = graph.node("Add", graph.node("Mul", last, graph.constant(0.0)), graph.constant(fitted.scaling.mean))
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, width),
            "expected": (expected, width),
            "embedding": (last, width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )
