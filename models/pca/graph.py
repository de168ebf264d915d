"""PCA error as an ONNX graph, written node by node without torch; opset 17, no loops, no control flow."""

from __future__ import annotations

import json

from wheeltapper.models.onnx_builder import GraphBuilder, Outputs
from wheeltapper.models.pca.fitted import FittedPca
from wheeltapper.models.row_scaling_graph import standardise, standardise_rows
from wheeltapper.models.runs_graph import RunGraph


def build_graph(fitted: FittedPca) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding` (the last row's components, or its
    standardised values where there are none; for a single channel the window's); of several channels it takes runs of rows."""
    settings = fitted.settings
    rows, width = settings.window, fitted.channels
    vector_shape = (-1, 1, rows) if width == 1 else (-1, rows, width)
    graph = GraphBuilder(rows, width)
    scaled = standardise(graph, fitted.scaling, settings.clip)
    vectors = graph.node("Sub", graph.reshape(scaled, vector_shape), graph.constant(fitted.center))
    parts, modelled, residual = _projected(graph, fitted, vectors)
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
    outputs: Outputs = {
        "score": (score, None),
        "contribution": (contribution, width),
        "expected": (expected, width),
        "embedding": (embedding, embedding_width),
    }
    metadata = {"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)}
    if rows == 1 or width == 1:
        return graph.model_bytes(outputs, metadata=metadata)
    run = RunGraph.beside(graph)
    return graph.model_bytes_with_runs(outputs, run, _run_outputs(run, fitted), metadata=metadata)


def _run_outputs(run: RunGraph, fitted: FittedPca) -> Outputs:
    """The same of every window of a run, several channels: a row is projected once."""
    settings, width = fitted.settings, fitted.channels
    scaled = standardise_rows(run, fitted.scaling, settings.clip)
    vectors = run.node("Sub", scaled, run.constant(fitted.center))
    parts, modelled, residual = _projected(run, fitted, vectors)
    contribution = run.average(run.node("Mul", residual, residual), settings.row_weights())
    expected = run.node(
        "Add",
        run.node("Mul", run.last_rows(modelled), run.constant(fitted.std)),
        run.constant(fitted.mean + fitted.std * fitted.center),
    )
    return {
        "score": (run.sum(contribution, (2,)), None),
        "contribution": (contribution, width),
        "expected": (expected, width),
        "embedding": (run.last_rows(parts), fitted.vectors.shape[1] or width),
    }


def _projected(graph: GraphBuilder, fitted: FittedPca, vectors: str) -> tuple[str, str, str]:
    """Components, what they model, and what is left; without components the vectors themselves are left."""
    if not fitted.vectors.shape[1]:
        return vectors, graph.node("Mul", vectors, graph.constant(0.0)), vectors
    parts = graph.node("MatMul", vectors, graph.constant(fitted.vectors))
    modelled = graph.node("MatMul", parts, graph.constant(fitted.vectors.T))
    return parts, modelled, graph.node("Sub", vectors, modelled)
