"""L2 norm as an ONNX graph, written node by node without torch."""

from __future__ import annotations

import json

from wheeltapper.models.l2_norm.fitted import FittedL2Norm
from wheeltapper.models.onnx_builder import GraphBuilder, Outputs
from wheeltapper.models.row_scaling_graph import standardise, standardise_rows
from wheeltapper.models.runs_graph import RunGraph


def build_graph(fitted: FittedL2Norm) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected` (the mean), `embedding` (the standardised row); it takes runs of rows."""
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
    outputs: Outputs = {
        "score": (score, None),
        "contribution": (contribution, width),
        "expected": (expected, width),
        "embedding": (last, width),
    }
    metadata = {"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)}
    if rows == 1:
        return graph.model_bytes(outputs, metadata=metadata)
    run = RunGraph.beside(graph)
    return graph.model_bytes_with_runs(outputs, run, _run_outputs(run, fitted), metadata=metadata)


def _run_outputs(run: RunGraph, fitted: FittedL2Norm) -> Outputs:
    """The same of every window of a run."""
    settings, width = fitted.settings, fitted.channels
    scaled = standardise_rows(run, fitted.scaling, settings.clip)
    contribution = run.average(run.node("Mul", scaled, scaled), settings.row_weights())
    last = run.last_rows(scaled)
    expected = run.node("Add", run.node("Mul", last, run.constant(0.0)), run.constant(fitted.scaling.mean))
    return {
        "score": (run.node("Sqrt", run.sum(contribution, (2,))), None),
        "contribution": (contribution, width),
        "expected": (expected, width),
        "embedding": (last, width),
    }
