"""The members' graphs in one ONNX graph, and the mean of their log scores; opset 17."""

from __future__ import annotations

import json
import math

import numpy as np

from wheeltapper.models.log_mean.fitted import FittedLogMean
from wheeltapper.models.onnx_builder import LAST, GraphBuilder, Width, graph_takes_runs

TINIEST_SUM = 1e-30
"""Below that a member's contributions name no channel."""


def build_graph(fitted: FittedLogMean) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution`, `expected`, `embedding`.

    A channel's contribution is its share of each member's, weighted by how far the member's log score lies above its least; expected
    values and embedding are those of the first member that has them. It takes runs of rows where every member does.
    """
    rows, width, offset = fitted.window, fitted.channels, fitted.settings.offset
    graph = GraphBuilder(rows, width)
    models = [member.fitted.onnx_bytes() for member in fitted.members]
    takes_runs = all(graph_takes_runs(model) for model in models)
    logs, contributions = [], []
    others: dict[str, tuple[str, Width]] = {}
    for member, model in zip(fitted.members, models, strict=True):
        length = member.fitted.window
        window = "window" if length == rows else graph.slice("window", rows - length, LAST, 1)
        outputs = graph.embed(model, f"{member.fitted.detector}/", window, takes_runs=takes_runs)
        gain = 1.0 / (member.level - member.center)
        # One multiplication after the difference: float32 keeps the digits that a product of large numbers would lose.
        scaled = graph.node(
            "Mul", graph.node("Sub", outputs["score"][0], graph.constant(member.center)), graph.constant(gain)
        )
        comparable = graph.node("Max", scaled, graph.constant(0.0))
        log = graph.node("Log", graph.node("Add", comparable, graph.constant(offset)))
        logs.append(log)
        contribution = outputs["contribution"][0]
        total = graph.node("ReduceSum", contribution, graph.integers([-1]), keepdims=1)
        share = graph.node("Div", contribution, graph.node("Max", total, graph.constant(TINIEST_SUM)))
        above = graph.node("Unsqueeze", graph.node("Sub", log, graph.constant(math.log(offset))), graph.integers([-1]))
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
        takes_runs=takes_runs,
    )
