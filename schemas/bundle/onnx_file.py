"""What an ONNX file refers to, read from its bytes before onnxruntime sees it.

A tensor may say that its values lie in another file, or at an address in memory. onnxruntime would read them from the working
directory: a bundle could show files of the machine that it runs on as its outputs. A bundle's graph is therefore one piece.

The file is a protobuf message. Only what leads to tensors is followed; everything else is skipped by its length, so that large
weights cost nothing. Workers have no `onnx` package, which would build all of it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wheeltapper.schemas.errors import InputError

# Control flow holds graphs within graphs; exporters nest them two or three deep.
DEEPEST = 16

# Field numbers of onnx.proto, which are fixed for all time.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_FUNCTION_NODE, _FUNCTION_ATTRIBUTES = 7, 11
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class OnnxContent:
    """What a file holds, as far as it matters here.

    Attributes:
        operators: name, with its domain before it where it is not ONNX's own, and how often it occurs; nested graphs included.
    """

    operators: dict[str, int]


def read_onnx(data: bytes, name: str) -> OnnxContent:
    """Walk through the file.

    Args:
        data: the bytes of the .onnx file.
        name: what errors call it.

    Raises:
        InputError: it is damaged, nested too deep, or a tensor lies outside of it.
    """
    walk = _Walk(name)
    try:
        for number, value in _fields(memoryview(data)):
            if number == _MODEL_GRAPH:
                walk.graph(_message(value), 0)
            elif number == _MODEL_FUNCTIONS:
                walk.function(_message(value))
    except (ValueError, IndexError) as error:
        raise InputError(f"{name}: is not an ONNX file ({error}); export it again") from error
    return OnnxContent(dict(sorted(walk.operators.items())))


class _Walk:
    def __init__(self, name: str) -> None:
        self._name = name
        self.operators: dict[str, int] = {}

    def graph(self, data: memoryview, depth: int) -> None:
        if depth > DEEPEST:
            raise InputError(
                f"{self._name}: graphs are nested more than {DEEPEST} deep; export it without such nesting"
            )
        for number, value in _fields(data):
            if number == _GRAPH_NODE:
                self._node(_message(value), depth)
            elif number == _GRAPH_INITIALIZER:
                self._tensor(_message(value))
            elif number == _GRAPH_SPARSE:
                self._sparse(_message(value))

    def function(self, data: memoryview) -> None:
        for number, value in _fields(data):
            if number == _FUNCTION_NODE:
                self._node(_message(value), 0)
            elif number == _FUNCTION_ATTRIBUTES:
                self._attribute(_message(value), 0)

    def _node(self, data: memoryview, depth: int) -> None:
        operator = domain = ""
        for number, value in _fields(data):
            if number == _NODE_ATTRIBUTE:
                self._attribute(_message(value), depth)
            elif number == _NODE_OP:
                operator = _text(value)
            elif number == _NODE_DOMAIN:
                domain = _text(value)
        operator = f"{domain}.{operator}" if domain and domain != "ai.onnx" else operator
        self.operators[operator] = self.operators.get(operator, 0) + 1

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, value in _fields(data):
            if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(_message(value))
            elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self.graph(_message(value), depth + 1)
            elif number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
                self._sparse(_message(value))

    def _sparse(self, data: memoryview) -> None:
        for number, value in _fields(data):
            if number in (_SPARSE_VALUES, _SPARSE_INDICES):
                self._tensor(_message(value))

    def _tensor(self, data: memoryview) -> None:
        name, is_outside = "", False
        for number, value in _fields(data):
            if number == _TENSOR_NAME:
                name = _text(value)
            elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
                is_outside = True
        if is_outside:
            raise InputError(
                f"{self._name}: the values of tensor '{name[:100]}' lie outside of the file; a bundle's graph must be one piece: "
                "save it with onnx.save(.., save_as_external_data=False), or let 'wheeltapper pack' join it"
            )


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of a message's fields, in order; the value of a number, the bytes of anything else."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"field type {kind} at byte {position}")
        if length > end - position:
            raise ValueError(f"cut short at byte {position}")
        yield key >> 3, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than 64 bits at byte {position}")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode(errors="replace")
