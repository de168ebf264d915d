"""Writes an ONNX graph under the contract of `wheeltapper.schemas.bundle.graph` node by node; needs numpy and onnx, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from wheeltapper.schemas.bundle.graph import LONGEST_RUN_KEY, WINDOW_KEY

# 17 is the oldest opset with everything the detectors here need, so that old runtimes on edge boxes load it.
OPSET = 17
# Of graphs that take sound: Resize with antialiasing, and reductions whose axes are inputs.
SOUND_OPSET = 18
IR_VERSION = 8
# Operators of classical machine learning, such as tree ensembles.
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3

Width: TypeAlias = int | tuple[int, ...] | None
"""Of an output without its batch axis: None of [N], a number of [N, width], several of [N, *width]."""

Outputs: TypeAlias = Mapping[str, tuple[str, Width]]
"""Contract name -> (tensor, width)."""

LONGEST_RUN = 64
"""Windows of a run, at most. Twice as many would save a tenth of the time of long ones, and double the constants."""

LAST = 2**31 - 1
"""As the stop of a slice: to the end of the axis."""


@dataclass
class GraphBuilder:
    """Collects nodes and constants, then closes them into a model with input `window` float32.

    Attributes:
        window, channels: W and C; of sound the samples of a channel, and the channels.
        sound: `window` is [N, C * W], a channel's samples after another's, instead of [N, W, C].
        attributes: columns of the input `attributes` [N, A] float32; 0: it has none.
        opset: of the standard operators.
        prefix: before every name, where two builders' nodes go into one model.
    """

    window: int
    channels: int
    sound: bool = False
    attributes: int = 0
    opset: int = OPSET
    prefix: str = ""
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _constants: list[onnx.TensorProto] = field(default_factory=list)
    _names: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    @classmethod
    def for_sound(cls, window: int, channels: int, attributes: int = 0) -> Self:
        """A graph that takes `window` [N, channels * window], and `attributes` [N, attributes] where that is above 0."""
        return cls(window, channels, sound=True, attributes=attributes, opset=SOUND_OPSET)

    def constant(self, values: object) -> str:
        """A float32 constant; equal ones share a name."""
        return self._constant(np.atleast_1d(np.asarray(values, dtype=np.float32)))

    def integers(self, values: object) -> str:
        """An int64 constant: axes, shapes, slice bounds; an index where it is one number."""
        return self._constant(np.asarray(values, dtype=np.int64))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append one node with one output; returns the output's name."""
        name = f"{self.prefix}{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def nodes(self, outputs: int, operator: str, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """Append one node with several outputs; returns their names."""
        own = f"{self.prefix}{operator.lower()}_{len(self._nodes)}"
        names = tuple(f"{own}_{index}" for index in range(outputs))
        self._nodes.append(helper.make_node(operator, list(inputs), list(names), name=own, **attributes))
        return names

    def slice(self, tensor: str, start: int, stop: int, axis: int) -> str:
        """`tensor[start:stop]` along one axis; `LAST` as the stop takes all that follows."""
        return self.node("Slice", tensor, self.integers([start]), self.integers([stop]), self.integers([axis]))

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        """At most one -1, for the batch axis."""
        return self.node("Reshape", tensor, self.integers(shape))

    def mean(self, tensor: str, axes: tuple[int, ...], *, keepdims: bool = False) -> str:
        """ReduceMean, whose axes are an attribute up to opset 17 and an input from 18 on."""
        if self.opset >= 18:
            return self.node("ReduceMean", tensor, self.integers(axes), keepdims=int(keepdims))
        return self.node("ReduceMean", tensor, axes=list(axes), keepdims=int(keepdims))

    def sum(self, tensor: str, axes: tuple[int, ...], *, keepdims: bool = False) -> str:
        """ReduceSum."""
        return self.node("ReduceSum", tensor, self.integers(axes), keepdims=int(keepdims))

    def embed(
        self, model: bytes, prefix: str, window: str, *, takes_runs: bool = False
    ) -> dict[str, tuple[str, Width]]:
        """Take another model under the contract in as a part of this one.

        Args:
            model: .onnx bytes whose only input is `window`, of this builder's opset.
            prefix: put before every name of it.
            window: tensor that it takes.
            takes_runs: that is [N, T, C], and the outputs are to be [N, n, *width]; the model must take runs then.

        Returns:
            contract name -> (tensor, width) of its outputs, as `model_bytes` takes them.
        """
        part = compose.add_prefix(onnx.load_model_from_string(model), prefix).graph
        own = f"{prefix}window"
        for node in part.node:
            node.input[:] = [window if name == own else name for name in node.input]
            self._nodes.append(node)
        self._constants.extend(part.initializer)
        gives_runs = graph_takes_runs(model)
        found: dict[str, tuple[str, Width]] = {}
        for output in part.output:
            sizes = [dim.dim_value for dim in output.type.tensor_type.shape.dim[2 if gives_runs else 1 :]]
            tensor = output.name
            if gives_runs and not takes_runs:
                tensor = self.node("Squeeze", tensor, self.integers([1]))
            found[output.name.removeprefix(prefix)] = (tensor, _width(sizes))
        return found

    def model_bytes(self, outputs: Outputs, *, metadata: Mapping[str, str], takes_runs: bool = False) -> bytes:
        """The finished model.

        Args:
            metadata: goes into metadata_props.
            takes_runs: `window` is [N, T, C], outputs are [N, T - W + 1, *width].
        """
        named = {name: tensor for name, (tensor, _) in outputs.items()}
        self._nodes += [
            helper.make_node("Identity", [tensor], [name], name=f"output_{name}") for name, tensor in named.items()
        ]
        if takes_runs:
            return self._finished_with_runs(self._nodes, self._constants, outputs, metadata)
        infos: dict[str, list[str | int]] = {name: ["N", *_sizes(width)] for name, (_, width) in outputs.items()}
        return self._finished(self._nodes, self._constants, infos, metadata)

    def model_bytes_with_runs(
        self, outputs: Outputs, run: GraphBuilder, run_outputs: Outputs, *, metadata: Mapping[str, str]
    ) -> bytes:
        """The finished model of two forms: this builder's, which takes one window, and another's, which takes a run of rows.

        The contract needs one form only. One window alone, however, is faster with constants that are laid out for its length.

        Args:
            outputs: of one window, [N, *width].
            run: takes `window` [N, T, C], T up to W - 1 + `LONGEST_RUN`; its names have a prefix.
            run_outputs: the same names; [N, T - W + 1, *width].
        """
        assert run.prefix
        axis = self.integers([1])
        bodies = {
            "then_branch": self._body(
                {name: (self.node("Unsqueeze", tensor, axis), None) for name, (tensor, _) in outputs.items()}
            ),
            "else_branch": run._body({name: run_outputs[name] for name in outputs}),
        }
        nodes = [
            # What takes a graph in, or puts something in front of it, need not look into the forms for its input.
            helper.make_node("Identity", ["window"], ["rows_of_forms"]),
            # Of one window alone: where T is given for a session, onnxruntime then knows the whole shape, and drops the other form.
            helper.make_node("Gather", ["window", "first_window"], ["one_window"], axis=0),
            helper.make_node("Shape", ["one_window"], ["rows"], start=0, end=1),
            helper.make_node("Equal", ["rows", "rows_of_one_window"], ["is_one_window"]),
            helper.make_node("If", ["is_one_window"], list(outputs), name="one_window_or_run", **bodies),
        ]
        constants = [
            numpy_helper.from_array(np.array(0, dtype=np.int64), "first_window"),
            numpy_helper.from_array(np.array([self.window], dtype=np.int64), "rows_of_one_window"),
        ]
        return self._finished_with_runs(nodes, constants, outputs, metadata)

    def _finished_with_runs(
        self,
        nodes: list[onnx.NodeProto],
        constants: list[onnx.TensorProto],
        outputs: Outputs,
        metadata: Mapping[str, str],
    ) -> bytes:
        infos: dict[str, list[str | int]] = {name: ["N", "n", *_sizes(width)] for name, (_, width) in outputs.items()}
        said = {WINDOW_KEY: str(self.window), LONGEST_RUN_KEY: str(LONGEST_RUN)}
        return self._finished(nodes, constants, infos, {**metadata, **said}, rows="T")

    def _body(self, outputs: Outputs) -> onnx.GraphProto:
        for node in self._nodes:
            node.input[:] = ["rows_of_forms" if name == "window" else name for name in node.input]
        found = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor, _ in outputs.values()]
        return helper.make_graph(self._nodes, f"{self.prefix}body", [], found, self._constants)

    def _finished(
        self,
        nodes: list[onnx.NodeProto],
        constants: list[onnx.TensorProto],
        outputs: Mapping[str, list[str | int]],
        metadata: Mapping[str, str],
        *,
        rows: int | str | None = None,
    ) -> bytes:
        graph = helper.make_graph(
            nodes,
            "wheeltapper",
            self._inputs(rows),
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            constants,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if ML_DOMAIN in _domains(graph):
            opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
        model = helper.make_model(graph, opset_imports=opsets, producer_name="wheeltapper", ir_version=IR_VERSION)
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _inputs(self, rows: int | str | None = None) -> list[onnx.ValueInfoProto]:
        shape: list[int | str] = (
            [self.channels * self.window] if self.sound else [self.window if rows is None else rows, self.channels]
        )
        found = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", *shape])]
        if self.attributes:
            found.append(helper.make_tensor_value_info("attributes", TensorProto.FLOAT, ["N", self.attributes]))
        return found

    def _constant(self, values: np.ndarray) -> str:
        values = np.asarray(values, order="C")
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._names:
            name = f"{self.prefix}constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(values, name))
            self._names[key] = name
        return self._names[key]


def _domains(graph: onnx.GraphProto) -> set[str]:
    """Of the operators, in nested graphs too."""
    found: set[str] = set()
    for node in graph.node:
        found.add(node.domain)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _domains(attribute.g)
    return found


def banded(taps: np.ndarray, columns: int) -> np.ndarray:
    """[columns + L - 1, columns] float64 of [L] taps: [.., T] @ it is, at each row from L - 1 on, their sum over the rows up to it.

    Its upper left corner is that of fewer columns.
    """
    found = np.zeros((columns + len(taps) - 1, columns))
    for column in range(columns):
        found[column : column + len(taps), column] = taps
    return found


def _sizes(width: Width) -> tuple[int, ...]:
    if width is None:
        return ()
    return width if isinstance(width, tuple) else (width,)


def _width(sizes: list[int]) -> Width:
    if not sizes:
        return None
    return sizes[0] if len(sizes) == 1 else tuple(sizes)


def graph_takes_runs(model: bytes) -> bool:
    """Whether a model under the contract takes runs of rows."""
    window = next(entry for entry in onnx.load_model_from_string(model).graph.input if entry.name == "window")
    axes = window.type.tensor_type.shape.dim
    return len(axes) == 3 and not axes[1].HasField("dim_value")


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
