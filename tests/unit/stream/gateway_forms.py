"""Messages as gateways send them, in many forms, and what reads one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    START,
    Message,
    block_of,
    feed,
)
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import (
    AssemblySettings,
    InputSettings,
    Settings,
    ThresholdSettings,
)

# Rows of the tests lie on whole minutes.
GRID = START - START % MINUTE
CHANNELS = ("a", "b", "c")
FIXED = ThresholdSettings(method="fixed", clear_duration_s=180)


class Form(NamedTuple):
    """One gateway's way of sending: its settings, and a row (time in ms, values) as one or more messages.

    Attributes:
        key: of its records.
    """

    input: dict[str, Any]
    assembly: dict[str, Any]
    messages: Callable[[int, list[float]], list[Any]]
    key: bytes | None = None


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMS = {
    "one reading": Form(
        {"machine": "device", "time": "timestamp", "time_unit": "ms"},
        {"value": "value"},
        lambda ms, row: [
            {"device": "pump-1", "tag": name, "timestamp": ms, "value": value}
            for name, value in zip(CHANNELS, row, strict=True)
        ],
    ),
    "one reading, tags of a map": Form(
        {"time": "ts", "time_unit": "ms"},
        {
            "value": "value",
            "tags": {f"TT-{n}": {"machine": "pump-1", "channel": name} for n, name in enumerate(CHANNELS)},
        },
        lambda ms, row: [{"tag": f"TT-{n}", "value": value, "ts": ms} for n, value in enumerate(row)],
    ),
    "kepware": Form(
        {"time": "values[*].t", "time_unit": "ms"},
        {
            "value": "values[*].v",
            "tag": "values[*].id",
            "quality": "values[*].q",
            "patterns": ["Chan1.{machine}.{channel}"],
        },
        lambda ms, row: [
            {
                "timestamp": ms,
                "values": [
                    {"id": f"Chan1.pump-1.{name}", "v": value, "q": True, "t": ms}
                    for name, value in zip(CHANNELS, row, strict=True)
                ],
            }
        ],
    ),
    "a bare list": Form(
        {"machine": "key", "time": "[*].t", "time_unit": "ms"},
        {"value": "[*].v", "tag": "[*].id", "quality": "[*].q"},
        lambda ms, row: [
            [{"id": name, "v": value, "q": 192, "t": ms} for name, value in zip(CHANNELS, row, strict=True)]
        ],
        b"pump-1",
    ),
    "telegraf": Form(
        {"machine": "metrics[*].tags.host", "time": "metrics[*].timestamp", "time_unit": "s"},
        {"value": "metrics[*].fields.*", "tag": ["metrics[*].name", "*"], "patterns": ["opcua.{channel}"]},
        lambda ms, row: [
            {
                "metrics": [
                    {
                        "fields": dict(zip(names, values, strict=True)),
                        "name": "opcua",
                        "tags": {"host": "pump-1"},
                        "timestamp": ms // 1_000,
                    }
                    for names, values in ((CHANNELS[:2], row[:2]), (CHANNELS[2:], row[2:]))
                ]
            }
        ],
    ),
    "opc ua": Form(
        {
            "machine": "Messages[*].DataSetWriterName",
            "time": "Messages[*].Payload.*.SourceTimestamp | Messages[*].Timestamp",
        },
        {"value": "Messages[*].Payload.*.Value", "tag": "*", "quality": "Messages[*].Payload.*.StatusCode"},
        lambda ms, row: [
            {
                "MessageId": "32",
                "MessageType": "ua-data",
                "Messages": [
                    {
                        "DataSetWriterName": "pump-1",
                        "Timestamp": iso(ms),
                        "Payload": {
                            "a": {
                                "Value": row[0],
                                "SourceTimestamp": iso(ms),
                                "StatusCode": {"Code": 0, "Symbol": "Good"},
                            },
                            "b": {"Value": row[1], "SourceTimestamp": iso(ms), "StatusCode": 0},
                            "c": {"Value": row[2]},
                        },
                    }
                ],
            }
        ],
    ),
    "sparkplug": Form(
        {"machine": "key", "time": "metrics[*].timestamp", "time_unit": "ms"},
        {
            "value": "metrics[*].value",
            "tag": ["key", "metrics[*].name"],
            "quality": "metrics[*].properties.Quality.value",
            "patterns": ["spBv1.0/*/DDATA/*/{machine}.{channel}"],
        },
        lambda ms, row: [
            {
                "timestamp": ms,
                "seq": 3,
                "metrics": [
                    {
                        "name": name,
                        "timestamp": ms,
                        "dataType": "Float",
                        "value": value,
                        "properties": {"Quality": {"type": "Int32", "value": 192}},
                    }
                    for name, value in zip(CHANNELS, row, strict=True)
                ],
            }
        ],
        b"spBv1.0/plant/DDATA/edge-4/pump-1",
    ),
    "rows in a list": Form(
        {"machine": "[*].machine", "time": "[*].ts", "time_unit": "ms"},
        {"value": "[*].*", "tag": "*"},
        lambda ms, row: [[{"ts": ms, "machine": "pump-1", **dict(zip(CHANNELS, row, strict=True))}]],
    ),
    "nested groups": Form(
        {"machine": "meta.asset", "time": "meta.at", "time_unit": "ms"},
        {"value": "groups.*.*.v", "tag": "*", "patterns": ["*.{channel}"]},
        lambda ms, row: [
            {
                "meta": {"asset": "pump-1", "at": ms},
                "groups": {
                    "hydraulic": {"a": {"v": row[0]}, "b": {"v": row[1]}},
                    "drive": {"c": {"v": row[2], "unit": "A"}},
                },
            }
        ],
    ),
}


def as_json(value: Any) -> bytes:
    """A message; integers beyond 64 bits are beyond orjson."""
    return json.dumps(value).encode()


def chosen(form: Form, **sections: Any) -> Settings:
    return Settings(
        input=InputSettings(**form.input), assembly=AssemblySettings(**form.assembly), threshold=FIXED, **sections
    )


def sent(form: Form, block: SensorBlock) -> list[Message]:
    """A block of rows as the form's messages."""
    return [
        Message(orjson.dumps(message), form.key, timestamp_ms=time // 1_000)
        for time, row in zip(block.ts.tolist(), block.values.tolist(), strict=True)
        for message in form.messages(time // 1_000, row)
    ]


def ordinary(rows: int, seed: int = 3) -> SensorBlock:
    """Rows of 'pump-1', three times some that are far outside."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.5, 0.1, (rows, 3)).astype(np.float32)
    for start in (5, 17, 28):
        values[start : start + 3] += np.float32(2)
    return block_of("pump-1", values, times=GRID + MINUTE * np.arange(rows))


def to_the_end(pipeline: Pipeline, messages: list[Message], **how: Any) -> list[Output]:
    return [*feed(pipeline, messages, **how), *pipeline.finish()]


def read_one(
    open_routes: OpenRoutes, message: Any, key: bytes | None = None, **assembly: Any
) -> tuple[Pipeline, list[Output]]:
    """One message, through a pipeline whose windows are one row."""
    settings_ = Settings(
        input=InputSettings(machine="device", time="t", time_unit="ms"),
        assembly=AssemblySettings(**({"value": "v"} | assembly)),
    )
    value = message if isinstance(message, bytes | None) else orjson.dumps(message)
    pipeline = Pipeline(open_routes(Recipe(window=1), pattern="pump-*"), settings_)
    return pipeline, to_the_end(pipeline, [Message(value, key)])


GOOD = {"device": "pump-1", "tag": "a", "v": 1.5, "t": GRID // 1_000}
