"""Names and durations as people read them."""

from __future__ import annotations

import pytest

from wheeltapper.schemas.text import counted, did_you_mean, duration, first_names


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


@pytest.mark.parametrize(
    ("number", "noun", "text"), [(0, "clip", "0 clips"), (1, "clip", "1 clip"), (2, "process", "2 processes")]
)
def test_things_are_counted(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("pmup-7", "; did you mean 'pump-7'?"),
        ("PUMP_7", "; did you mean 'pump-7'?"),
        ("fan", ""),
        ("", ""),
    ],
)
def test_a_slip_is_answered_with_the_nearest_name(word: str, hint: str) -> None:
    assert did_you_mean(word, ["mill-1", "pump-7"]) == hint


def test_of_two_spellings_the_first_is_named() -> None:
    assert did_you_mean("a-b", ["A_B", "a-b "]) == "; did you mean 'A_B'?"
    assert did_you_mean("anything", []) == ""
