"""Maintenance from an iCalendar file: when which machines raise no alarms and nothing is learned.

Times are event times, so a replay of old rows finds the maintenance of then. Recurring events, their exceptions and time zones are
the business of `recurring_ical_events`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.calendar import MaintenanceSpan, SpanSource
from wheeltapper.stream.settings import MaintenanceSettings

log = structlog.get_logger(__name__)

MONTH_US = 31 * 86_400 * 1_000_000
"""Recurring events are expanded in pieces of this length, each once."""

MACHINES = "LOCATION"
"""The property of an event that names its machines."""


class MaintenanceFile:
    """The events of one .ics file."""

    def __init__(self, path: Path, timezone: str = "UTC") -> None:
        """
        Args:
            timezone: of events whose times name none, and of whole days.

        Raises:
            InputError: no such file, no iCalendar, an unknown time zone, or the library that reads it is not installed.
        """
        self._path = path
        try:
            self._zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InputError(
                f"maintenance.timezone is {timezone!r}, expected a name such as 'UTC' or 'Europe/Berlin'"
            ) from error
        try:
            icalendar = importlib.import_module("icalendar")
            recurring = importlib.import_module("recurring_ical_events")
        except ModuleNotFoundError as error:
            raise InputError(
                f"maintenance.calendar needs {error.name}, which is not installed: pip install 'wheeltapper[calendar]'"
            ) from error
        try:
            calendar = icalendar.Calendar.from_ical(path.read_bytes())
        except OSError as error:
            raise InputError(f"maintenance.calendar: {path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise InputError(
                f"maintenance.calendar: {path}: is no iCalendar file ({error}); export the calendar as .ics"
            ) from error
        events = calendar.walk("VEVENT")
        if not events:
            log.warning("the maintenance calendar has no event", calendar=str(path))
        self._events = recurring.of(calendar, skip_bad_series=False)
        self._month = lru_cache(maxsize=24)(self._expand)
        self.spans(0, 1)  # a series that cannot be expanded is refused at start, not in the night

    def spans(self, first: int, last: int) -> list[MaintenanceSpan]:
        """Spans that meet the event times first..last (us), in order of their start; one may come more than once.

        Raises:
            InputError: an event whose times cannot be read.
        """
        months = range(first // MONTH_US, last // MONTH_US + 1)
        return [span for month in months for span in self._month(month) if span.start <= last and span.until > first]

    def _expand(self, month: int) -> tuple[MaintenanceSpan, ...]:
        start = datetime.fromtimestamp(month * MONTH_US / 1e6, UTC)
        # A whole day of another zone begins up to half a day before or after the same day of ours.
        day = timedelta(days=1)
        try:
            events = self._events.between(start - day, start + timedelta(microseconds=MONTH_US) + day)
            return tuple(
                sorted((span for event in events for span in self._spans_of(event)), key=lambda one: one.start)
            )
        except (ValueError, TypeError, OverflowError, LookupError) as error:
            raise InputError(
                f"maintenance.calendar: {self._path}: events around {start:%Y-%m} cannot be expanded ({error}); correct the "
                "event's DTSTART, DTEND or RRULE"
            ) from error

    def _spans_of(self, event: Any) -> Iterator[MaintenanceSpan]:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            return
        start, until = (self._micros(event.decoded(name)) for name in ("DTSTART", "DTEND"))
        if until <= start:
            return
        for pattern in str(event.get(MACHINES, "") or "*").split(","):
            yield MaintenanceSpan(pattern.strip() or "*", start, until)

    def _micros(self, moment: date | datetime) -> int:
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        return round(moment.timestamp() * 1e6)


def maintenance_sources(settings: MaintenanceSettings) -> list[SpanSource]:
    """Where the settings say that maintenance is announced; commands on the topic come beside it.

    Raises:
        InputError: as `MaintenanceFile`.
    """
    if settings.calendar is None:
        return []
    return [MaintenanceFile(settings.calendar, settings.timezone).spans]
