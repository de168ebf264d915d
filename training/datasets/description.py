"""`NAME.toml` beside a table, and `dataset.toml` for every table of a folder: what a file does not say by itself."""

from __future__ import annotations

import codecs
import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.readings import MISSING_WORDS, NumberStyle, TimeStyle
from wheeltapper.training.datasets.places import table_stem

SHARED_DESCRIPTION = "dataset.toml"


class Description(BaseModel):
    """Every key is optional; docs/datasets.md says what each does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: str | None = None
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    skip_lines: int = Field(default=0, ge=0, le=10_000)
    skip_footer: int = Field(default=0, ge=0, le=10_000)
    unit_row: bool = False
    decimal: str | None = Field(default=None, pattern=r"^[.,]$")
    thousands: str = Field(default="", pattern=r"^[.,' ]?$")
    missing: tuple[str | float, ...] = ()
    time: str | bool | tuple[str, ...] | None = None
    time_unit: str | None = Field(default=None, pattern="^(s|ms|us|ns)$")
    time_format: str | None = None
    time_zone: str | None = None
    values: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    rising: tuple[str, ...] = ()
    units: dict[str, str] = Field(default_factory=dict)
    label: str | bool | None = None
    machine: str | None = None
    tag: str | None = None
    value: str | None = None
    hold_s: float | None = Field(default=None, gt=0)
    train_rows: int | None = Field(default=None, ge=1)
    train_fraction: float | None = Field(default=None, gt=0, le=1)
    train_file: str | None = None
    sampling_interval_s: float | None = Field(default=None, gt=0)
    sort: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Description:
        if (self.tag is None) != (self.value is None):
            raise ValueError("tag and value belong together: the columns with a reading's tag and its value")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(f"encoding '{self.encoding}' is not known, e.g. utf-8, utf-16, windows-1252") from None
        if self.time == ():
            raise ValueError("time is an empty list, expected names of columns")
        self.times()
        self.numbers()
        return self

    def times(self) -> TimeStyle:
        """How the table's times are written."""
        return TimeStyle(unit=self.time_unit or "auto", format=self.time_format, zone=self.time_zone)  # type: ignore[arg-type]

    def numbers(self, decimal: str = ".") -> NumberStyle:
        """How the table's numbers are written; `decimal` counts where the description does not say."""
        words = frozenset(word.strip().lower() for word in self.missing if isinstance(word, str))
        values = tuple(value for value in self.missing if not isinstance(value, str))
        return NumberStyle(self.decimal or decimal, self.thousands, MISSING_WORDS | words, values)


def describe(path: Path, entity: str) -> Description:
    """The description of a table; its own one wins over the folder's.

    Raises:
        InputError: it is not TOML, or has a key or a value that no description has.
    """
    merged: dict[str, Any] = {}
    for file in dict.fromkeys((path.parent / SHARED_DESCRIPTION, path.parent / f"{entity}.toml")):
        if not file.is_file():
            continue
        try:
            keys = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: is not TOML ({error}); correct it") from error
        merged |= keys
        # The keys of both together, so that the folder's file may hold one half of what belongs together.
        _validate(merged, file)
    return Description.model_validate(merged)


def _validate(keys: dict[str, Any], file: Path) -> None:
    try:
        Description.model_validate(keys)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise InputError(f"{file}: {first['msg'].removeprefix('Value error, ')}; correct it") from error
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, Description.model_fields, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected {', '.join(Description.model_fields)}"
            raise InputError(f"{file}: unknown key '{key}'; {hint}") from error
        raise InputError(f"{file}: {key}: {first['msg']}, found {first['input']!r}; correct it") from error


def own_description(path: Path) -> Path:
    """Where a table's own description lies."""
    return path.with_name((table_stem(path) or path.stem) + ".toml")
