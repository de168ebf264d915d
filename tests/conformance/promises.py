"""Promises of the battery that a detector's spec may take exception from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wheeltapper.training.detectors.registry import DETECTORS

PROMISES = {
    "disturbed windows score three times as much",
    "the disturbed channel is blamed",
    "a constant channel that moves is blamed",
    "a constant channel that moves triples the score",
    "a loud tone scores above every normal window",
    "a tone is blamed where it is",
    "the disturbed axis is blamed",
    "later normal clips keep below the alarm level",
    "a tone is an alert on the stream",
}
"""The words given to `promised` in the tests of the battery."""


@contextmanager
def promised(name: str, promise: str) -> Iterator[None]:
    """What is asserted inside must hold, or must not where the spec says so: a stale exception fails."""
    assert promise in PROMISES, f"add '{promise}' to PROMISES"
    if promise not in DETECTORS[name].exceptions:
        yield
        return
    with pytest.raises(AssertionError):
        yield
