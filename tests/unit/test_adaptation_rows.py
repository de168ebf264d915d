"""What the adaptation worker knows of a machine's rows besides their values: maintenance, and what operators said of alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wheeltapper.adaptation.labels import windows_of_verdicts
from wheeltapper.adaptation.maintenance import maintenance_spans
from wheeltapper.stream.maintenance import maintenance_sources
from wheeltapper.stream.settings import MaintenanceSettings
from wheeltapper.training.adaptation.service.alerts import KnownAlert
from wheeltapper.training.adaptation.service.presumed_normal import outside
from wheeltapper.training.fitting.labels import ANOMALOUS, MOST_WINDOWS_OF_AN_ALERT, NORMAL, together

START = 1_767_225_600_000_000  # 2026-01-01
MINUTE = 60_000_000
WINDOW = 5


def known(opened: int, ended: int | None, verdict: str, *, rule: str = "pca") -> KnownAlert:
    """An alert from minute `opened` to minute `ended`."""
    until = None if ended is None else START + ended * MINUTE
    return KnownAlert(f"{rule}-{opened}", rule, "bundle", START + opened * MINUTE, 0, until, None, verdict)


def rows(minutes: range | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A row a minute that holds its minute."""
    times = START + MINUTE * np.array(minutes, dtype=np.int64)
    return times, np.array(minutes, dtype=np.float32)[:, None]


def judged(alerts: list[KnownAlert], minutes: range | list[int]) -> dict[int, int]:
    """Minute of a judged window's last row -> its label."""
    found = windows_of_verdicts(alerts, *rows(minutes), window=WINDOW, interval_s=60)
    if found is None:
        return {}
    assert found.windows.shape == (len(found), WINDOW, 1)
    lasts = ((found.times - START) // MINUTE).tolist()
    # each window ends in its row, and has the rows before it
    assert found.windows[:, :, 0].tolist() == [list(range(last - WINDOW + 1, last + 1)) for last in lasts]
    return dict(zip(lasts, found.labels.tolist(), strict=True))


def test_verdicts_on_alerts_are_labels_of_the_windows_that_they_opened_for() -> None:
    # given a confirmed, a rejected and an unjudged alert
    alerts = [known(20, 60, "confirm"), known(100, 102, "reject"), known(150, 160, "")]
    # then the first windows of the judged ones are labelled, no further than each lasted
    found = judged(alerts, range(200))
    assert found == {**dict.fromkeys(range(20, 25), ANOMALOUS), **dict.fromkeys(range(100, 103), NORMAL)}
    # and none of an alert whose rows are not there
    assert judged([known(500, 510, "confirm")], range(200)) == {}
    assert judged([known(20, None, "confirm")], range(0)) == {}


def test_no_labelled_window_spans_a_gap_and_one_that_is_known_as_a_fault_stays_one() -> None:
    # given a gap right before an alert: then its windows count from when they are whole
    minutes = [*range(10), *range(50, 80)]
    assert list(judged([known(52, None, "confirm")], minutes)) == [54, 55, 56]
    # when another rule's alert over the same rows was rejected, then there was a fault all the same
    both = [known(60, 70, "confirm"), known(60, 70, "reject", rule="bands")]
    assert set(judged(both, minutes).values()) == {ANOMALOUS}
    assert judged(both, minutes) == judged(both[::-1], minutes)


def test_a_long_window_gives_a_few_labels_and_they_join_others_by_time() -> None:
    times, values = rows(range(400))
    found = windows_of_verdicts([known(150, None, "reject")], times, values, window=100, interval_s=60)
    earlier = windows_of_verdicts([known(120, 121, "confirm")], times, values, window=100, interval_s=60)
    assert found is not None
    assert earlier is not None
    assert len(found) == MOST_WINDOWS_OF_AN_ALERT
    joined = together(found, None, earlier)
    assert joined is not None
    assert (np.diff(joined.times) > 0).all()
    assert joined.labels.tolist() == [ANOMALOUS, ANOMALOUS, *[NORMAL] * MOST_WINDOWS_OF_AN_ALERT]
    assert together(None) is None


def test_maintenance_of_the_calendar_is_not_learned_from(tmp_path: Path) -> None:
    # given a calendar with an hour each day for one machine, and one of another
    calendar = tmp_path / "maintenance.ics"
    calendar.write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//plant//EN\r\n"
        "BEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T010000Z\r\nDTEND:20260101T020000Z\r\nRRULE:FREQ=DAILY\r\n"
        "LOCATION:pump-1\r\nEND:VEVENT\r\n"
        "BEGIN:VEVENT\r\nUID:2\r\nDTSTART:20260101T000000Z\r\nDTEND:20260109T000000Z\r\nLOCATION:fan-*\r\nEND:VEVENT\r\n"
        "END:VCALENDAR\r\n"
    )
    sources = maintenance_sources(MaintenanceSettings(calendar=calendar))
    # when two days of rows are asked about
    times, _ = rows(range(2 * 24 * 60))
    kept = outside(times, [*maintenance_spans(sources, "pump-1", int(times[0]), int(times[-1]))])
    # then the hour of both days is left out, its last moment not
    hours = {datetime.fromtimestamp(moment / 1e6, UTC).hour for moment in times[~kept]}
    assert (hours, int((~kept).sum())) == ({1}, 120)
    # and a machine that has none keeps all
    assert [*maintenance_spans(sources, "press-1", int(times[0]), int(times[-1]))] == []
