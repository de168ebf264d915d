"""The members' graphs in one ONNX graph, and the mean of their log scores; opset 17."""

from __future__ import annotations

import json
import math

import numpy as np

from wheeltapper.models.log_mean.fitted import FittedLogMean
from wheeltapper.models.onnx_builder import GraphBuilder, Width

TINIEST_SUM = 1e-30
"""Below that a member's contributions name no channel."""


def build_graph(fitted: FittedLogMean) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding`.

    A channel's contribution is its share of each member's, weighted by how far the member's log score lies above its least; expected
    values and embedding are those of the first member that has them.
    """
    rows, width, offset = fitted.window, fitted.channels, fitted.settings.offset
    graph = GraphBuilder(rows, width)
    logs, contributions = [], []
    others: dict[str, tuple[str, Width]] = {}
    for member in fitted.members:
        length = member.fitted.window
        window = "window" if length == rows else graph.slice("window", rows - length, rows, 1)
        outputs = graph.embed(member.fitted.onnx_bytes(), f"{member.fitted.detector}/", window)
        gain = 1.0 / (member.level - member.center)
        # One multiplication after the difference: float32 keeps the digits that a product of large numbers would lose.
        scaled = graph.node(
            "Mul", graph.node("Sub", outputs["score"][0], graph.constant(member.center)), graph.constant(gain)
        )
        comparable = graph.node("Max", scaled, graph.constant(0.0))
        log = graph.node("Log", graph.node("Add", comparable, graph.constant(offset)))
        logs.append(log)
        contribution = outputs["contribution"][0]
        total = graph.node("ReduceSum", contribution, graph.integers([1]), keepdims=1)
        share = graph.node("Div", contribution, graph.node("Max", total, graph.constant(TINIEST_SUM)))
        above = graph.reshape(graph.node("Sub", log, graph.constant(math.log(offset))), (-1, 1))
        contributions.append(graph.node("Mul", share, above))
        for name in ("expected", "embedding"):
            if name in outputs:
                others.setdefault(name, outputs[name])
    weight = graph.constant(np.float32(1.0 / len(logs)))
    return graph.model_bytes(
        {
            "score": (graph.node("Mul", graph.node("Sum", *logs), weight), None),
            "contribution": (graph.node("Mul", graph.node("Sum", *contributions), weight), width),
            **others,
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )
