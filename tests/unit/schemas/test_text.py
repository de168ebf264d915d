"""Names and durations as people read them."""

from __future__ import annotations

import pytest

from wheeltapper.schemas.text import duration, first_names


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b and 1 more")]
)
def test_the_first_names_and_how_many_more(names: list[str], text: str) -> None:
    assert first_names(names, 2) == text


@pytest.mark.parametrize(
    ("seconds", "text", "fixed"),
    [
        (0.5, "0.5 s", "0.5 s"),
        (12.345, "12.3 s", "12.3 s"),
        (90.0, "1.5 min", "1.5 min"),
        (7200.0, "2 h", "2.0 h"),
        (172_800.0, "2 d", "2.0 d"),
    ],
)
def test_durations_are_in_the_largest_unit(seconds: float, text: str, fixed: str) -> None:
    assert duration(seconds) == text
    assert duration(seconds, ".1f") == fixed
