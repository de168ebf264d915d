"""What the settings of all detectors share: every field has a type, a default, a range and a description.

A setting is a field `name: Annotated[type, Field(<range>, description=..)] = default` of a frozen dataclass that derives from
`DetectorSettings`. Command line, help texts and the tables of the docs are made from it; a value outside of its range is refused
where the settings are made.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from wheeltapper.schemas.errors import InputError

_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True)
class Setting:
    """One setting of a detector.

    Attributes:
        name: as `--set` takes it.
        kind: int, float, bool, str or a Literal.
        optional: whether None is allowed, 'none' or 'auto' on the command line.
        default: its value where nobody says.
        description: one sentence with unit.
        expected: type and range in words, e.g. 'a number above 0'.
    """

    name: str
    kind: Any
    optional: bool
    default: Any
    description: str
    expected: str
    adapter: TypeAdapter[Any] = dataclasses.field(repr=False, compare=False)


@dataclass(frozen=True)
class DetectorSettings:
    """Base of the settings of a detector; checks every field when one is made.

    Raises:
        InputError: a value of another type or outside of its range; names detector, setting, found and expected.
    """

    DETECTOR: ClassVar[str] = ""
    """Its name in errors; '' for settings that several detectors share."""

    def __post_init__(self) -> None:
        for setting in settings_of(type(self)):
            found = getattr(self, setting.name)
            try:
                value = setting.adapter.validate_python(found)
            except ValidationError:
                self.refuse(setting.name, setting.expected)
            object.__setattr__(self, setting.name, value)
        self.check()

    def check(self) -> None:
        """What no single field can say; overridden where settings depend on each other.

        Raises:
            InputError: settings that do not fit each other.
        """

    def refuse(self, name: str, expected: str) -> typing.NoReturn:
        """
        Raises:
            InputError: always: detector, setting, what it is and what was expected.
        """
        raise InputError(f"{self._who}{name} is {getattr(self, name)}, expected {expected}")

    def with_window(self, window: int) -> Self:
        """The same for windows of so many rows; overridden where other settings depend on the window."""
        changes: dict[str, Any] = {"window": window}
        return dataclasses.replace(self, **changes)

    def with_texts(self, texts: Mapping[str, str]) -> Self:
        """The same with the settings in `texts` replaced; 'none' or 'auto' empties an optional one.

        Raises:
            InputError: a text that its setting's type does not take, or a value outside of its range.
        """
        known = {setting.name: setting for setting in settings_of(type(self))}
        changes: dict[str, Any] = {}
        for name, text in texts.items():
            setting = known[name]
            if setting.optional and text.lower() in ("none", "auto"):
                changes[name] = None
                continue
            try:
                changes[name] = setting.adapter.validate_python(text.lower() if setting.kind is bool else text)
            except ValidationError:
                raise InputError(f"{self._who}--set {name}={text}: expected {setting.expected}") from None
        return dataclasses.replace(self, **changes)

    @property
    def _who(self) -> str:
        return f"{self.DETECTOR}: " if self.DETECTOR else ""


def settings_of(cls: type[DetectorSettings]) -> tuple[Setting, ...]:
    """The settings of a class in order: its fields that have a description. Others cannot be set by a person."""
    described: Any = cls
    return _described(described)


@cache
def _described(cls: Any) -> tuple[Setting, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for item in dataclasses.fields(cls):
        told = [part for part in getattr(hints[item.name], "__metadata__", ()) if isinstance(part, FieldInfo)]
        if not told or not told[0].description:
            continue
        kind, optional = _plain(typing.get_args(hints[item.name])[0], f"{cls.__name__}.{item.name}")
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        adapter: TypeAdapter[Any] = TypeAdapter(hints[item.name], config=ConfigDict(allow_inf_nan=False))
        expected = _expected(kind, told[0]) + (" or none" if optional else "")
        found.append(Setting(item.name, kind, optional, default, told[0].description, expected, adapter))
    return tuple(found)


def text_of(value: Any) -> str:
    """A setting's value as `--set` takes it: 'none', 'true', '0.001'."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _plain(hint: Any, where: str) -> tuple[Any, bool]:
    """(int, float, bool, str or Literal; whether None is allowed)."""
    optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(parts) < len(typing.get_args(hint))
        hint = parts[0] if len(parts) == 1 else None
    if hint not in _KINDS and typing.get_origin(hint) is not typing.Literal:
        raise TypeError(f"{where}: a setting is an int, float, bool, str or Literal, or one of them or None")
    return hint, optional


def _expected(kind: Any, told: FieldInfo) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    limits = {type(limit): limit for limit in told.metadata}
    low, high = limits.get(Ge), limits.get(Le)
    above, below = limits.get(Gt), limits.get(Lt)
    words = []
    if low is not None and high is not None:
        words.append(f"from {low.ge} to {high.le}")
    elif low is not None and below is not None:
        words.append(f"from {low.ge} to below {below.lt}")
    elif above is not None and high is not None:
        words.append(f"above {above.gt}, at most {high.le}")
    elif above is not None and below is not None:
        words.append(f"between {above.gt} and {below.lt}")
    elif low is not None:
        words.append(f"of {low.ge} or more")
    elif above is not None:
        words.append(f"above {above.gt}")
    if (step := limits.get(MultipleOf)) is not None:
        words.append(f"and a multiple of {step.multiple_of}")
    return " ".join([_KINDS[kind], *words])
