"""A made-up plant for the stream's tests: machines with rows and faults, their messages, and what must come of them.

What is expected is computed twice: by `run_offline`, the pipeline without Kafka, and by numpy and a few lines of Python
that share no code with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from schemas.bundle import Bundle
from schemas.codec import CONTENT_TYPES, encode_sensor_block
from schemas.sensor_block import SensorBlock
from stream.pipeline import Pipeline
from stream.records import Output
from stream.routes import load_routes
from stream.settings import Settings
from tests.helpers.bundles import contributions_of
from wheeltapper.offline import run_offline

START_US = 1_700_000_000_000_000
INTERVAL_US = 60_000_000
ENCODINGS = ("json", "avro", "arrow")

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
        alerts, localizations: the messages as `run_offline` gives them, parsed.
        scores: (machine, time in us) -> calibrated score, by numpy alone.
    """

    alerts: list[dict[str, Any]]
    localizations: list[dict[str, Any]]
    scores: dict[tuple[str, int], float]


def expect(plant: Plant, bundle: Bundle, settings: Settings | None = None) -> Expected:
    """What must come of it; fails where the pipeline without Kafka and numpy do not agree."""
    settings = settings or Settings()
    routes = load_routes([str(bundle.location)], settings)
    outputs: list[Output] = []
    for block in plant.machines.values():
        outputs += run_offline(Pipeline(routes, settings), block)
    alerts = [orjson.loads(output.value or b"") for output in outputs if output.topic == "alerts"]
    localizations = [orjson.loads(output.value or b"") for output in outputs if output.topic == "localizations"]
    scores: dict[tuple[str, int], float] = {}
    events: list[tuple[str, str, int, int]] = []
    for name, block in plant.machines.items():
        times, found = _score(block, bundle)
        scores |= {(name, time): score for time, score in zip(times, found, strict=True)}
        events += [(name, *event) for event in _life(times, found, settings)]
    assert [(one["machine"], one["event"], one["opened_at"], one["time"]) for one in alerts] == events
    return Expected(alerts, localizations, scores)


def _score(block: SensorBlock, bundle: Bundle) -> tuple[list[int], list[float]]:
    manifest = bundle.manifest
    windows = np.lib.stride_tricks.sliding_window_view(block.values, manifest.window, axis=0).transpose(0, 2, 1)
    raw = contributions_of(windows[:: manifest.stride]).sum(axis=1)
    times = block.ts[manifest.window - 1 :: manifest.stride]
    return times.tolist(), (raw / manifest.calibration.alarm_level).tolist()


def _life(times: Iterable[int], scores: Iterable[float], settings: Settings) -> Iterator[tuple[str, int, int]]:
    """(event, opened_at, time) of one machine's alerts: raised at the level, cleared after a quiet while."""
    rule = settings.threshold
    opened_at, shown, peak, quiet = None, 0, 0.0, 0
    for time, score in zip(times, scores, strict=True):
        if opened_at is None:
            if score >= rule.raise_level:
                opened_at, peak, quiet = time, score, 0
                shown = round(100 * score / (1 + score))
                yield "opened", opened_at, time
            continue
        peak = max(peak, score)
        quiet = quiet + 1 if score < rule.clear_ratio * rule.raise_level else 0
        severity = round(100 * peak / (1 + peak))
        if quiet == rule.clear_duration:
            yield "cleared", opened_at, time
            opened_at = None
        elif severity >= shown + 10:
            shown = severity
            yield "updated", opened_at, time


def _rows(block: SensorBlock, rows: slice) -> SensorBlock:
    return SensorBlock(block.machine, block.ts[rows], block.channels, block.values[rows])
