"""SensorBlock: 1..n rows of one machine, the value of the `sensors` topic; and what it is on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel

from wheeltapper.schemas.avro_records import AvroType
from wheeltapper.schemas.events import Micros
from wheeltapper.schemas.limits import MAX_CHANNELS, MAX_NAME_LENGTH, MAX_ROWS

if TYPE_CHECKING:  # the table of topics names this type, and is read where nothing else needs numpy
    import numpy as np


# eq=False: a generated == would compare arrays and fail on their truth value.
@dataclass(frozen=True, slots=True, eq=False)
class SensorBlock:
    """Rows of one machine, oldest first as its sender wrote them.

    Attributes:
        machine: the machine's id; not empty.
        ts: [n] int64, event time of each row, microseconds UTC.
        channels: C distinct names, the columns of `values`.
        values: [n, C] float32, raw engineering units; NaN where a sensor gave nothing. Never infinite.
    """

    machine: str
    ts: np.ndarray
    channels: tuple[str, ...]
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.ts)


# The codecs do not use what follows: it describes what they take, for the generated schemas,
# and is built when these are made.

# Not format date-time: that asks for an offset, and a reader takes a text without one as UTC.
_Time = str | Micros
_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
_Machine = Annotated[
    str | None, Field(max_length=MAX_NAME_LENGTH, description="may be left out where the message's key names it")
]
_Value = float | bool | None
_Float32 = Annotated[float, AvroType("float")]


class _SensorMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    machine: _Machine = None


class SensorRow(_SensorMessage):
    """One row of one machine."""

    ts: _Time = Field(description="event time: ISO 8601 (UTC where it has no offset) or integer microseconds UTC")
    values: dict[_Name, _Value] = Field(
        min_length=1,
        max_length=MAX_CHANNELS,
        description="channel -> raw engineering units, finite in float32; null where a sensor gave nothing",
    )


class SensorRows(_SensorMessage):
    """Rows of one machine, oldest first."""

    ts: list[_Time] = Field(min_length=1, max_length=MAX_ROWS, description="event time of each row")
    channels: list[_Name] = Field(
        min_length=1,
        max_length=MAX_CHANNELS,
        description="distinct names, the columns of values",
        json_schema_extra={"uniqueItems": True},
    )
    values: list[list[_Value]] = Field(min_length=1, description="one list a row, one value a channel")


class SensorBlockJson(RootModel[SensorRow | SensorRows]):
    """Value of the `sensors` topic: one row, or a block of rows."""

    model_config = ConfigDict(title="SensorBlock", defer_build=True)


class SensorBlockAvro(BaseModel):
    """1..n rows of one machine. Value of the `sensors` topic."""

    model_config = ConfigDict(defer_build=True)

    machine: str = Field(description="the machine's id; not empty")
    ts: list[Micros] = Field(description="event time of each row, microseconds UTC")
    channels: list[str] = Field(description="distinct names, the columns of values")
    values: list[list[_Float32]] = Field(
        description="one array per row, one float per channel, raw engineering units; NaN where a sensor gave nothing, "
        "never infinite"
    )
