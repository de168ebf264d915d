"""Band events as an ONNX graph, written node by node without torch; opset 18, no loops, no control flow."""

from __future__ import annotations

import json

from wheeltapper.models.band_events.fitted import FADING, LEAST_DISTANCE, FittedBandEvents
from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend_graph import band_energies, decibels, signals


def build_graph(fitted: FittedBandEvents) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution` [N, C * bands, columns], `embedding` [N, C * bands]."""
    shape, frontend = fitted.shape, fitted.frontend
    width, frames, blocks = len(shape.mean), fitted.frames, fitted.averaging
    graph = GraphBuilder.for_sound(fitted.window, fitted.channels)
    (energies,) = band_energies(graph, frontend, signals(graph, without_offset=True))
    turned = graph.node("Transpose", decibels(graph, energies, frontend.floor), perm=[0, 1, 3, 2])
    levels = graph.reshape(turned, (-1, width, frames))
    centered = graph.node("Sub", levels, _median(graph, levels, frames))
    events = graph.node("Transpose", graph.node("MatMul", centered, graph.constant(blocks)), perm=[0, 2, 1])
    away = graph.node("Sub", events, graph.constant(shape.mean))
    whitened = graph.node("MatMul", away, graph.constant(shape.transform))
    distance = graph.node("Sqrt", graph.sum(graph.node("Mul", whitened, whitened), (2,), keepdims=True))
    largest = graph.node(
        "Max", graph.node("ReduceMax", distance, graph.integers([1]), keepdims=1), graph.constant(LEAST_DISTANCE)
    )
    logarithm = graph.reshape(graph.node("Log", largest), (-1,))
    score = graph.node(
        "Mul", graph.node("Sub", logarithm, graph.constant(fitted.centre)), graph.constant(1 / fitted.spread)
    )
    parts = graph.node("Mul", away, graph.node("MatMul", whitened, graph.constant(shape.transform.T)))
    weight = graph.node("Pow", graph.node("Div", distance, largest), graph.constant(float(FADING)))
    blamed = graph.node("Transpose", graph.node("Mul", graph.node("Relu", parts), weight), perm=[0, 2, 1])
    contribution = graph.node("MatMul", blamed, graph.constant(fitted.membership))
    standard = graph.node("Mul", away, graph.constant(1 / shape.scale))
    embedding = graph.node("Sqrt", graph.mean(graph.node("Mul", standard, standard), (1,)))
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, (width, fitted.time_columns)),
            "embedding": (embedding, width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )


def _median(graph: GraphBuilder, values: str, count: int) -> str:
    """Of [N, D, count] over the last axis, kept: the mean of the middle two where there is no middle one."""
    half = count // 2 + 1
    smallest, _ = graph.nodes(2, "TopK", values, graph.integers([half]), axis=2, largest=0, sorted=1)
    middle = graph.slice(smallest, half - 1 - (count % 2 == 0), half, 2)
    return graph.mean(middle, (2,), keepdims=True)
