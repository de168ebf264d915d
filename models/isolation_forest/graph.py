"""Isolation forest as an ONNX graph, written node by node without torch.

The trees are one TreeEnsembleRegressor with 1 + C targets: a leaf adds its depth to the first and, for each channel cut
on its path, what that channel has changed to the channel's own. Rows go in as they are, in raw units: no arithmetic
before the cuts, so that no rounding can send a row another way.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from wheeltapper.models.isolation_forest.fitted import FittedForest
from wheeltapper.models.isolation_forest.trees import LEAF, Trees
from wheeltapper.models.onnx_builder import ML_DOMAIN, GraphBuilder
from wheeltapper.models.row_scaling_graph import standardise

# Keeps 0 / 0 from NaN where no channel has shortened the path; depths are of the order of 10 cuts.
LEAST_SHORTENED = 1e-6


def build_graph(fitted: FittedForest) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected` (the median), `embedding` (the standardised row)."""
    settings = fitted.settings
    rows, width = settings.window, fitted.channels
    graph = GraphBuilder(rows, width)
    typical = graph.constant(fitted.scaling.typical)
    raw = graph.reshape("window", (-1, width))
    filled = graph.node("Where", graph.node("IsNaN", raw), typical, raw)
    # [N W, 1 + C]: depth less the usual depth, then the channels' shares of it.
    depths = graph.node(
        "TreeEnsembleRegressor", filled, domain=ML_DOMAIN, **ensemble(fitted.trees, width, fitted.usual_depth)
    )
    weights = graph.constant(settings.row_weights()[None, :])
    mean = graph.reshape(graph.node("MatMul", weights, graph.reshape(depths, (-1, rows, 1 + width))), (-1, 1 + width))
    exponent = graph.node("Mul", graph.slice(mean, 0, 1, 1), graph.constant(-1.0 / fitted.usual_depth))
    isolated = graph.node("Pow", graph.constant(2.0), exponent)  # [N, 1]
    shortened = graph.node("Relu", graph.node("Neg", graph.slice(mean, 1, 1 + width, 1)))
    total = graph.node("ReduceSum", shortened, graph.integers([1]), keepdims=1)
    share = graph.node("Div", shortened, graph.node("Max", total, graph.constant(LEAST_SHORTENED)))
    factor = graph.constant(1.0)
    if settings.outside:
        beyond = graph.node("MatMul", weights, graph.reshape(_beyond(graph, fitted, filled), (-1, rows, width)))
        beyond = graph.reshape(beyond, (-1, width))
        share = graph.node("Add", share, beyond)
        factor = graph.node("Add", factor, graph.node("ReduceSum", beyond, graph.integers([1]), keepdims=1))
    score = graph.reshape(graph.node("Mul", isolated, factor), (-1,))
    contribution = graph.node("Mul", share, isolated)

    scaled = graph.reshape(standardise(graph, fitted.scaling, settings.clip), (-1, rows, width))
    last = graph.reshape(graph.slice(scaled, rows - 1, rows, 1), (-1, width))
    # A constant takes its batch axis from what it is added to.
    expected = graph.node("Add", graph.node("Mul", last, graph.constant(0.0)), typical)
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, width),
            "expected": (expected, width),
            "embedding": (last, width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )


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
