"""[input] and [windows]: what messages look like, and how their rows become windows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from wheeltapper.schemas.readings import MISSING_WORDS, NumberStyle, TimeStyle
from wheeltapper.stream.core.policies import WindowPolicy
from wheeltapper.stream.settings.connection import Section


class InputSettings(Section):
    """Where a message of the input topic carries machine, time and values; the defaults are SensorBlock's."""

    machine: str = Field(
        default="machine",
        description="field with the machine's id (a.b: nested; docs/gateways.md has all of paths), or 'key' for the record's key",
    )
    time: str = Field(default="ts", description="field with the event time, or 'record' for the record's own timestamp")
    time_unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = Field(
        default="auto",
        description="auto: texts, or numbers since 1970 whose size tells s, ms, us or ns (after 2001-09-09). Else numbers are of this "
        "unit; iso: texts alone",
    )
    time_format: str | None = Field(
        default=None,
        description="strptime format of texts, e.g. '%d.%m.%Y %H:%M:%S.%f'; none: ISO 8601 and what docs/datasets.md lists",
    )
    time_zone: str | None = Field(
        default=None,
        description="IANA name of the zone of texts without an offset, e.g. 'Europe/Berlin'; none: UTC. Of the two equal hours in autumn "
        "the one near the record's own timestamp counts, the first where that is more than a day away",
    )
    values: str = Field(
        default="values",
        description="field that holds the channels, or '' where they are fields of the message itself; rows[*]: each of a list of rows. "
        "Fields of groups among the channels are named group.field",
    )
    rename: dict[str, str] = Field(default_factory=dict, description="field of the message -> channel of the bundle")
    unknown_channels: Literal["dead-letter", "ignore"] = Field(
        default="dead-letter", description="what becomes of a message with channels that the bundle does not know"
    )
    missing_channels: Literal["dead-letter", "impute"] = Field(
        default="dead-letter",
        description="impute: an absent channel counts as null: last value carried forward, lower quality",
    )
    quoted_numbers: Literal["dead-letter", "read"] = Field(
        default="dead-letter",
        description="what becomes of a message with a text for a value. read: '3.2', 'true' and words for missing (as No Data, Bad, -: "
        "docs/datasets.md) are read as in a table",
    )
    decimal: Literal[".", ","] = Field(default=".", description="of numbers in texts")
    thousands: Literal["", ".", ",", "'", " "] = Field(default="", description="between groups of digits in texts")
    missing_words: tuple[str, ...] = Field(default=(), description="further texts that stand for a missing value")
    missing_values: tuple[float, ...] = Field(
        default=(), description="numbers that stand for a missing value, e.g. [-9999]"
    )
    max_message_bytes: int = Field(
        default=16 * 2**20, ge=1_000, description="larger messages go to dead-letters unread"
    )
    max_ahead_s: float = Field(
        default=86_400.0,
        ge=0,
        description="rows and sound whose event time is further ahead of their record's own timestamp go to dead-letters "
        "(time-ahead); a day, so that local times sent as UTC pass; 0: no limit, as for rows of a made-up future",
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> InputSettings:
        _ = self.times, self.numbers
        return self

    @property
    def times(self) -> TimeStyle:
        """How times are written."""
        return TimeStyle(self.time_unit, self.time_format, self.time_zone)

    @property
    def numbers(self) -> NumberStyle:
        """How values are written."""
        words = frozenset(word.strip().lower() for word in self.missing_words)
        return NumberStyle(
            self.decimal,
            self.thousands,
            MISSING_WORDS | words,
            self.missing_values,
            texts=self.quoted_numbers == "read",
        )

    check_interval_s: float = Field(
        default=10.0,
        ge=0.5,
        description="how often the worker looks whether the input topics are what they were: made anew, offsets gone back, messages "
        "expired, partitions added",
    )

    @property
    def is_native(self) -> bool:
        """True where messages are SensorBlocks, in any of the three encodings; their channels may still be renamed."""
        return (self.machine, self.time, self.time_unit, self.values) == ("machine", "ts", "auto", "values")


class WindowSettings(Section):
    """How rows become windows."""

    stride: int | None = Field(default=None, ge=1, description="rows between scored windows; none: the bundle's own")
    clock_restart_rows: int = Field(
        default=WindowPolicy.clock_restart_rows,
        ge=0,
        description="rows not newer than the machine's last are late: dropped and counted. After so many in a row its clock "
        "is taken as restarted; 0: never. A producer's retry may repeat some hundreds of rows",
    )
    max_gap_intervals: int = Field(
        default=WindowPolicy.max_gap_intervals,
        ge=0,
        description="a gap of more than so many sampling intervals empties the window; 0: gaps are bridged",
    )
    max_jump_intervals: int = Field(
        default=WindowPolicy.max_jump_intervals,
        ge=0,
        description="a row that is more sampling intervals ahead of the one before waits until 10 rows go on from it, or is "
        "refused with a row that goes on from the one before (dead letter 'time-ahead'); where the records' timestamps show the "
        "same gap it does not wait; 0: every time is believed",
    )
