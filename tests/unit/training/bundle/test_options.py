"""--set key=value: typed, and helpful where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.fitting.options import parse_assignments, with_settings


@dataclass(frozen=True)
class Example:
    rows: int = 1
    share: float = 0.5
    fast: bool = False
    name: str = "a"
    mode: Literal["slow", "quick"] = "slow"
    limit: int | None = None
    inner: tuple[int, ...] = ()


def test_values_take_the_type_of_their_field() -> None:
    values = parse_assignments(["rows=3", "share=.25", "fast=yes", "name=b=c", "mode=quick", "limit=7"])
    assert with_settings(Example(), values, what="x") == Example(3, 0.25, True, "b=c", "quick", 7)
    assert with_settings(Example(limit=3), {"limit": "none"}, what="x").limit is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"row": "3"}, "x has no setting 'row'; did you mean 'rows'"),
        ({"inner": "3"}, "no setting 'inner'"),
        ({"rows": "3.5"}, "rows=3.5: expected a whole number"),
        ({"share": "much"}, "share=much: expected a number"),
        ({"fast": "2"}, "expected true or false"),
        ({"mode": "fast"}, "expected one of slow, quick"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_settings(Example(), values, what="x")


@pytest.mark.parametrize("texts", [["rows"], ["=3"], ["rows="], ["rows=1", "rows=2"]])
def test_wrong_assignments_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--set"):
        parse_assignments(texts)
