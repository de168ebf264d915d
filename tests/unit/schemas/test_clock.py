"""Event time: microseconds and their text form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS, iso_from_micros, micros_from_iso


@given(micros=st.integers(MIN_MICROS, MAX_MICROS))
@settings(derandomize=True, deadline=None)
def test_every_time_survives_its_text(micros: int) -> None:
    assert micros_from_iso(iso_from_micros(micros)) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00.000001", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_texts_with_and_without_an_offset(text: str, micros: int) -> None:
    assert micros_from_iso(text) == micros


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_what_is_no_time_or_leaves_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        micros_from_iso(text)


def test_decimals_only_where_needed() -> None:
    assert iso_from_micros(1_793_866_380_000_000) == "2026-11-05T08:13:00Z"
    assert iso_from_micros(1_793_866_380_500_000) == "2026-11-05T08:13:00.500000Z"
