"""What every message type is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from wheeltapper.schemas.avro_records import AvroType
from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS

Micros = Annotated[int, Field(ge=MIN_MICROS, le=MAX_MICROS), AvroType("long", "timestamp-micros")]
"""Event time; the bounds are those of its text form, so that printing a message never fails."""


class Message(BaseModel):
    """Base of message types. Unknown fields are ignored: a newer sender may add some. Not-a-number has no form in JSON."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)
