"""Writes an ONNX graph under the contract of `wheeltapper.schemas.bundle.graph` node by node; needs numpy and onnx, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

# 17 is the oldest opset with everything the detectors here need, so that old runtimes on edge boxes load it.
OPSET = 17
IR_VERSION = 8
# Operators of classical machine learning, such as tree ensembles.
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3


@dataclass
class GraphBuilder:
    """Collects nodes and constants, then closes them into a model with input `window` [N, W, C] float32.

    Attributes:
        window, channels: W and C.
    """

    window: int
    channels: int
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _constants: list[onnx.TensorProto] = field(default_factory=list)
    _names: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def constant(self, values: object) -> str:
        """A float32 constant; equal ones share a name."""
        return self._constant(np.asarray(values, dtype=np.float32))

    def integers(self, values: object) -> str:
        """An int64 constant: axes, shapes, slice bounds."""
        return self._constant(np.asarray(values, dtype=np.int64))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append one node with one output; returns the output's name."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def slice(self, tensor: str, start: int, stop: int, axis: int) -> str:
        """`tensor[start:stop]` along one axis."""
        return self.node("Slice", tensor, self.integers([start]), self.integers([stop]), self.integers([axis]))

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        """At most one -1, for the batch axis."""
        return self.node("Reshape", tensor, self.integers(shape))

    def embed(self, model: bytes, prefix: str, window: str) -> dict[str, tuple[str, int | None]]:
        """Take another model under the contract in as a part of this one.

        Args:
            model: .onnx bytes whose only input is `window`, of this builder's opset.
            prefix: put before every name of it.
            window: tensor that it takes.

        Returns:
            contract name -> (tensor, width) of its outputs, as `model_bytes` takes them.
        """
        part = compose.add_prefix(onnx.load_model_from_string(model), prefix).graph
        own = f"{prefix}window"
        for node in part.node:
            node.input[:] = [window if name == own else name for name in node.input]
            self._nodes.append(node)
        self._constants.extend(part.initializer)
        return {
            output.name.removeprefix(prefix): (
                output.name,
                output.type.tensor_type.shape.dim[1].dim_value if len(output.type.tensor_type.shape.dim) > 1 else None,
            )
            for output in part.output
        }

    def model_bytes(self, outputs: Mapping[str, tuple[str, int | None]], *, metadata: Mapping[str, str]) -> bytes:
        """The finished model.

        Args:
            outputs: contract name -> (tensor, width); width None for `score` [N], else [N, width].
            metadata: goes into metadata_props.
        """
        for name, (tensor, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name], name=f"output_{name}"))
        graph = helper.make_graph(
            self._nodes,
            "wheeltapper",
            [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", self.window, self.channels])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"] if width is None else ["N", width])
                for name, (_, width) in outputs.items()
            ],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
        model = helper.make_model(graph, opset_imports=opsets, producer_name="wheeltapper", ir_version=IR_VERSION)
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _constant(self, values: np.ndarray) -> str:
        values = np.ascontiguousarray(values)
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._names:
            name = f"constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(values, name))
            self._names[key] = name
        return self._names[key]


def add_metadata(model: bytes, properties: Mapping[str, str]) -> bytes:
    """The same model with `properties` added to (or replacing those in) its metadata_props."""
    proto = onnx.load_model_from_string(model)
    merged = {entry.key: entry.value for entry in proto.metadata_props} | dict(properties)
    del proto.metadata_props[:]
    helper.set_model_props(proto, dict(sorted(merged.items())))
    return bytes(proto.SerializeToString(deterministic=True))


def rows_per_group(rows: int, channels: int, at_least: int = 1024) -> int:
    """How many rows to flatten into one, so that per-channel constants broadcast over long runs.

    onnxruntime broadcasts [C] against [N, W, C] in runs of C values; for few channels the loop costs more than the
    arithmetic. Seen as [.., g * C] against [g * C] the same values are one long vector operation.

    Returns:
        The smallest divisor g of `rows` with g * channels >= at_least, else `rows`.
    """
    return next((g for g in range(1, rows + 1) if rows % g == 0 and g * channels >= at_least), rows)
