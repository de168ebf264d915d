"""Band profile as an ONNX graph, written node by node without torch; opset 18, no loops, no control flow."""

from __future__ import annotations

import json

import numpy as np

from wheeltapper.models.band_profile.fitted import LEAST_DISTANCE, AttributeEffect, FittedBandProfile
from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend import SplitDft
from wheeltapper.models.sound.frontend_graph import Bank, band_energies, decibels, signals


def build_graph(fitted: FittedBandProfile) -> bytes:
    """The .onnx bytes, outputs `score`, `contribution` [N, C * bands, columns], `embedding` (f, standardised)."""
    around, frontend = fitted.around, fitted.frontend
    width, channels, bands = len(around.mean), fitted.channels, frontend.bands
    graph = GraphBuilder.for_sound(fitted.window, channels, sum(spec.width for spec in fitted.attributes))
    samples = signals(graph, without_offset=True)
    orders = fitted.order_bands
    banks, order_known, order_weights = [], "", ""
    if orders is not None:
        rpm = graph.slice("attributes", fitted.speed_column, fitted.speed_column + 1, 1)
        order_weights, order_known = orders.graph_weights(graph, rpm)
        banks = [Bank(order_weights, orders.bands, per_window=True)]
    levels = [decibels(graph, energies, frontend.floor) for energies in band_energies(graph, frontend, samples, banks)]

    # What the bands are compared with: the mean, and what the operating point adds to it. [N, D] or [D].
    mean = graph.constant(around.mean)
    effect = _effect(graph, fitted.effect) if fitted.effect is not None else ""
    usual = graph.node("Add", mean, effect) if effect else mean
    features = [
        graph.reshape(graph.mean(part, (2,)), (-1, channels * _last(fitted, at))) for at, part in enumerate(levels)
    ]
    feature = features[0] if len(features) == 1 else graph.node("Concat", *features, axis=1)
    away = graph.node("Sub", feature, usual)
    known = ""
    if orders is not None:
        known = graph.node("Tile", order_known, graph.integers([1, channels]))
        ones = graph.node("Mul", graph.slice(away, 0, channels * bands, 1), graph.constant(0.0))
        known = graph.node("Concat", graph.node("Add", ones, graph.constant(1.0)), known, axis=1)
        away = graph.node("Mul", away, known)
    whitened = graph.node("MatMul", away, graph.constant(around.transform))

    count, references = around.count, graph.constant(around.references[None])
    between = graph.node("Sub", graph.reshape(whitened, (-1, 1, width)), references)
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
    parts = _patches(graph, fitted, levels, graph.node("Add", usual, beside), slope, known, beside)
    total = parts[0]
    if orders is not None:
        total = graph.node("Add", total, _onto_bands(graph, fitted, order_weights, parts[1]))
    contribution = graph.reshape(graph.node("Relu", total), (-1, channels * bands, fitted.time_columns))
    return graph.model_bytes(
        {
            "score": (score, None),
            "contribution": (contribution, (channels * bands, fitted.time_columns)),
            "embedding": (graph.node("Mul", away, graph.constant(1 / around.scale)), width),
        },
        metadata={"detector": fitted.detector, "parameters": json.dumps(fitted.parameters, sort_keys=True)},
    )


def _last(fitted: FittedBandProfile, at: int) -> int:
    """Bands of the filter bank: the front end's, then the orders'."""
    return fitted.frontend.bands if at == 0 or fitted.order_bands is None else fitted.order_bands.bands


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
    known = graph.node("Where", number, graph.node("Not", missing), chosen)
    scaled = graph.node(
        "Mul", graph.node("Sub", filled, graph.constant(effect.centre)), graph.constant(1 / effect.scale)
    )
    return graph.node("MatMul", graph.node("Where", known, scaled, graph.constant(0.0)), graph.constant(effect.effect))


def _patches(
    graph: GraphBuilder,
    fitted: FittedBandProfile,
    levels: list[str],
    usual: str,
    slope: str,
    known: str,
    beside: str,
) -> list[str]:
    """Signed contributions of each filter bank, [N, C, bands, columns]."""
    columns = fitted.frontend.columns(fitted.window, fitted.time_columns)
    membership = np.eye(fitted.time_columns)[columns] / len(columns)
    share = membership.sum(axis=0)
    found, start = [], 0
    for at, level in enumerate(levels):
        bands = _last(fitted, at)
        stop = start + fitted.channels * bands
        summed = graph.node("MatMul", graph.node("Transpose", level, perm=[0, 1, 3, 2]), graph.constant(membership))

        def of_bank(tensor: str, start: int = start, stop: int = stop, bands: int = bands) -> str:
            return graph.reshape(graph.slice(tensor, start, stop, 1), (-1, fitted.channels, bands, 1))

        away = graph.node("Sub", summed, graph.node("Mul", of_bank(usual), graph.constant(share)))
        if known and at:
            # An unknown band lies at the mean: away from the reference as far as the mean is.
            there = of_bank(known)
            absent = graph.node("Mul", graph.node("Sub", there, graph.constant(1.0)), of_bank(beside))
            away = graph.node("Add", graph.node("Mul", away, there), graph.node("Mul", absent, graph.constant(share)))
        found.append(graph.node("Mul", away, of_bank(slope)))
        start = stop
    return found


def _onto_bands(graph: GraphBuilder, fitted: FittedBandProfile, weights: str, parts: str) -> str:
    """Contributions of order bands [N, C, orders, columns] laid onto the front end's bands, where each has its frequencies."""
    # Each DFT bin belongs to the band between whose edges it lies, those outside of all to the first or last.
    nearest = np.zeros_like(fitted.frontend.weights)
    hz = np.fft.rfftfreq(fitted.frontend.n_fft, 1 / fitted.sample_rate)
    edges = np.array([high for _, high in fitted.frontend.edges[:-1]])
    nearest[np.searchsorted(edges, hz), np.arange(len(hz))] = 1.0
    split = SplitDft.of(fitted.frontend.n_fft)
    overlap = graph.node(
        "MatMul", graph.node("Transpose", weights, perm=[0, 2, 1]), graph.constant(nearest[:, split.bins].T)
    )
    overlap = graph.node("Mul", overlap, graph.constant(0.5))
    spread = graph.node("Transpose", overlap, perm=[0, 2, 1])
    return graph.node("MatMul", graph.node("Unsqueeze", spread, graph.integers([1])), parts)
