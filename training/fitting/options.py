"""Turns `--set key=value` into typed settings: any frozen dataclass of plain fields can be set that way."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from wheeltapper.schemas.errors import InputError

Settings = TypeVar("Settings")


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """['leak=0.5', ..] to {'leak': '0.5', ..}.

    Raises:
        InputError: a text without '=', or a key twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key or not value.strip():
            raise InputError(f"--set {text}: expected key=value, e.g. --set leak=0.5")
        if key in found:
            raise InputError(f"--set {key} is given twice; give it once")
        found[key] = value.strip()
    return found


def with_settings(settings: Settings, values: Mapping[str, str], *, what: str, extra: Sequence[str] = ()) -> Settings:
    """A copy of a dataclass instance with the fields in `values` replaced.

    Args:
        what: whose settings they are, for errors.
        extra: further names that are valid, but not fields, for the error's list.

    Raises:
        InputError: no such field, or a value that its type does not take.
    """
    hints = typing.get_type_hints(type(settings))
    names = [field.name for field in dataclasses.fields(settings) if _kind(hints[field.name]) is not None]  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for key, text in values.items():
        if key not in names:
            known = sorted((*extra, *names))
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(f"{what} has no setting '{key}'{hint}; it has {', '.join(known)}")
        changes[key] = _parse(text, hints[key], f"--set {key}")
    try:
        return dataclasses.replace(settings, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise InputError(f"{what}: {error}") from error


def _kind(hint: Any) -> tuple[Any, bool] | None:
    """(plain type or Literal, whether None is allowed); None for what a text cannot say."""
    optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(parts) < len(typing.get_args(hint))
        if len(parts) != 1:
            return None
        hint = parts[0]
    if hint in (int, float, bool, str) or typing.get_origin(hint) is typing.Literal:
        return hint, optional
    return None


def _parse(text: str, hint: Any, where: str) -> Any:
    kind = _kind(hint)
    assert kind is not None, where
    plain, optional = kind
    if optional and text.lower() in ("none", "auto"):
        return None
    if typing.get_origin(plain) is typing.Literal:
        choices = typing.get_args(plain)
        if text not in choices:
            raise InputError(f"{where}={text}: expected one of {', '.join(map(str, choices))}")
        return text
    if plain is bool:
        if text.lower() not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            raise InputError(f"{where}={text}: expected true or false")
        return text.lower() in ("true", "yes", "on", "1")
    try:
        return plain(text)
    except ValueError:
        expected = "a whole number" if plain is int else "a number"
        raise InputError(f"{where}={text}: expected {expected}{' or none' if optional else ''}") from None
