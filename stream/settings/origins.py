"""Where each setting that is in force comes from, and the settings as TOML."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from wheeltapper.stream.settings.load import ENVIRONMENT_PREFIX, ROUTES_VARIABLE, load_settings
from wheeltapper.stream.settings.sections import Settings


@dataclass(frozen=True, slots=True)
class InForceSetting:
    """One setting.

    Attributes:
        section, key: its names; of [routes] the key is a machine or pattern.
        value: as loaded; a secret stays one.
        origin: 'default', the settings file's path, or a variable's name.
    """

    section: str
    key: str
    value: Any
    origin: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def line(self) -> str:
        """`key = value` as TOML; of a secret, and of what has no value, a comment that says so."""
        key = _key(self.key)
        if isinstance(self.value, SecretStr):
            return f"# {key} = (set, not shown)"
        value = toml_value(self.value)
        return f"# {key} =" if value is None else f"{key} = {value}"


def settings_in_force(config: Path | None) -> Iterator[InForceSetting]:
    """Every setting, in the order of docs/settings.md.

    Raises:
        InputError: as `load_settings`.
    """
    settings = load_settings(config)
    in_file = {} if config is None else tomllib.loads(config.read_text(encoding="utf-8"))
    for section in Settings.model_fields:
        values = getattr(settings, section)
        pairs = values.items() if isinstance(values, dict) else iter(values)
        for key, value in pairs:
            yield InForceSetting(section, key, value, _origin(section, key, in_file, config))


def toml_value(value: Any) -> str | None:
    """A setting's value as TOML writes it; None for what TOML cannot say: no value."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, BaseModel):
        value = {key: one for key, one in value if one != type(value).model_fields[key].get_default()}
        if [*value] == ["bundles"]:  # the short forms of a route
            return toml_value(value["bundles"][0] if len(value["bundles"]) == 1 else value["bundles"])
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(str(key))} = {toml_value(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(str(toml_value(one)) for one in value)}]"
    return _text(str(value))


def _key(key: str) -> str:
    """As TOML takes it: bare where it may be."""
    return key if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's; of characters beyond them TOML takes all but control ones, which JSON escapes too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _origin(section: str, key: str, in_file: dict[str, Any], config: Path | None) -> str:
    variable = ROUTES_VARIABLE if section == "routes" else f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()
    if any(name.upper() == variable for name in os.environ):
        return variable
    return str(config) if key in in_file.get(section, {}) else "default"
