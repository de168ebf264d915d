"""A made-up plant for the stream's tests: machines with rows and faults, their messages, and what must come of them.

What is expected is computed twice: by `run_offline`, the pipeline without Kafka, and by the row-by-row reference that
shares no code with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import orjson

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.reference import Reference
from wheeltapper.offline import run_offline
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings, ThresholdSettings

THRESHOLD = ThresholdSettings(method="fixed", raise_level=1.0, clear_duration_s=1_200.0)
"""Of workers whose alarms are held against the reference, which knows a level that stays; ten windows, two minutes apart."""

START_US = 1_700_000_000_000_000
INTERVAL_US = 60_000_000
ENCODINGS = ("json", "avro", "arrow")

_expected: dict[tuple[bytes, Recipe, str], Expected] = {}
_one_at_a_time = Lock()

Message = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value, headers."""


@dataclass(frozen=True)
class Plant:
    """Rows of every machine: machine -> block of all its rows, time rising."""

    machines: dict[str, SensorBlock]

    @property
    def rows(self) -> int:
        return sum(len(block) for block in self.machines.values())

    def until(self, row: int) -> Plant:
        """The first rows of every machine."""
        return Plant({name: _rows(block, slice(0, row)) for name, block in self.machines.items()})

    def since(self, row: int) -> Plant:
        """The rows behind those of `until`."""
        return Plant({name: _rows(block, slice(row, None)) for name, block in self.machines.items()})

    def only(self, first: int, stop: int) -> Plant:
        """Some of the machines, by number."""
        return Plant(dict(list(self.machines.items())[first:stop]))


def make_plant(
    machines: int = 6, rows: int = 400, channels: Sequence[str] = ("a", "b", "c", "d"), *, seed: int = 1
) -> Plant:
    """Values in 0..1, but for a fault of 1 to 12 rows about every 60 rows, on one channel, far outside."""
    rng = np.random.default_rng(seed)
    blocks = {}
    for number in range(machines):
        values = rng.random((rows, len(channels))).astype(np.float32)
        row = int(rng.integers(10, 60))
        while row < rows:
            length = int(rng.integers(1, 13))
            values[row : row + length, int(rng.integers(len(channels)))] += np.float32(rng.uniform(3, 6))
            row += length + int(rng.integers(30, 90))
        times = START_US + INTERVAL_US * np.arange(rows, dtype=np.int64)
        blocks[f"press-{number:02d}"] = SensorBlock(f"press-{number:02d}", times, tuple(channels), values)
    return Plant(blocks)


def messages_of(
    plant: Plant, *, seed: int = 2, encodings: Sequence[str] = ENCODINGS, largest_block: int = 40
) -> list[Message]:
    """Every row once, in blocks of mixed size and encoding; machines mixed, each in its own order."""
    rng = np.random.default_rng(seed)
    waiting = dict.fromkeys(plant.machines, 0)
    messages: list[Message] = []
    while waiting:
        name = str(rng.choice(sorted(waiting)))
        block, first = plant.machines[name], waiting[name]
        size = 1 if largest_block == 1 or rng.random() < 0.5 else int(rng.integers(2, largest_block + 1))
        part = _rows(block, slice(first, first + size))
        messages.append(message_of(part, str(rng.choice(encodings)), header=bool(rng.random() < 0.5)))
        waiting[name] = first + len(part)
        if waiting[name] >= len(block):
            del waiting[name]
    return messages


def message_of(block: SensorBlock, encoding: str, *, header: bool = True) -> Message:
    """A block as a message, with or without the header that names its encoding."""
    value = encode_sensor_block(block, encoding)  # type: ignore[arg-type]
    headers = [("content-type", CONTENT_TYPES[encoding].encode())] if header else []  # type: ignore[index]
    return block.machine.encode(), value, headers


def poison(block: SensorBlock) -> list[Message]:
    """Messages that nobody can use, in a good machine's name."""
    key = block.machine.encode()
    names = block.channels
    row: dict[str, Any] = {"machine": block.machine, "ts": int(block.ts[-1]) + INTERVAL_US}
    values = dict.fromkeys(names, 0.5)
    avro = encode_sensor_block(block, "avro")
    as_json = [("content-type", b"application/json")]
    return [
        (key, b"\x00\x9f\x92\x96 not a message", []),
        (key, b"", []),
        (key, None, []),
        (key, b'{"machine": "press-00", "ts":', []),
        (key, orjson.dumps({**row, "values": {names[0]: 0.5}}), []),
        (key, orjson.dumps({**row, "values": {**values, "nobody-knows-it": 1.0}}), as_json),
        (key, orjson.dumps({**row, "values": {**values, names[0]: "0.5"}}), []),
        (key, orjson.dumps({**row, "values": {**values, names[1]: 1e39}}), []),
        (key, orjson.dumps({**row, "values": values}).replace(b"0.5", b"Infinity"), []),
        (key, orjson.dumps({**row, "values": {**values, names[1]: None, names[0]: [1]}}), []),
        (key, orjson.dumps({**row, "ts": "yesterday", "values": values}), []),
        (None, orjson.dumps({**row, "machine": "", "values": values}), []),
        (
            key,
            orjson.dumps({**row, "ts": [row["ts"]], "channels": list(names), "values": [[0.5] * (len(names) + 1)]}),
            as_json,
        ),
        (key, avro[:10] + b"\xff" * 8 + avro[18:], [("content-type", CONTENT_TYPES["avro"].encode())]),
        (key, avro[: len(avro) // 2], [("content-type", CONTENT_TYPES["avro"].encode())]),
        (key, b"\xff\xff\xff\xff" + b"\x00" * 40, [("content-type", CONTENT_TYPES["arrow"].encode())]),
        (None, b"\x00" * 20_000_000, []),
    ]


def mixed_in(messages: Sequence[Message], others: Sequence[Message], *, seed: int = 3) -> list[Message]:
    """`others` at random places among `messages`; the order of `messages` stays."""
    rng = np.random.default_rng(seed)
    mixed = list(messages)
    for other in others:
        mixed.insert(int(rng.integers(len(mixed) + 1)), other)
    return mixed


@dataclass(frozen=True)
class Expected:
    """What must come of a plant.

    Attributes:
        alerts, localizations: the messages as the pipeline without Kafka gives them, parsed.
        scores: (machine, time in us) -> calibrated score, by the row-by-row reference.
    """

    alerts: list[dict[str, Any]]
    localizations: list[dict[str, Any]]
    scores: dict[tuple[str, int], float]


def expect(plant: Plant, recipe: Recipe, bundle: Path) -> Expected:
    """What must come of it under `THRESHOLD`; fails where pipeline and reference do not agree.

    The same for both runners, and asked for by one check after the other: computed once for the same rows and bundle.
    """
    rows = sha256()
    for block in plant.machines.values():
        for part in (
            block.machine.encode(),
            *map(str.encode, block.channels),
            block.ts.tobytes(),
            block.values.tobytes(),
        ):
            rows.update(len(part).to_bytes(8) + part)
    asked = (rows.digest(), recipe, open_bundle(bundle).manifest_sha256)
    with _one_at_a_time:
        if asked not in _expected:
            _expected[asked] = _expect(plant, recipe, bundle)
        return _expected[asked]


def _expect(plant: Plant, recipe: Recipe, bundle: Path) -> Expected:
    settings = Settings(threshold=THRESHOLD)
    routes = load_routes([str(bundle)], settings)
    outputs: list[Output] = []
    scores: dict[tuple[str, int], float] = {}
    events: list[tuple[str, str, int, int, int]] = []
    for name, block in plant.machines.items():
        outputs += run_offline(Pipeline(routes, settings), block)
        reference = Reference(recipe, settings, name).take(block)
        scores |= {(name, time): score for time, _, score, _ in reference.scores}
        events += [event[:5] for event in reference.events]
    alerts = [orjson.loads(output.value or b"") for output in outputs if output.topic == "alerts"]
    localizations = [orjson.loads(output.value or b"") for output in outputs if output.topic == "localizations"]
    found = [tuple(alert[key] for key in ("event", "alert_id", "opened_at", "time", "severity")) for alert in alerts]
    assert found == events
    return Expected(alerts, localizations, scores)


def _rows(block: SensorBlock, rows: slice) -> SensorBlock:
    return SensorBlock(block.machine, block.ts[rows], block.channels, block.values[rows])
