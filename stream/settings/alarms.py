"""[threshold], [no_data], [labels] and [maintenance]: when a machine is in alarm, and who is asked."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from wheeltapper.stream.core.policies import AlarmPolicy, ThresholdMethod
from wheeltapper.stream.settings.connection import Section


class ThresholdSettings(Section):
    """When a calibrated score becomes an alert. 1.0 is the bundle's alarm level."""

    method: ThresholdMethod = Field(
        default=AlarmPolicy.method,
        description="how the raise level of a machine comes about, see docs/operating.md. budget: alarms that open raise it, "
        "time lets it sink; fixed: it stays; the others are learned from quiet scores, aci from alarms",
    )
    false_alarms_per_day: float = Field(
        default=AlarmPolicy.false_alarms_per_day,
        gt=0,
        le=1e4,
        description="expected false alarms per machine and day: the sensitivity, whatever the method",
    )
    raise_level: float | None = Field(
        default=AlarmPolicy.raise_level,
        gt=0,
        le=1e9,
        description="calibrated score that raises an alert (method fixed), or that the level starts from (the learned ones; not "
        "budget and aci); none: the level for false_alarms_per_day",
    )
    clear_ratio: float = Field(
        default=AlarmPolicy.clear_ratio,
        gt=0,
        le=1,
        description="an open alert clears below this share of the raise level",
    )
    min_duration_s: float = Field(
        default=AlarmPolicy.min_duration_s,
        ge=0,
        description="seconds above the raise level before an alert opens, where a window stands for the time up to the next; "
        "0: one window opens it",
    )
    clear_duration_s: float | None = Field(
        default=AlarmPolicy.clear_duration_s,
        ge=0,
        description="seconds below the clear level before an alert clears; none: 30 intervals between scored windows, an hour "
        "at most",
    )
    cool_down_s: float = Field(
        default=AlarmPolicy.cool_down_s,
        ge=0,
        description="after an alert has cleared no other opens for so long, unless its severity is higher by 20; 0: none",
    )
    reopen_s: float = Field(
        default=AlarmPolicy.reopen_s,
        ge=0,
        description="an alert that would open so soon after the last one cleared is the last one again: same id, not counted "
        "anew; 0: always a new one",
    )
    spot_tail: float = Field(
        default=AlarmPolicy.spot_tail,
        gt=0,
        lt=0.5,
        description="share of normal scores that the tail is fitted on (methods spot and dspot)",
    )


class NoDataSettings(Section):
    """Machines that fall silent: alerts of the rule 'no-data', by the wall clock."""

    after_intervals: int = Field(
        default=60,
        ge=0,
        description="a machine that sends nothing for so many of its bundle's sampling intervals opens an alert, which clears "
        "when it sends again; 0: never",
    )
    at_least_s: float = Field(
        default=60.0, gt=0, description="but never after less than this: fast machines pause between messages"
    )


class LabelSettings(Section):
    """Windows that a rule is unsure of, sent to `label-requests` for a person to judge."""

    enabled: bool = Field(default=False, description="ask at all; 'wheeltapper label' answers")
    margin: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="ask only about windows whose score is no further from the raise level than this share of it",
    )
    per_day: float = Field(
        default=1.0,
        gt=0,
        le=1_440,
        description="at most so many requests per machine, bundle and day of event time; each is about the least certain "
        "window of its stretch (1 day / per_day) and is sent when that has ended",
    )


class MaintenanceSettings(Section):
    """When machines are worked on: no alarms, and nothing is learned. `wheeltapper alarm maintenance` says it while a worker runs."""

    calendar: Path | None = Field(
        default=None,
        description="iCalendar file (.ics) read at start; an event's LOCATION names machines or patterns, separated by commas; "
        "an event without one is for all",
    )
    timezone: str = Field(
        default="UTC", description="of events whose times name none, and of whole days, e.g. Europe/Berlin"
    )
