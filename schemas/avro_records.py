"""The Avro record of a message type, from its Python type.

What Avro says and no Python type does is said by a marker in the field's annotation: `AvroEnum` (the name of a choice, and
what an older reader makes of a symbol that it does not know) and `AvroType` (another type than the usual one).

| Python | Avro |
|---|---|
| str, bool, bytes, float | string, boolean, bytes, double |
| int | int where its limits fit into 32 bits, else long |
| Literal of texts, StrEnum | enum |
| T or None | union of null and T |
| float or str, and other unions of the types of the first row | union of their types |
| list[T], tuple[T, ...] | array |
| dict[str, T] | map |
| another pydantic model | record, in the message's own namespace: each full name is defined in one file |
"""

from __future__ import annotations

import inspect
import re
import types
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAMESPACE = "wheeltapper"
JSON_SYMBOLS = "jsonSymbols"
"""Attribute of an enum whose values Avro cannot spell: the value in JSON and Python of each symbol, in their order."""

_PRIMITIVES: dict[Any, str] = {str: "string", bool: "boolean", bytes: "bytes", float: "double"}
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class AvroEnum:
    """How a choice is written in Avro.

    Attributes:
        name: of the enum type; with a dot in it a full name, else it is put into the message's namespace.
        default: the value that an older reader takes for one that it does not know.
    """

    name: str
    default: str


@dataclass(frozen=True, slots=True)
class AvroType:
    """The Avro type to take instead of the usual one: a name, or a name with a logical type."""

    name: str
    logical_type: str | None = None

    def schema(self) -> Any:
        return self.name if self.logical_type is None else {"type": self.name, "logicalType": self.logical_type}


def avro_record(model: type[BaseModel], name: str, namespace: str) -> dict[str, Any]:
    """The record of a message type, as an .avsc file holds it.

    Args:
        name: the record's name.
        namespace: of the types within it, e.g. 'wheeltapper.alert_event'; the record itself is in 'wheeltapper'.

    Raises:
        TypeError: a field that has no form in Avro; the text names it.
    """
    record = _Records(namespace).record(model, name, NAMESPACE)
    for field in record["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        within = [branch for branch in branches if not isinstance(branch, dict) or JSON_SYMBOLS not in branch]
        if JSON_SYMBOLS in repr(within):
            raise TypeError(
                f"{model.__name__}.{field['name']} has a choice within it whose values Avro cannot spell; only a field of the "
                "message itself may have one: give the values names of letters, digits and _"
            )
    return record


class _Records:
    """Remembers which types are defined: a second use refers to them by name."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._defined: dict[str, Any] = {}

    def record(self, model: type[BaseModel], name: str, namespace: str) -> dict[str, Any]:
        fields = [self._field(f"{model.__name__}.{name}", name, field) for name, field in model.model_fields.items()]
        return {
            "type": "record",
            "name": name,
            "namespace": namespace,
            "doc": _first_paragraph(model),
            "fields": fields,
        }

    def _field(self, place: str, name: str, field: FieldInfo) -> dict[str, Any]:
        choice = _choice_in(field.annotation, field.metadata)
        entry: dict[str, Any] = {"name": name, "type": self._type(place, field.annotation, field.metadata)}
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            if choice is not None and isinstance(default, str):
                default = _symbol(default)
            entry["default"] = list(default) if isinstance(default, tuple) else default
        hint = f"an older reader takes a value that it does not know as {_symbol(choice.default)}" if choice else None
        if doc := "; ".join(part for part in (field.description, hint) if part):
            entry["doc"] = doc
        return entry

    def _type(self, place: str, annotation: Any, metadata: list[Any]) -> Any:
        annotation, metadata = _unwrapped(annotation, metadata)
        for marker in metadata:
            if isinstance(marker, AvroType):
                return marker.schema()
        if annotation in _PRIMITIVES:
            return _PRIMITIVES[annotation]
        if annotation is int:
            return _integer(metadata)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType) and len(arguments) == 2 and arguments[1] is type(None):
            return ["null", self._type(place, arguments[0], [])]
        if origin in (Union, types.UnionType) and all(argument in _PRIMITIVES for argument in arguments):
            return [_PRIMITIVES[argument] for argument in arguments]
        if origin is list or (origin is tuple and arguments[1:] == (...,)):
            return {"type": "array", "items": self._type(place, arguments[0], [])}
        if origin is dict and arguments[0] is str:
            return {"type": "map", "values": self._type(place, arguments[1], [])}
        if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, StrEnum)):
            return self._enum(place, [str(value) for value in arguments or annotation], metadata)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            full_name = f"{self._namespace}.{annotation.__name__}"
            return self._once(place, full_name, self.record(annotation, annotation.__name__, self._namespace))
        raise TypeError(f"{place} is {annotation!r}, which has no Avro form; the module's table shows those that have")

    def _enum(self, place: str, values: list[str], metadata: list[Any]) -> Any:
        choice = next((marker for marker in metadata if isinstance(marker, AvroEnum)), None)
        if choice is None or choice.default not in values:
            raise TypeError(f"{place} is a choice of {values}; annotate it with AvroEnum(name, default=one of them)")
        namespace, _, name = choice.name.rpartition(".")
        namespace = namespace or self._namespace
        symbols = [_symbol(value) for value in values]
        schema = {"type": "enum", "name": name, "namespace": namespace, "symbols": symbols}
        if symbols != values:
            schema[JSON_SYMBOLS] = values
        return self._once(place, f"{namespace}.{name}", {**schema, "default": _symbol(choice.default)})

    def _once(self, place: str, full_name: str, schema: dict[str, Any]) -> Any:
        if full_name not in self._defined:
            self._defined[full_name] = schema
            return schema
        if self._defined[full_name] != schema or JSON_SYMBOLS in schema:
            raise TypeError(
                f"{place}: {full_name} is already another type of this message, or a choice whose values Avro cannot spell, "
                "which only one field may have; give this one another name"
            )
        return full_name


def _unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Annotated[T, Field(..), marker] -> T and all that is said of it."""
    if get_origin(annotation) is not Annotated:
        return annotation, list(metadata)
    found = list(metadata)
    for marker in annotation.__metadata__:
        found += marker.metadata if isinstance(marker, FieldInfo) else [marker]
    return annotation.__origin__, found


def _choice_in(annotation: Any, metadata: list[Any]) -> AvroEnum | None:
    annotation, metadata = _unwrapped(annotation, metadata)
    if get_origin(annotation) in (Union, types.UnionType):
        return _choice_in(get_args(annotation)[0], [])
    return next((marker for marker in metadata if isinstance(marker, AvroEnum)), None)


def _integer(metadata: list[Any]) -> str:
    low = max((marker.ge for marker in metadata if getattr(marker, "ge", None) is not None), default=None)
    high = min((marker.le for marker in metadata if getattr(marker, "le", None) is not None), default=None)
    return "int" if low is not None and high is not None and low >= _INT_MIN and high <= _INT_MAX else "long"


def _symbol(value: str) -> str:
    return re.sub(r"\W", "_", value, flags=re.ASCII)


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join(inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].split())
