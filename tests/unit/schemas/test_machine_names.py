"""A name is one machine's, whatever characters it has; a pattern stands for several."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheeltapper.schemas.machine_names import is_pattern, matches


@given(st.text(min_size=1))
def test_every_name_matches_itself(name: str) -> None:
    assert matches(name, name)


@given(st.text(alphabet="ab*?[]!-=;", max_size=8), st.text(alphabet="ab*?[]!-=;", max_size=8))
def test_other_names_match_as_fnmatch_says(pattern: str, name: str) -> None:
    assert matches(pattern, name) == (pattern == name or fnmatchcase(name, pattern))


@pytest.mark.parametrize(
    ("name", "expected"), [("pump-7", False), ("pump-*", True), ("a?", True), ("a[1]", True), ("a]", False)]
)
def test_patterns_are_told_by_their_characters(name: str, expected: bool) -> None:
    assert is_pattern(name) is expected
