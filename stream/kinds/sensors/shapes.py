"""One-row JSON by its shape: senders write the same fields again and again, so a parser made for just those fields reads them.

A parser of known fields (msgspec) takes half the time of one that makes a dictionary of every message (orjson), and finds the
same values to the last bit. It takes a message only where each of the shape's fields is there, with values of the types that it had,
and no other; of a field that comes twice the last counts, in both. All others are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

NO_FIT = (msgspec.DecodeError, ValueError, RecursionError)
"""What `Shape.decode` raises on messages of another shape, and on what is no JSON."""

LEAST_SEEN = 4
"""A parser takes as long to make as a hundred rows take to read: only for shapes that came so often."""
MOST_SHAPES = 32
_MOST_SEEN = 1_000
_MOST_SENDERS = 65_536
_MOST_FIELDS = 4_096
_LEARN_A_BATCH = 64
"""Messages a batch that are looked at for their shape: those of senders without one would else pay for it each time."""

Signature: TypeAlias = tuple[tuple[str, ...], tuple[type, ...], tuple[str, ...], tuple[type, ...]]

_Number = float | None
_Scalar = str | int | float | bool | None
_TYPE_OF: dict[type, Any] = {
    int: _Number, float: _Number, type(None): _Number, str: _Scalar, bool: _Scalar,
}  # fmt: skip
"""Numbers and null take turns in a field; what was a text or a boolean once may be any of them."""


class Shape:
    """The fields of one-row JSON and a parser for them.

    Attributes:
        decode: a message -> an object with the attributes `machine`, `time` and, unless flat, `values`; raises one of `NO_FIT`.
        is_flat: channels are fields of the message itself, and not of its `values`.
        names: the fields that may be channels, in the message's order.
    """

    __slots__ = ("_positions", "decode", "is_flat", "names")

    def __init__(self, signature: Signature, machine: str, time: str, values: str) -> None:
        """
        Args:
            machine, time, values: names of the fields that hold them; `values` is empty where channels are fields of the message.

        Raises:
            ValueError: names that the parser cannot have.
        """
        outer, outer_types, inner, inner_types = signature
        types: dict[str, Any] = {machine: str, time: int | float | str}
        attributes = {machine: "machine", time: "time"}
        self.is_flat = not values
        if values:
            types[values] = _struct(inner, [_TYPE_OF[kind] for kind in inner_types])
            attributes[values] = "values"
        known = [types.get(name) or _TYPE_OF[kind] for name, kind in zip(outer, outer_types, strict=True)]
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(_struct(outer, known, attributes)).decode
        self.names = list(inner if values else outer)
        self._positions = {name: position for position, name in enumerate(self.names)}

    def picker(self, fields: Sequence[str]) -> Callable[[Any], Any] | None:
        """Takes the values of these fields, in their order, out of the values of all `names`; None: those are just them.

        Raises:
            LookupError: a field is not there.
        """
        positions = [self._positions[field] for field in fields]
        if positions == [*range(len(self.names))]:
            return None
        if len(positions) == 1:
            return lambda values: (values[positions[0]],)
        return itemgetter(*positions)


def _struct(names: Sequence[str], types: Sequence[Any], attributes: Mapping[str, str] | None = None) -> type:
    attributes = attributes or {}
    python_names = [attributes.get(name, f"f{number}") for number, name in enumerate(names)]
    return msgspec.defstruct(
        "Row",
        [*zip(python_names, types, strict=True)],
        rename=dict(zip(python_names, names, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )


class Shapes:
    """The shapes that senders have, learnt from their messages. What it knows changes what reading costs, never what is read.

    Attributes:
        usual: of senders that have none of their own: the one that was learnt first; None before.
    """

    def __init__(self, machine: str, time: str, values: str) -> None:
        """
        Args:
            machine, time, values: as of `Shape`.
        """
        self._fields = (machine, time, values)
        self._are_distinct = len({*self._fields}) == len(self._fields) and machine != time
        self._seen: dict[Signature, int] = {}
        self._shapes: dict[Signature, Shape | None] = {}
        self._left = 0
        self.of_sender: dict[bytes | None, Shape | None] = {}
        """Key of its messages -> its own shape; None: it has none that a parser could be made for."""
        self.usual: Shape | None = None

    def begin(self) -> None:
        """A batch begins."""
        self._left = _LEARN_A_BATCH if self._are_distinct else 0

    def learn(self, sender: bytes | None, message: Any) -> None:
        """A message that was read another way, as rows are.

        Args:
            sender: its key.
            message: its fields.
        """
        if self._left <= 0:
            return
        self._left -= 1
        signature = self._signature(message)
        if signature is None:
            self._set(sender, None)
            return
        number = self._seen[signature] = self._seen.get(signature, 0) + 1
        if number < LEAST_SEEN:
            if len(self._seen) > _MOST_SEEN:
                self._seen.clear()
            return
        if signature not in self._shapes:
            if len(self._shapes) >= MOST_SHAPES:
                self._forget()
            self._shapes[signature] = self._make(signature)
        shape = self._shapes[signature]
        if self.usual is None:
            self.usual = shape
        if shape is not self.usual or sender in self.of_sender:
            self._set(sender, shape)

    def _set(self, sender: bytes | None, shape: Shape | None) -> None:
        if len(self.of_sender) >= _MOST_SENDERS:
            self.of_sender.clear()
        self.of_sender[sender] = shape

    def _forget(self) -> None:
        self._seen.clear()
        self._shapes.clear()
        self.of_sender.clear()
        self.usual = None

    def _make(self, signature: Signature) -> Shape | None:
        try:
            return Shape(signature, *self._fields)
        except (TypeError, ValueError):  # e.g. names with quotes
            return None

    def _signature(self, message: Any) -> Signature | None:
        """None: of no shape that a parser is made for, as it has lists or objects where others have numbers."""
        machine, time, values = self._fields
        if type(message) is not dict or type(message.get(machine)) is not str or time not in message:
            return None
        inner = message.get(values) if values else {}
        if type(inner) is not dict or len(message) + len(inner) > _MOST_FIELDS:
            return None
        outer_types = tuple([_kind(entry) for entry in message.values()])
        inner_types = tuple([_kind(entry) for entry in inner.values()])
        found = {kind for name, kind in zip(message, outer_types, strict=True) if name not in self._fields}
        if (found | {*inner_types}) - _TYPE_OF.keys():
            return None
        return tuple(message), outer_types, tuple(inner), inner_types


def _kind(entry: Any) -> type:
    kind = type(entry)
    return float if kind is int or entry is None else kind
