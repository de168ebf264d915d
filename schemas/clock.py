"""Event time: int64 microseconds since 1970-01-01 UTC, and its text form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# 0001-01-01 .. 9999-12-31: outside of it no text form exists, and a value is a unit mistake.
MIN_MICROS = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
MAX_MICROS = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


def micros_from_iso(text: str) -> int:
    """ISO 8601 to microseconds; a text without an offset is UTC.

    Raises:
        ValueError: not ISO 8601, or outside of MIN_MICROS .. MAX_MICROS once its offset is applied.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micros = (moment - EPOCH) // MICROSECOND
    if not MIN_MICROS <= micros <= MAX_MICROS:
        raise ValueError(f"{text!r} is outside of the years 1 to 9999 in UTC")
    return micros


def iso_from_micros(micros: int) -> str:
    """Microseconds to ISO 8601 in UTC, with `Z` and no more decimals than needed.

    Raises:
        OverflowError: outside of MIN_MICROS .. MAX_MICROS.
    """
    moment = EPOCH + timedelta(microseconds=int(micros))
    precision = "microseconds" if moment.microsecond else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
