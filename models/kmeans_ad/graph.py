"""KMeansAD as an ONNX graph, written node by node without torch.

One matrix product finds the nearest centroid: ||v||^2 - 2 v c + ||c||^2, less ||v||^2, which all centroids share. Its
differences of large numbers are good enough to choose by, not to score by: the chosen centroid is gathered, and the
distance is the sum of squared differences to it.
"""

from __future__ import annotations

import json

import numpy as np

from wheeltapper.models.kmeans_ad.fitted import LEAST_SHAPE_DEVIATION, FittedKMeans
from wheeltapper.models.onnx_builder import GraphBuilder, Outputs
from wheeltapper.models.row_scaling_graph import standardise, standardise_rows
from wheeltapper.models.runs_graph import RunGraph


def build_graph(fitted: FittedKMeans) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding` (the window's mean, standardised); it takes runs of
    rows, which are standardised once."""
    settings, rows, width = fitted.settings, fitted.settings.window, fitted.channels
    graph = GraphBuilder(rows, width)
    scaled = graph.reshape(standardise(graph, fitted.scaling, settings.clip), (-1, rows, width))
    outputs = _outputs(graph, fitted, scaled)
    metadata = {"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)}
    if rows == 1:
        return graph.model_bytes(outputs, metadata=metadata)
    run = RunGraph.beside(graph)
    windows = run.reshape(run.windows(standardise_rows(run, fitted.scaling, settings.clip)), (-1, rows, width))
    found = _outputs(run, fitted, windows)
    by_run: Outputs = {
        name: (run.by_run(tensor, *(() if size is None else (width,))), size) for name, (tensor, size) in found.items()
    }
    return graph.model_bytes_with_runs(outputs, run, by_run, metadata=metadata)


def _outputs(graph: GraphBuilder, fitted: FittedKMeans, scaled: str) -> Outputs:
    """Of windows [N, W, C] of standardised rows."""
    settings, scaling = fitted.settings, fitted.scaling
    rows, width = settings.window, fitted.channels
    level = graph.node("ReduceMean", scaled, axes=[1], keepdims=1)
    vectors, deviation = scaled, ""
    if settings.normalise != "none":
        vectors = graph.node("Sub", scaled, level)
    if settings.normalise == "shape":
        squares = graph.node("ReduceMean", graph.node("Mul", vectors, vectors), axes=[1], keepdims=1)
        deviation = graph.node("Max", graph.node("Sqrt", squares), graph.constant(LEAST_SHAPE_DEVIATION))
        vectors = graph.node("Div", vectors, deviation)

    flat = fitted.centroids.reshape(len(fitted.centroids), -1).astype(np.float64)
    products = graph.node("MatMul", graph.reshape(vectors, (-1, rows * width)), graph.constant(-2 * flat.T))
    far = graph.node("Add", products, graph.constant((flat**2).sum(axis=1)))
    nearest = graph.node("ArgMin", far, axis=1, keepdims=0)
    centroid = graph.node("Gather", graph.constant(fitted.centroids), nearest, axis=0)

    difference = graph.node("Sub", vectors, centroid)
    contribution = graph.node("ReduceSum", graph.node("Mul", difference, difference), graph.integers([1]), keepdims=0)
    score = graph.node("Sqrt", graph.node("ReduceSum", contribution, graph.integers([1]), keepdims=0))
    last = graph.slice(centroid, rows - 1, rows, 1)
    if deviation:
        last = graph.node("Mul", last, deviation)
    if settings.normalise != "none":
        last = graph.node("Add", last, level)
    expected = graph.node("Add", graph.node("Mul", last, graph.constant(scaling.std)), graph.constant(scaling.mean))
    return {
        "score": (score, None),
        "contribution": (contribution, width),
        "expected": (graph.reshape(expected, (-1, width)), width),
        "embedding": (graph.reshape(level, (-1, width)), width),
    }
