"""A dead letter as its readers see it: the worker's headers apart from the original's own."""

from __future__ import annotations

import pytest

from wheeltapper.dead_letters import CUT_MARKS, dead_letter
from wheeltapper.follow.follower import TopicRecord


def record_of(*headers: tuple[str, bytes | None], value: bytes | None = b"value") -> TopicRecord:
    return TopicRecord(value or b"", None, 1_000, "dead-letters", 0, 5, b"\xff", headers, value is not None)


def test_the_first_of_our_headers_is_the_workers_a_second_one_the_originals_own() -> None:
    # given the dead letter of a message that was a dead letter's copy
    letter = dead_letter(
        record_of(
            ("wheeltapper-reason", b"no-route"),
            ("wheeltapper-detail", b"no bundle \xff"),
            ("wheeltapper-topic", b"plant.rows"),
            ("wheeltapper-partition", b"3"),
            ("wheeltapper-offset", b"17"),
            ("wheeltapper-reason", b"bad-time"),
            ("content-type", b"application/json"),
            ("empty", None),
        )
    )
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == ("no-route", "plant.rows", 3, 17)
    assert letter.detail.startswith("no bundle ")
    assert letter.headers == (
        ("wheeltapper-reason", b"bad-time"),
        ("content-type", b"application/json"),
        ("empty", None),
    )
    assert (letter.key, letter.value, letter.is_whole) == (b"\xff", b"value", True)


@pytest.mark.parametrize("mark", CUT_MARKS)
def test_a_letter_that_says_that_something_is_missing_is_not_whole(mark: str) -> None:
    assert not dead_letter(record_of((mark, b"9"))).is_whole


def test_what_is_no_dead_letter_says_nothing() -> None:
    letter = dead_letter(record_of(("wheeltapper-partition", b"many"), value=None))
    assert (letter.reason, letter.topic, letter.partition, letter.offset, letter.value) == ("", "", -1, -1, None)
