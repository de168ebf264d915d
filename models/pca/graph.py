"""PCA error as an ONNX graph, written node by node without torch; opset 17, no loops, no control flow."""

from __future__ import annotations

import json

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.pca.fitted import FittedPca
from wheeltapper.models.row_scaling_graph import standardise


def build_graph(fitted: FittedPca) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding` (the last row's components, or its
    standardised values where there are none; for a single channel the window's)."""
    settings = fitted.settings
    rows, width = settings.window, fitted.channels
    vector_shape = (-1, 1, rows) if width == 1 else (-1, rows, width)
    graph = GraphBuilder(rows, width)
    scaled = standardise(graph, fitted.scaling, settings.clip)
    vectors = graph.node("Sub", graph.reshape(scaled, vector_shape), graph.constant(fitted.center))
    if fitted.vectors.shape[1]:
        parts = graph.node("MatMul", vectors, graph.constant(fitted.vectors))
        modelled = graph.node("MatMul", parts, graph.constant(fitted.vectors.T))
        residual = graph.node("Sub", vectors, modelled)
    else:
        parts, residual = vectors, vectors
        modelled = graph.node("Mul", vectors, graph.constant(0.0))
    squared = graph.reshape(graph.node("Mul", residual, residual), (-1, rows, width))
    weights = graph.constant(settings.row_weights()[None, :])
    contribution = graph.reshape(graph.node("MatMul", weights, squared), (-1, width))
    score = graph.node("ReduceSum", contribution, graph.integers([1]), keepdims=0)

    vector_rows = vector_shape[1]
    last_modelled = graph.reshape(graph.slice(modelled, vector_rows - 1, vector_rows, 1), (-1, vector_shape[2]))
    if width == 1:
        last_modelled = graph.slice(last_modelled, rows - 1, rows, 1)
    center = fitted.center[-1:] if width == 1 else fitted.center
    expected = graph.node(
        "Add",
        graph.node("Mul", last_modelled, graph.constant(fitted.std)),
        graph.constant(fitted.mean + fitted.std * center),
    )
    embedding_width = fitted.vectors.shape[1] or vector_shape[2]
    embedding = graph.reshape(graph.slice(parts, vector_rows - 1, vector_rows, 1), (-1, embedding_width))
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, width),
            "expected": (expected, width),
            "embedding": (embedding, embedding_width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )
