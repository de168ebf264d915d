"""The graph builder's inputs and outputs for rows and for sound."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from wheeltapper.models.onnx_builder import GraphBuilder


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, list[str | int]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


def test_rows_have_one_input_and_opset_17() -> None:
    # given a graph of rows
    graph = GraphBuilder(8, 3)
    score = graph.mean("window", (1, 2))
    # when it is closed
    model = onnx.load_model_from_string(graph.model_bytes({"score": (score, None)}, metadata={}))
    # then it has the contract of rows
    assert shapes(list(model.graph.input)) == {"window": ["N", 8, 3]}
    assert model.opset_import[0].version == 17


@pytest.mark.parametrize("attributes", [0, 2])
def test_sound_has_flat_samples_and_attributes_where_asked(attributes: int) -> None:
    # given a graph of two channels of sound
    graph = GraphBuilder.for_sound(100, 2, attributes)
    signals = graph.reshape("window", (-1, 2, 100))
    score = graph.mean(signals, (1, 2))
    if attributes:
        score = graph.node("Add", score, graph.sum("attributes", (1,)))
    patches = graph.reshape(signals, (-1, 4, 50))
    # when it is closed and run
    raw = graph.model_bytes({"score": (score, None), "contribution": (patches, (4, 50))}, metadata={})
    model = onnx.load_model_from_string(raw)
    window = np.random.default_rng(0).normal(size=(3, 200)).astype(np.float32)
    feed = {"window": window} | ({"attributes": np.ones((3, 2), dtype=np.float32)} if attributes else {})
    session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    found_score, found_patches = session.run(["score", "contribution"], feed)
    # then inputs and outputs are those of the contract of sound
    assert shapes(list(model.graph.input)) == {"window": ["N", 200]} | ({"attributes": ["N", 2]} if attributes else {})
    assert shapes(list(model.graph.output)) == {"score": ["N"], "contribution": ["N", 4, 50]}
    assert model.opset_import[0].version == 18
    np.testing.assert_allclose(found_score, window.mean(axis=1) + attributes, atol=1e-6)
    np.testing.assert_array_equal(found_patches, window.reshape(3, 4, 50))
