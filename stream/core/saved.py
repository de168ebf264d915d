"""Reading what a snapshot says: values of the right type and in the range that the live stream can bring about.

A record of the `state` topic may be damaged, of another version or forged. What comes out of these functions can be reckoned with;
what does not fit is an error, and costs the part of the state that it stands in.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS

T = TypeVar("T")

LARGEST = 2**63 - 1
"""Offsets and counts are int64."""

LONGEST_US = MAX_MICROS - MIN_MICROS
"""No time between two rows is longer."""

HIGHEST_SCORE = 1e10
"""Calibrated scores end at 1e9; levels lie a little above the scores that they were learned from."""

LONGEST_TEXT = 4_096


def whole(value: Any, least: int = 0, most: int = LARGEST) -> int:
    """A whole number.

    Raises:
        TypeError, ValueError: it is something else, or out of range; so do the others.
    """
    if type(value) is not int:
        raise TypeError(f"{_short(value)} is no whole number")
    if not least <= value <= most:
        raise ValueError(f"{value} is not in {least} .. {most}")
    return value


def moment(value: Any) -> int:
    """Event time, microseconds."""
    return whole(value, MIN_MICROS, MAX_MICROS)


def span(value: Any) -> int:
    """Time between two moments, microseconds."""
    return whole(value, 0, LONGEST_US)


def number(value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number."""
    if type(value) not in (int, float):
        raise TypeError(f"{_short(value)} is no number")
    found = float(value)
    if not (math.isfinite(found) and least <= found <= most):
        raise ValueError(f"{value} is not in {least:g} .. {most:g}")
    return found


def score(value: Any) -> float:
    """A calibrated score."""
    return number(value, 0.0, HIGHEST_SCORE)


def level(value: Any) -> float:
    """A raise level, or a factor of one: above 0, or nothing would ever be below it."""
    return number(value, 1e-12, HIGHEST_SCORE)


def text(value: Any, most: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is no text")
    if len(value) > most:
        raise ValueError(f"a text of {len(value)} characters, at most {most} are expected")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_short(value)} is neither true nor false")
    return value


def optional(read: Callable[[Any], T], value: Any) -> T | None:
    """None, or what `read` makes of it."""
    return None if value is None else read(value)


def listed(read: Callable[[Any], T], value: Any, most: int) -> list[T]:
    """A list of at most so many."""
    if not isinstance(value, list):
        raise TypeError(f"{_short(value)} is no list")
    if len(value) > most:
        raise ValueError(f"{len(value)} entries, at most {most} are expected")
    return [read(one) for one in value]


def array(value: Any, dtype: str, most: int, *, finite: bool = True) -> np.ndarray:
    """[n] of `dtype`, from base64 text; at most so many values, none of them infinite, nor NaN unless it may be."""
    raw = base64.b64decode(text(value, 2 * most * np.dtype(dtype).itemsize + 4), validate=True)
    found = np.frombuffer(raw, dtype=dtype).copy()  # what comes from bytes cannot be written to
    if len(found) > most:
        raise ValueError(f"{len(found)} values, at most {most} are expected")
    if np.isinf(found).any() or (finite and np.isnan(found).any()):
        raise ValueError("values that are no finite numbers")
    return found


def _short(value: Any) -> str:
    return repr(value)[:60]
