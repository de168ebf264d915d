"""What operators tell the workers of alarms."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from wheeltapper.schemas.avro_records import AvroEnum
from wheeltapper.schemas.message import Message, Micros

AlarmAction: TypeAlias = Literal["accept", "reset", "confirm", "reject", "maintenance"]


class AlarmCommand(Message):
    """What an operator says of a machine's alarms. Value of the `alarm-commands` topic.

    accept: this is the new normal; open alerts end, the raise level moves to what the recent scores need, and the rows since the
    change may be trained on. reset: the raise level returns to the bundle's. confirm: the alarm was true. reject: it was false.
    maintenance: from `start` to `until` the machine raises no alarms and nothing is learned.
    """

    command_id: str = Field(min_length=1, description="unique; a command that comes twice is applied once")
    machine: str = Field(min_length=1, description="machine id or pattern (fnmatch)")
    action: Annotated[AlarmAction, AvroEnum("wheeltapper.AlarmAction", default="confirm")]
    rule: str = Field(default="", description="which rule of the machine is meant; empty: all")
    alert_id: str = Field(default="", description="which alert is meant; empty: the open one, or the last")
    who: str = Field(min_length=1, description="who said so")
    at: Micros = Field(description="when it was said, by the clock, microseconds UTC")
    comment: str = ""
    start: Micros | None = Field(default=None, description="action maintenance: event time of its start")
    until: Micros | None = Field(default=None, description="action maintenance: event time of its end, not included")

    @model_validator(mode="after")
    def _maintenance_has_a_span(self) -> Self:
        if self.action == "maintenance" and (self.start is None or self.until is None or self.until <= self.start):
            raise ValueError("maintenance needs start and until, and until must be later")
        return self
