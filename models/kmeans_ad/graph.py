"""KMeansAD as an ONNX graph, written node by node without torch.

One matrix product finds the nearest centroid: ||v||^2 - 2 v c + ||c||^2, less ||v||^2, which all centroids share. Its
differences of large numbers are good enough to choose by, not to score by: the chosen centroid is gathered, and the
distance is the sum of squared differences to it.
"""

from __future__ import annotations

import json

import numpy as np

from wheeltapper.models.kmeans_ad.fitted import LEAST_SHAPE_DEVIATION, FittedKMeans
from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.row_scaling_graph import standardise


def build_graph(fitted: FittedKMeans) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding` (the window's mean, standardised)."""
    settings, scaling = fitted.settings, fitted.scaling
    rows, width = settings.window, fitted.channels
    graph = GraphBuilder(rows, width)
    scaled = graph.reshape(standardise(graph, scaling, settings.clip), (-1, rows, width))
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
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, width),
            "expected": (graph.reshape(expected, (-1, width)), width),
            "embedding": (graph.reshape(level, (-1, width)), width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )
