"""Maintenance from an iCalendar file: recurring events, time zones, whole days, and files that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import block_of, feed, message_of
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.schemas.topics import ALERTS, SCORES
from wheeltapper.stream.core.calendar import Calendar
from wheeltapper.stream.maintenance import MaintenanceFile, maintenance_sources
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import load_settings

WEEKLY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//plant//maintenance//EN
BEGIN:VEVENT
UID:lubrication@plant
DTSTART;TZID=Europe/Berlin:20260302T060000
DTEND;TZID=Europe/Berlin:20260302T080000
RRULE:FREQ=WEEKLY;COUNT=20
EXDATE;TZID=Europe/Berlin:20260309T060000
LOCATION:pump-*, press-3
SUMMARY:Lubrication
END:VEVENT
BEGIN:VEVENT
UID:shutdown@plant
DTSTART;VALUE=DATE:20260501
DTEND;VALUE=DATE:20260502
SUMMARY:Shutdown of the whole plant
END:VEVENT
BEGIN:VEVENT
UID:called-off@plant
DTSTART:20260603T060000Z
DTEND:20260603T080000Z
STATUS:CANCELLED
END:VEVENT
END:VCALENDAR
"""


def micros(*moment: int) -> int:
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1e6)  # type: ignore[arg-type, misc]


def in_maintenance(calendar: Calendar, machine: str, *moment: int) -> bool:
    return calendar.mask(machine, np.array([micros(*moment)])) is not None


@pytest.fixture
def calendar(tmp_path: Path) -> Calendar:
    path = tmp_path / "plant.ics"
    path.write_text(WEEKLY.replace("\n", "\r\n"))
    return Calendar([MaintenanceFile(path, "Europe/Berlin").spans])


def test_a_recurring_event_holds_in_its_own_time_zone_also_after_the_change_to_summer_time(calendar: Calendar) -> None:
    # 6 to 8 in Berlin is 5 to 7 UTC in winter, 4 to 6 in summer
    assert in_maintenance(calendar, "pump-7", 2026, 3, 2, 5, 0)
    assert not in_maintenance(calendar, "pump-7", 2026, 3, 2, 7, 0)
    assert in_maintenance(calendar, "pump-7", 2026, 4, 6, 4, 30)
    assert not in_maintenance(calendar, "pump-7", 2026, 4, 6, 6, 30)
    assert in_maintenance(calendar, "press-3", 2026, 4, 6, 4, 30)


def test_an_exception_another_machine_and_a_cancelled_event_are_not_maintenance(calendar: Calendar) -> None:
    assert not in_maintenance(calendar, "pump-7", 2026, 3, 9, 5, 30)
    assert not in_maintenance(calendar, "press-4", 2026, 3, 2, 5, 30)
    assert not in_maintenance(calendar, "pump-7", 2026, 6, 3, 7, 0)


def test_a_whole_day_without_machines_is_for_all_in_the_plants_time_zone(calendar: Calendar) -> None:
    assert in_maintenance(calendar, "any-machine", 2026, 4, 30, 22, 0)
    assert in_maintenance(calendar, "any-machine", 2026, 5, 1, 21, 59)
    assert not in_maintenance(calendar, "any-machine", 2026, 5, 1, 22, 0)


@pytest.mark.parametrize(
    ("text", "timezone", "message"),
    [
        ("no calendar", "UTC", r"plant\.ics: is no iCalendar file .*; export the calendar as \.ics"),
        (WEEKLY, "Berlin", r"maintenance\.timezone is 'Berlin', expected a name such as"),
        (None, "UTC", r"plant\.ics: cannot be read \(No such file or directory\)"),
    ],
)
def test_what_cannot_be_read_is_refused_at_start(tmp_path: Path, text: str | None, timezone: str, message: str) -> None:
    path = tmp_path / "plant.ics"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        MaintenanceFile(path, timezone)


def test_a_machine_in_maintenance_raises_no_alert_and_its_scores_say_so(
    open_routes: OpenRoutes, tmp_path: Path
) -> None:
    # Given a machine that is loud for an hour, in which the calendar says that it is worked on
    path = tmp_path / "plant.ics"
    path.write_text(WEEKLY.replace("\n", "\r\n"))
    start = micros(2026, 3, 2, 5, 0)
    values = np.zeros((120, 3), np.float32)
    values[10:70] = 50.0
    block = block_of("pump-7", values, times=start + 60_000_000 * np.arange(120))
    chosen = load_settings(maintenance={"calendar": path, "timezone": "Europe/Berlin"}, threshold={"method": "fixed"})
    plain = load_settings(threshold={"method": "fixed"})
    # When the pipeline sees it with and without the calendar
    with_calendar, without = (
        feed(
            Pipeline(open_routes(Recipe(window=2)), settings, maintenance_sources(settings.maintenance)),
            [message_of(block)],
        )
        for settings in (chosen, plain)
    )
    # Then only the machine without maintenance is told of, and the scores of the other are marked
    assert [output for output in without if output.topic == ALERTS]
    assert not [output for output in with_calendar if output.topic == ALERTS]
    marked = [
        decode_message(ScoreBlock, output.value or b"").maintenance
        for output in with_calendar
        if output.topic == SCORES
    ]
    assert sum(map(sum, marked)) == 119
