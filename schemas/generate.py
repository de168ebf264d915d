"""Writes the JSON Schemas of all messages and of the bundle's manifest: `python -m wheeltapper.schemas.generate`.

The types in Python are the source; a test fails where a file differs. The Avro schemas are kept by hand, because they
say what no Python type does (what an older reader makes of a new enum symbol); a test holds them to the same types.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from wheeltapper.schemas.bundle.manifest import Manifest
from wheeltapper.schemas.codec import MAX_CHANNELS, MAX_ROWS
from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH
from wheeltapper.schemas.events import ActiveModel, AlertEvent, Label, LabelRequest, Localization, Micros, ScoreBlock

JSON_SCHEMA_FOLDER = Path(__file__).parent / "jsonschema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Not format date-time: that asks for an offset, and a reader takes a text without one as UTC.
_Time = str | Micros
_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
_Machine = Annotated[
    str | None, Field(max_length=MAX_NAME_LENGTH, description="may be left out where the message's key names it")
]
_Value = float | bool | None


class _SensorMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

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


class SensorBlock(RootModel[SensorRow | SensorRows]):
    """Value of the `sensors` topic: one row, or a block of rows."""


JSON_SCHEMA_MODELS: dict[str, type[BaseModel]] = {
    "sensor_block": SensorBlock,
    "score_block": ScoreBlock,
    "alert_event": AlertEvent,
    "localization": Localization,
    "label_request": LabelRequest,
    "label": Label,
    "active_model": ActiveModel,
    "manifest": Manifest,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of what a reader takes."""
    return {"$schema": DIALECT, **JSON_SCHEMA_MODELS[name].model_json_schema()}


def json_schema_text(name: str) -> str:
    """The file's text."""
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every file."""
    JSON_SCHEMA_FOLDER.mkdir(exist_ok=True)
    for name in JSON_SCHEMA_MODELS:
        path = JSON_SCHEMA_FOLDER / f"{name}.json"
        path.write_text(json_schema_text(name), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
