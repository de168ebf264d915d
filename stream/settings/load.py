"""Where settings come from: one TOML file plus `WHEELTAPPER_*` variables; a variable wins over the file.

`WHEELTAPPER_KAFKA__GROUP=plant-7` sets `group` of the section `[kafka]`. Unknown keys are errors that name the nearest known
one: a misspelt setting that is silently ignored is found out at 3 a.m.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean
from wheeltapper.stream.settings.routes import RouteSetting
from wheeltapper.stream.settings.sections import Settings

ENVIRONMENT_PREFIX = "WHEELTAPPER_"
# Variables of the same prefix that are not settings of the worker.
OTHER_VARIABLES = {"WHEELTAPPER_DATA", "WHEELTAPPER_TEST_KAFKA"}

# Keys of [routes] are ids of machines, which no variable's name can hold: the whole table is one.
ROUTES_VARIABLE = f"{ENVIRONMENT_PREFIX}ROUTES"

# Settings of earlier versions, and what has taken their place.
_REPLACED = {
    "threshold.min_duration": "threshold.min_duration_s, in seconds instead of windows: 3 windows a minute apart are 180",
    "threshold.clear_duration": "threshold.clear_duration_s, in seconds instead of windows: 10 windows a minute apart are 600",
}


def load_settings(config: Path | None = None, **overrides: Mapping[str, Any]) -> Settings:
    """Settings from the file, then the environment, then `overrides` (section -> key -> value; None is left out).

    Raises:
        InputError: no such file, not TOML, an unknown key or a value that does not fit.
    """
    sections: dict[str, dict[str, Any]] = {}
    if config is not None:
        sections = _read_toml(config)
    for name, value in os.environ.items():
        if name == ROUTES_VARIABLE:
            sections["routes"] = _parse_routes(value)
        elif name.startswith(ENVIRONMENT_PREFIX) and name not in OTHER_VARIABLES:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            _check_key(section, key, where=name)
            sections.setdefault(section, {})[key] = _parse_variable(value, section, key)
    for section, values in overrides.items():
        sections.setdefault(section, {}).update({key: value for key, value in values.items() if value is not None})
    try:
        return Settings.model_validate(sections)
    except ValidationError as error:
        # A misspelt key makes the right one a missing one: it is the cause.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden" and key.startswith("routes."):
            hint = did_you_mean(str(first["loc"][-1]), RouteSetting.model_fields, ", ")
            quoted = "" if hint else f'; an id with dots is one key in quotes: "{key.removeprefix("routes.")}"'
            raise InputError(
                f"setting {key}: unknown{hint}{quoted}; a route has {list(RouteSetting.model_fields)}; correct it in {config or ROUTES_VARIABLE}"
            ) from error
        shown = "" if "password" in key or "seal_key" in key else f", found {first['input']!r}"
        raise InputError(
            f"setting {key}: {first['msg']}{shown}; correct it in {config or 'the options or variables'}"
        ) from error


def _read_toml(config: Path) -> dict[str, dict[str, Any]]:
    try:
        data = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{config}: no such settings file; give the path of a TOML file to --config") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{config}: not a readable TOML file ({error}); see deploy/worker.toml for one") from error
    for section, values in data.items():
        if not isinstance(values, dict) and section == "routes":
            raise InputError(
                f'{config}: [routes] is one table, id or pattern -> bundle, e.g. "pump-*" = "bundles/pumps"'
            )
        if not isinstance(values, dict):
            raise InputError(
                f"{config}: '{section}' stands outside of a section; expected one of {_section_names()} as [section]"
            )
        if section == "routes":  # its keys are machines
            if "" in values:
                raise InputError(
                    f"{config}: [routes] has an empty key; expected a machine's id, or a pattern such as 'pump-*'"
                )
            continue
        for key in values or {"": None}:
            _check_key(section, key, where=str(config))
    return data


def _section_names() -> list[str]:
    return list(Settings.model_fields)


def _check_key(section: str, key: str, *, where: str) -> None:
    if section not in Settings.model_fields:
        raise InputError(
            f"{where}: unknown section '{section}'{did_you_mean(section, _section_names(), ', ')}; sections are {_section_names()}"
        )
    if section == "routes":
        raise InputError(
            f'{where}: routes are one variable, a TOML table: {ROUTES_VARIABLE}=\'{{"pump-*" = "bundles/pumps"}}\''
        )
    known = list(_section_model(section).model_fields)
    if f"{section}.{key}" in _REPLACED:
        raise InputError(f"{where}: setting '{section}.{key}' is gone; write {_REPLACED[f'{section}.{key}']}")
    if key and key not in known:
        raise InputError(
            f"{where}: unknown setting '{section}.{key}'{did_you_mean(key, known, ', ')}; [{section}] has {known}"
        )
    if not key and where.startswith(ENVIRONMENT_PREFIX):
        raise InputError(f"{where}: names a section but no setting; write {where}__{known[0].upper()}")


def _section_model(section: str) -> type[BaseModel]:
    annotation = Settings.model_fields[section].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    return annotation


def _parse_routes(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f'{ROUTES_VARIABLE}: not a TOML table ({error}); expected e.g. {{"pump-*" = "bundles/pumps"}}'
        ) from error


def _parse_variable(value: str, section: str, key: str) -> Any:
    """Text as it stands, except for tables, which are TOML: `{a = "b"}`."""
    if value.startswith("{") and "dict" in str(_section_model(section).model_fields[key].annotation):
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise InputError(
                f"{ENVIRONMENT_PREFIX}{section.upper()}__{key.upper()}: not a TOML table ({error})"
            ) from error
    return value
