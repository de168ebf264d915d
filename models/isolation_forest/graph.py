"""Isolation forest as an ONNX graph, written node by node without torch.

The trees are one TreeEnsembleRegressor with 1 + C targets: a leaf adds its depth to the first and, for each channel cut
on its path, what that channel has changed to the channel's own. Rows go in as they are, in raw units: no arithmetic
before the cuts, so that no rounding can send a row another way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from wheeltapper.models.isolation_forest.fitted import FittedForest
from wheeltapper.models.isolation_forest.trees import LEAF, Trees
from wheeltapper.models.onnx_builder import ML_DOMAIN, GraphBuilder, Outputs
from wheeltapper.models.row_scaling_graph import standardise, standardise_rows
from wheeltapper.models.runs_graph import RunGraph

# Keeps 0 / 0 from NaN where no channel has shortened the path; depths are of the order of 10 cuts.
LEAST_SHORTENED = 1e-6


def build_graph(fitted: FittedForest) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected` (the median), `embedding` (the standardised row); it takes runs
    of rows, each of which goes through the trees once."""
    settings = fitted.settings
    rows, width = settings.window, fitted.channels
    graph = GraphBuilder(rows, width)
    weights = graph.constant(settings.row_weights()[None, :])

    def average(tensor: str, values: int) -> str:
        mean = graph.node("MatMul", weights, graph.reshape(tensor, (-1, rows, values)))
        return graph.reshape(mean, (-1, values))

    scaled = graph.reshape(standardise(graph, fitted.scaling, settings.clip), (-1, rows, width))
    last = graph.reshape(graph.slice(scaled, rows - 1, rows, 1), (-1, width))
    outputs = _outputs(graph, fitted, average, last)
    metadata = {"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)}
    if rows == 1:
        return graph.model_bytes(outputs, metadata=metadata)
    run = RunGraph.beside(graph)

    def average_of_run(tensor: str, values: int) -> str:
        return run.average(run.by_run(tensor, values), settings.row_weights())

    last = run.last_rows(standardise_rows(run, fitted.scaling, settings.clip))
    return graph.model_bytes_with_runs(outputs, run, _outputs(run, fitted, average_of_run, last), metadata=metadata)


def _outputs(graph: GraphBuilder, fitted: FittedForest, average: Callable[[str, int], str], last: str) -> Outputs:
    """
    Args:
        average: [rows, k] of all rows, and k, to [.., k]: their weighted mean over each window.
        last: [.., C], the windows' last rows, standardised.
    """
    settings, width = fitted.settings, fitted.channels
    typical = graph.constant(fitted.scaling.typical)
    raw = graph.reshape("window", (-1, width))
    filled = graph.node("Where", graph.node("IsNaN", raw), typical, raw)
    # [rows, 1 + C]: depth less the usual depth, then the channels' shares of it.
    depths = graph.node(
        "TreeEnsembleRegressor", filled, domain=ML_DOMAIN, **ensemble(fitted.trees, width, fitted.usual_depth)
    )
    mean = average(depths, 1 + width)
    exponent = graph.node("Mul", graph.slice(mean, 0, 1, -1), graph.constant(-1.0 / fitted.usual_depth))
    isolated = graph.node("Pow", graph.constant(2.0), exponent)  # [.., 1]
    shortened = graph.node("Relu", graph.node("Neg", graph.slice(mean, 1, 1 + width, -1)))
    total = graph.node("ReduceSum", shortened, graph.integers([-1]), keepdims=1)
    share = graph.node("Div", shortened, graph.node("Max", total, graph.constant(LEAST_SHORTENED)))
    factor = graph.constant(1.0)
    if settings.outside:
        beyond = average(_beyond(graph, fitted, filled), width)
        share = graph.node("Add", share, beyond)
        factor = graph.node("Add", factor, graph.node("ReduceSum", beyond, graph.integers([-1]), keepdims=1))
    score = graph.node("Squeeze", graph.node("Mul", isolated, factor), graph.integers([-1]))
    # A constant takes its batch axis from what it is added to.
    expected = graph.node("Add", graph.node("Mul", last, graph.constant(0.0)), typical)
    return {
        "score": (score, None),
        "contribution": (graph.node("Mul", share, isolated), width),
        "expected": (expected, width),
        "embedding": (last, width),
    }


def _beyond(graph: GraphBuilder, fitted: FittedForest, filled: str) -> str:
    """How far each row lies outside of the training range, [N W, C]."""
    above = graph.node("Sub", filled, graph.constant(fitted.high))
    below = graph.node("Sub", graph.constant(fitted.low), filled)
    outside = graph.node("Relu", graph.node("Max", above, below))
    return graph.node(
        "Min", graph.node("Mul", outside, graph.constant(1.0 / fitted.reach)), graph.constant(fitted.settings.clip)
    )


def ensemble(trees: Trees, channels: int, usual_depth: float) -> dict[str, Any]:
    """Attributes of TreeEnsembleRegressor, ai.onnx.ml 3."""
    count = len(trees.roots)
    tree = np.repeat(np.arange(count), np.diff(np.append(trees.roots, len(trees.channel))))
    node = np.arange(len(tree)) - trees.roots[tree]
    leaf = trees.channel == LEAF
    leaves, targets, values = leaf_targets(trees)
    return {
        "n_targets": 1 + channels,
        "aggregate_function": "SUM",
        "base_values": [-usual_depth] + [0.0] * channels,
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": node.tolist(),
        "nodes_featureids": np.where(leaf, 0, trees.channel).tolist(),
        "nodes_values": trees.threshold.tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_truenodeids": np.where(leaf, 0, trees.left - trees.roots[tree]).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, trees.right - trees.roots[tree]).tolist(),
        "target_treeids": tree[leaves].tolist(),
        "target_nodeids": node[leaves].tolist(),
        "target_ids": targets.tolist(),
        "target_weights": (values / count).tolist(),
    }


def leaf_targets(trees: Trees) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What leaves add: (leaf node, target, value), each [m]; target 0 is the depth, 1 + c channel c."""
    found: list[tuple[int, int, float]] = []
    for root in trees.roots:
        waiting: list[tuple[int, dict[int, float]]] = [(int(root), {})]
        while waiting:
            node, shares = waiting.pop()
            channel = int(trees.channel[node])
            if channel == LEAF:
                found.append((node, 0, float(trees.depth[node])))
                found += [(node, 1 + cut, value) for cut, value in shares.items()]
                continue
            for child in (int(trees.left[node]), int(trees.right[node])):
                change = float(trees.depth[child] - trees.depth[node])
                waiting.append((child, shares | {channel: shares.get(channel, 0.0) + change}))
    leaves, targets, values = zip(*found, strict=True)
    return np.array(leaves), np.array(targets), np.array(values)
