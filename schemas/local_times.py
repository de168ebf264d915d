"""Local clocks to UTC, with both hours that a clock shows twice in autumn kept apart.

A time that a clock skips in spring is read with the offset before the change: 02:30 becomes 03:30.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wheeltapper.schemas.clock import EPOCH, MAX_MICROS, MICROSECOND, MIN_MICROS

_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
_DAY_US = 86_400_000_000


@lru_cache(maxsize=64)
def check_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises:
        ValueError: no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time zone {name!r} is not known, expected an IANA name, e.g. Europe/Berlin or UTC") from None


def local_to_utc(micros: int, zone: str, near: int | None = None) -> int:
    """Microseconds of a local clock to microseconds UTC.

    Args:
        near: of two equal local times the one nearer to this counts; the first where neither is within a day of it, or None.
    """
    first, second = _both(micros, zone)
    if near is not None and first < second and abs(second - near) < abs(first - near) and abs(second - near) <= _DAY_US:
        return second
    return first


def _both(micros: int, zone: str) -> tuple[int, int]:
    """UTC of the first and of the second pass; the same where the clock shows the time once, or never."""
    offset, later = clock_offsets(micros, zone)
    return micros - offset, micros - later


def clock_offsets(micros: int, zone: str) -> tuple[int, int]:
    """Microseconds that a local clock is ahead of UTC at its own time, at the first and the second pass."""
    if not MIN_MICROS + _DAY_US <= micros <= MAX_MICROS - _DAY_US:
        return 0, 0
    moment = (_NAIVE_EPOCH + timedelta(microseconds=micros)).replace(tzinfo=check_zone(zone))
    first, second = moment.utcoffset(), moment.replace(fold=1).utcoffset()
    assert first is not None
    assert second is not None
    # Where the clock skips this time, the offset of fold 1 is the one after the change, and larger: no second pass.
    return first // MICROSECOND, min(first, second) // MICROSECOND
