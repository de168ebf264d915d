"""What the stream tells the world: alerts, localizations, scores, questions, dead letters; and the answers.

JSON is these models' `model_dump_json`; the .avsc files in `schemas/avro` and the JSON Schemas in
`schemas/jsonschema` describe the same fields for other languages and are made from these types.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wheeltapper.schemas.avro_records import AvroEnum
from wheeltapper.schemas.message import Message, Micros


class Deviation(StrEnum):
    """In what way a channel was unusual. Letters and _ alone: Avro spells it within a record."""

    OUT_OF_RANGE = "out_of_range"
    """Its value lay outside of what it usually is."""
    CHANGED = "changed"
    """Its value was usual, its move away from the recent past was not."""
    STUCK = "stuck"
    """It stood still for longer than it ever did in training."""
    DECOUPLED = "decoupled"
    """Its value was usual in itself, but did not go with the other channels."""


class WorstRow(Message):
    """Where in the window a channel was furthest from its usual self, and how."""

    time: Micros = Field(
        description="event time of that row, of a stuck channel of the first of its rows that are alike"
    )
    kind: Annotated[Deviation, AvroEnum("Deviation", default="changed")]
    actual: float = Field(description="the channel's value there, raw units")
    expected: float | None = Field(
        default=None,
        description="what it would have been: of 'changed' its recent past, of 'decoupled' what goes with the other channels",
    )
    low: float | None = Field(default=None, description="lower end of its usual range: 99.8 % of training lies within")
    high: float | None = Field(default=None, description="upper end of its usual range")


class ChannelShare(Message):
    """One channel's part in a score."""

    channel: str
    unit: str = ""
    share: float = Field(ge=0, le=1, description="part of the window's contributions, 0..1")
    actual: float | None = Field(description="the scored row's value, raw units; null where the sensor gave none")
    expected: float | None = Field(default=None, description="what the detector expected, raw units, if it says so")
    worst: WorstRow | None = Field(
        default=None,
        description="the row at which the channel was furthest from its usual self, as a score looks back; null where none is "
        "found, and of channels with less than a tenth of the largest share",
    )


class Patch(Message):
    """A part of a clip in time and frequency, and its part in the score."""

    start: Micros = Field(description="microseconds UTC")
    end: Micros = Field(description="microseconds UTC")
    low_hz: float = Field(ge=0)
    high_hz: float = Field(gt=0)
    channel: str = Field(default="", description="axis of an accelerometer; empty of a microphone")
    share: float = Field(ge=0, le=1, description="part of the clip's contributions, 0..1")


class ClipPointer(Message):
    """Where the sound of an alert lies on Kafka."""

    topic: str
    partition: int = Field(ge=0, le=2**31 - 1)
    first_offset: int = Field(ge=0, le=2**63 - 1, description="of the first message with samples of the clip")
    last_offset: int = Field(ge=0, le=2**63 - 1, description="of the last one")
    start: Micros = Field(description="event time of the clip's first sample, microseconds UTC")
    end: Micros = Field(description="event time behind its last sample, microseconds UTC")
    machine: str = Field(min_length=1, description="as the chunks have it")
    microphone: str = Field(default="", description="as the chunks have it")
    channels: tuple[str, ...] = Field(
        default=(),
        description="names of the chunks' channels in their order, as patches have them; empty of one channel",
    )


class InputSpan(Message):
    """Messages of one partition, both ends included; those of other machines may be among them."""

    topic: str
    partition: int = Field(ge=0, le=2**31 - 1)
    first_offset: int = Field(ge=0, le=2**63 - 1)
    last_offset: int = Field(ge=0, le=2**63 - 1)


class ClearReason(StrEnum):
    """Why an alert ended."""

    RECOVERED = "recovered"
    """The score has fallen below the clear level, or a silent machine has spoken again."""
    SUPERSEDED = "superseded"
    """Its bundle or rule was replaced."""
    MACHINE_RETIRED = "machine-retired"
    """No bundle serves the machine any more."""
    NO_DATA = "no-data"
    """The machine fell silent and was forgotten."""
    ACCEPTED = "accepted"
    """An operator said that this is the new normal."""


class AlertEvent(Message):
    """One step in the life of an alert: opened -> updated* -> cleared. Value of the `alerts` topic."""

    alert_id: str = Field(
        min_length=1, description="UUIDv5 of machine, rule, bundle and opening time: the same input, the same id"
    )
    machine: str = Field(min_length=1)
    event: Annotated[Literal["opened", "updated", "cleared"], AvroEnum("wheeltapper.AlertStep", default="updated")]
    opened_at: Micros = Field(
        description="event time of the row that opened it, of rule 'no-data' of the last row, microseconds UTC"
    )
    time: Micros = Field(description="event time of the row that caused this event, microseconds UTC")
    severity: int = Field(
        ge=0,
        le=100,
        description="0..100, of the worst score so far; 50 is the alarm level. As 1..1000 (OPC UA): ten times that, at least 1",
    )
    score: float = Field(
        ge=0,
        description="calibrated score of the row at `time`; 1.0 is the bundle's alarm level. Of rule 'no-data': silence "
        "divided by the allowed silence",
    )
    peak_score: float = Field(ge=0, description="worst calibrated score since the alert opened")
    threshold: float = Field(description="raise level in force at `time`, in calibrated score")
    rule: str = Field(description="which rule of the machine raised it; a bundle is a rule")
    detector: str
    bundle: str = Field(description="id of the bundle that scored it; empty where no bundle did (rule 'no-data')")
    quality: float = Field(ge=0, le=1, description="share of the window's values that were measured, not imputed")
    channels: tuple[ChannelShare, ...] = Field(
        description="the channels to blame, strongest first; none with less than a tenth of the largest share"
    )
    # An unknown reason must not be taken for a recovery: the machine may still be ill.
    reason: Annotated[ClearReason, AvroEnum("ClearReason", default="superseded")] | None = Field(
        default=None, description="why the alert ended; null while it is open"
    )
    level_reason: str = Field(
        default="", description="why the raise level stands where it does, for a person; empty where nothing moved it"
    )
    patches: tuple[Patch, ...] = Field(
        default=(), description="of sound: the moments and frequencies to blame, strongest first; empty of rows"
    )
    message: str = Field(default="", description="what happened, one sentence in English for an operator")
    area: str = Field(
        default="", description="where the machine stands, as the worker's settings have it: outermost first, by /"
    )
    asset: str = Field(
        default="", description="the machine's name in the asset register, as the worker's settings have it"
    )
    input: InputSpan | None = Field(
        default=None, description="the messages that the window at `time` came in; null where the alert has no window"
    )


class Localization(Message):
    """Every channel's part in one alert event. Value of the `localizations` topic."""

    alert_id: str = Field(min_length=1)
    machine: str = Field(min_length=1)
    time: Micros = Field(description="event time of the scored row, microseconds UTC")
    rule: str
    detector: str
    bundle: str
    channels: tuple[ChannelShare, ...] = Field(description="ranked, strongest first")
    patches: tuple[Patch, ...] = Field(default=(), description="of sound: ranked, strongest first; empty of rows")
    clip: ClipPointer | None = Field(default=None, description="of sound: where it lies on Kafka; null of rows")


class ScoreBlock(Message):
    """Scores of one machine by one bundle. Value of the `scores` topic; all lists have one entry a window."""

    machine: str = Field(min_length=1)
    rule: str
    bundle: str
    time: tuple[Micros, ...] = Field(description="event time of the scored row, microseconds UTC")
    raw: tuple[float, ...] = Field(description="score as the graph gave it")
    score: tuple[float, ...] = Field(description="calibrated score; 1.0 is the bundle's alarm level")
    threshold: tuple[float, ...] = Field(description="raise level in force, in calibrated score")
    quality: tuple[float, ...] = Field(description="share of measured values in the window, 0..1")
    maintenance: tuple[bool, ...] = Field(
        default=(),
        description="whether the machine was in maintenance: no alarms, nothing learned; empty: in no window",
    )

    @model_validator(mode="after")
    def _one_entry_a_window(self) -> Self:
        lengths = {len(part) for part in (self.time, self.raw, self.score, self.threshold, self.quality)}
        if len(lengths) > 1 or len(self.maintenance) not in {0, *lengths}:
            raise ValueError(f"time, raw, score, threshold and quality must be equally long, got {sorted(lengths)}")
        return self


class LabelRequest(Message):
    """A window that a rule was unsure of, for a person to judge. Value of the `label-requests` topic.

    The window is in it, so that whoever answers sees the curves, and whoever trains needs no other store.
    """

    request_id: str = Field(
        min_length=1, description="UUIDv5 of machine, rule, bundle and time: the same input, the same id"
    )
    machine: str = Field(min_length=1)
    time: Micros = Field(description="event time of the scored row, which is the one to judge, microseconds UTC")
    rule: str
    detector: str
    bundle: str
    score: float = Field(ge=0, description="calibrated score; 1.0 is the bundle's alarm level")
    threshold: float = Field(description="raise level in force at `time`, in calibrated score")
    uncertainty: float = Field(
        ge=0, le=1, description="1 where the score is at the threshold, 0 as far from it as windows are asked for"
    )
    quality: float = Field(ge=0, le=1, description="share of the window's values that were measured, not imputed")
    shares: tuple[ChannelShare, ...] = Field(description="the channels that the score comes from, strongest first")
    channels: tuple[str, ...] = Field(min_length=1, description="the columns of values")
    units: tuple[str, ...] = Field(description="of each channel; empty where it has none")
    ts: tuple[Micros, ...] = Field(
        min_length=1, description="event time of each row of the window, oldest first, microseconds UTC"
    )
    values: tuple[tuple[float | None, ...], ...] = Field(
        description="a list a row, a value a channel, raw units; null where the sensor gave none"
    )

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        width = len(self.channels)
        if len(self.units) != width:
            raise ValueError(f"{len(self.units)} units of {width} channels, expected one each")
        if len(self.values) != len(self.ts) or any(len(row) != width for row in self.values):
            raise ValueError(f"values must be {len(self.ts)} rows, as ts has, of {width} channels each")
        if self.time not in self.ts:
            raise ValueError(f"time {self.time} is none of the window's rows")
        return self


class Label(Message):
    """What a person said of a window that was asked about, or of an alert. Value of the `labels` topic; the last one of each counts."""

    request_id: str = Field(min_length=1, description="the LabelRequest that it answers, or the alert that it judges")
    machine: str = Field(min_length=1)
    time: Micros = Field(
        description="the request's: event time of the judged row, microseconds UTC; of an alert when it opened"
    )
    label: Annotated[Literal["normal", "anomalous", "unsure"], AvroEnum("wheeltapper.LabelKind", default="unsure")]
    who: str = Field(min_length=1, description="who said so")
    at: Micros = Field(description="when it was said, by the clock, microseconds UTC")
    comment: str = ""
    alert_id: str = Field(default="", description="the alert that it judges; empty where it answers a request")
    until: Micros | None = Field(
        default=None,
        description="of an alert: event time of its end, or of its last event where it was still open, microseconds UTC; "
        "'normal' says that the alert was false, 'anomalous' that it was right; null where it answers a request",
    )


class DeadLetterReason(StrEnum):
    """Why a message went to `dead-letters`."""

    NOT_DECODABLE = "not-decodable"
    TOO_LARGE = "too-large"
    NO_MACHINE = "no-machine"
    BAD_TIME = "bad-time"
    TIME_AHEAD = "time-ahead"
    WRONG_WIDTH = "wrong-width"
    WRONG_RATE = "wrong-rate"
    UNKNOWN_CHANNEL = "unknown-channel"
    MISSING_CHANNEL = "missing-channel"
    NOT_A_NUMBER = "not-a-number"
    NOT_FINITE = "not-finite"
    NO_ROUTE = "no-route"
    BAD_HEADER = "bad-header"
    """The name of one of its headers is no UTF-8."""
    BAD_FRAME = "bad-frame"
    """Records that came packed together, of which nothing can be unpacked, or too much."""


class DeadLetterHeader(StrEnum):
    """Header names of a dead letter; values are UTF-8 text. The original's own headers follow, unchanged."""

    REASON = "wheeltapper-reason"
    DETAIL = "wheeltapper-detail"
    TOPIC = "wheeltapper-topic"
    PARTITION = "wheeltapper-partition"
    OFFSET = "wheeltapper-offset"
    ORIGINAL_SIZE = "wheeltapper-original-size"
    """Bytes of the original value; present where the dead letter carries only its first part."""
    ORIGINAL_KEY_SIZE = "wheeltapper-original-key-size"
    """Bytes of the original key; present where the dead letter carries only its first part."""
    HEADERS_LEFT_OUT = "wheeltapper-headers-left-out"
    """How many of the original's headers are missing; present where some are."""
    LAST_OFFSET = "wheeltapper-last-offset"
    """Of a frame that could not be unpacked: offset of its last record; wheeltapper-offset is that of its first."""
