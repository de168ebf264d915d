"""Band profile as an ONNX graph, written node by node without torch; opset 18, no loops, no control flow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from wheeltapper.models.band_profile.fitted import LEAST_DISTANCE, AttributeEffect, FittedBandProfile
from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend_graph import Bank, band_energies, decibels, signals


def build_graph(fitted: FittedBandProfile[Any]) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution` [N, C * bands, columns], `embedding` (f, standardised)."""
    around, frontend = fitted.around, fitted.frontend
    channels, bands = fitted.channels, frontend.bands
    graph = GraphBuilder.for_sound(fitted.window, channels, sum(spec.width for spec in fitted.attributes))
    orders = fitted.order_bands
    banks, order_known, order_weights = [], "", ""
    if orders is not None:
        rpm = graph.slice("attributes", fitted.speed_column, fitted.speed_column + 1, 1)
        order_weights, order_known = orders.graph_weights(graph, rpm)
        banks = [Bank(order_weights, orders.bands, per_window=True)]

    # What the operating point adds to the mean; [N, D].
    effect = _effect(graph, fitted.effect) if fitted.effect is not None else ""
    energies = band_energies(graph, frontend, signals(graph, without_offset=True), banks)
    summed, start = [], 0
    for at, (energy, width) in enumerate(zip(energies, fitted.bank_widths, strict=True)):
        own = slice(start, start + channels * width)
        mean = around.mean[own].reshape(channels, 1, width)
        away_level = decibels(graph, energy, frontend.floor, above=mean)
        if effect:
            compared = graph.reshape(graph.slice(effect, own.start, own.stop, 1), (-1, channels, 1, width))
            away_level = graph.node("Sub", away_level, compared)
        if at:
            # An unknown band lies at the mean.
            away_level = graph.node("Mul", away_level, graph.reshape(order_known, (-1, 1, 1, width)))
        summed.append(_by_column(graph, fitted, away_level, width))
        start = own.stop
    patches = summed[0] if len(summed) == 1 else graph.node("Concat", *summed, axis=1)
    away = graph.sum(patches, (2,))
    whitened = graph.node("MatMul", away, graph.constant(around.transform))

    count, references = around.count, graph.constant(around.references[None])
    between = graph.node("Sub", graph.reshape(whitened, (-1, 1, len(around.mean))), references)
    squared = graph.sum(graph.node("Mul", between, between), (2,))
    relative = graph.node("Div", graph.node("Sqrt", squared), graph.constant(around.radius))
    nearest, index = _smallest(graph, relative, count)
    distance = graph.node("Max", graph.mean(nearest, (1,)), graph.constant(LEAST_DISTANCE))
    logarithm = graph.node("Log", distance)
    score = graph.node(
        "Mul", graph.node("Sub", logarithm, graph.constant(fitted.centre)), graph.constant(1 / fitted.spread)
    )

    first = graph.reshape(graph.slice(index, 0, 1, 1), (-1,))
    reference = graph.node("Gather", graph.constant(around.references), first, axis=0)
    beside = graph.node("Gather", graph.constant(around.references @ around.inverse), first, axis=0)
    slope = graph.node("MatMul", graph.node("Sub", whitened, reference), graph.constant(around.transform.T))
    share = fitted.membership.sum(axis=0)
    from_reference = graph.node(
        "Sub", patches, graph.node("Mul", graph.reshape(beside, (-1, len(around.mean), 1)), graph.constant(share))
    )
    parts = graph.node("Mul", from_reference, graph.reshape(slope, (-1, len(around.mean), 1)))
    if orders is not None:
        parts = _onto_bands(graph, fitted, order_weights, parts)
    contribution = graph.node("Relu", parts)
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, (channels * bands, fitted.time_columns)),
            "embedding": (graph.node("Mul", away, graph.constant(1 / around.scale)), len(around.mean)),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )


def _by_column(graph: GraphBuilder, fitted: FittedBandProfile[Any], levels: str, width: int) -> str:
    """[N, C, frames, width] to [N, C * width, columns], whose sum over the columns is the mean over the frames."""
    turned = graph.node("Transpose", levels, perm=[0, 1, 3, 2])
    summed = graph.node("MatMul", turned, graph.constant(fitted.membership))
    return graph.reshape(summed, (-1, fitted.channels * width, fitted.time_columns))


def _smallest(graph: GraphBuilder, values: str, count: int) -> tuple[str, str]:
    """The `count` smallest of [N, K] and where they are, ascending."""
    found = graph.nodes(2, "TopK", values, graph.integers([count]), axis=1, largest=0, sorted=1)
    return found[0], found[1]


def _effect(graph: GraphBuilder, effect: AttributeEffect) -> str:
    """u B, [N, D]."""
    missing = graph.node("IsNaN", "attributes")
    filled = graph.node("Where", missing, graph.constant(0.0), "attributes")
    chosen = graph.node("Greater", graph.node("MatMul", filled, graph.constant(effect.known)), graph.constant(0.5))
    number = graph.node("Greater", graph.constant(effect.number.astype(np.float32)), graph.constant(0.5))
    of_number = graph.node("And", number, graph.node("Not", missing))
    of_category = graph.node("And", graph.node("Not", number), chosen)
    known = graph.node("Or", of_number, of_category)
    scaled = graph.node(
        "Mul", graph.node("Sub", filled, graph.constant(effect.centre)), graph.constant(1 / effect.scale)
    )
    return graph.node("MatMul", graph.node("Where", known, scaled, graph.constant(0.0)), graph.constant(effect.effect))


def _onto_bands(graph: GraphBuilder, fitted: FittedBandProfile[Any], weights: str, parts: str) -> str:
    """Contributions [N, C * (bands + orders), columns] with those of order bands laid onto the bands that have their frequencies."""
    channels, (bands, orders), columns = fitted.channels, fitted.bank_widths, fitted.time_columns
    own = graph.slice(parts, 0, channels * bands, 1)
    ordered = graph.slice(parts, channels * bands, channels * (bands + orders), 1)
    # A bin has two columns, of its real and its imaginary part, and an order band's weights have the sum 1 over bins.
    spread = graph.node("MatMul", graph.constant(fitted.owner / 2), weights)
    laid = graph.node(
        "MatMul",
        graph.node("Unsqueeze", spread, graph.integers([1])),
        graph.reshape(ordered, (-1, channels, orders, columns)),
    )
    return graph.node("Add", own, graph.reshape(laid, (-1, channels * bands, columns)))
