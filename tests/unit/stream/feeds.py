"""Rows to messages, messages through a pipeline, and what came out in a form that tests can compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from hypothesis import HealthCheck, settings

from wheeltapper.schemas.codec import CONTENT_TYPES, Encoding, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Headers, Output, PartitionBatch

TOPIC = "wheeltapper.sensors"
START = 1_700_000_000_000_000
MINUTE = 60_000_000
ENCODINGS: tuple[Encoding, ...] = ("json", "avro", "arrow")

# The inputs are the same in every run: a failure can be repeated.
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


class Message(NamedTuple):
    """One record of the input topic, before it has an offset."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers | None = None
    timestamp_ms: int = -1


def block_of(
    machine: str,
    values: Any,
    *,
    times: Sequence[int] | np.ndarray | None = None,
    channels: Sequence[str] = ("a", "b", "c"),
) -> SensorBlock:
    """Rows of one machine, one a minute from START unless `times` (us) says otherwise."""
    table = np.asarray(values, dtype=np.float32).reshape(-1, len(channels))
    if times is None:
        times = START + MINUTE * np.arange(len(table), dtype=np.int64)
    return SensorBlock(machine, np.asarray(times, dtype=np.int64), tuple(channels), table)


def part_of(block: SensorBlock, start: int, stop: int) -> SensorBlock:
    """Rows [start, stop) of a block."""
    return SensorBlock(block.machine, block.ts[start:stop], block.channels, block.values[start:stop])


def message_of(block: SensorBlock, encoding: Encoding = "json", *, header: bool = True) -> Message:
    """A block as one message."""
    headers = [("content-type", CONTENT_TYPES[encoding].encode())] if header else None
    return Message(encode_sensor_block(block, encoding), block.machine.encode(), headers)


def row_message(**fields: Any) -> Message:
    """JSON of any shape as a message."""
    return Message(orjson.dumps(fields))


def row_by_row(block: SensorBlock) -> list[Message]:
    """Each row a message of one-row JSON."""
    return [message_of(part_of(block, row, row + 1)) for row in range(len(block))]


def batch_of(messages: Sequence[Message], *, first: int = 0, partition: int = 0, topic: str = TOPIC) -> PartitionBatch:
    """Messages with consecutive offsets from `first`."""
    batch = PartitionBatch(topic, partition)
    for offset, message in enumerate(messages, start=first):
        batch.offsets.append(offset)
        batch.keys.append(message.key)
        batch.values.append(message.value)
        batch.headers.append(message.headers)
        batch.timestamps_ms.append(message.timestamp_ms)
    return batch


def feed(
    pipeline: Pipeline, messages: Sequence[Message], *, batch_sizes: Iterable[int] = (), partition: int = 0
) -> list[Output]:
    """All messages through the pipeline, from the partition's position on; the sizes last for ever."""
    outputs: list[Output] = []
    position = pipeline.partition(TOPIC, partition).position
    sizes = list(batch_sizes) or [len(messages) or 1]
    start = turn = 0
    while start < len(messages):
        size = sizes[turn % len(sizes)]
        turn += 1
        batch = batch_of(messages[start : start + size], first=position + start, partition=partition)
        outputs += pipeline.handle([batch], now=float(turn))
        start += size
    return outputs


def parsed(outputs: Iterable[Output], topic: str) -> list[dict[str, Any]]:
    """The JSON of one topic's messages, in order."""
    return [orjson.loads(output.value or b"") for output in outputs if output.topic == topic]


class Score(NamedTuple):
    raw: float
    score: float
    threshold: float
    quality: float


def scores_of(outputs: Iterable[Output]) -> dict[tuple[str, str, int], list[Score]]:
    """(machine, rule, time) -> scores published for it, in order."""
    found: dict[tuple[str, str, int], list[Score]] = {}
    for block in parsed(outputs, "scores"):
        columns = zip(block["raw"], block["score"], block["threshold"], block["quality"], strict=True)
        for time, column in zip(block["time"], columns, strict=True):
            found.setdefault((block["machine"], block["rule"], time), []).append(Score(*column))
    return found


def events_of(outputs: Iterable[Output]) -> dict[tuple[str, str], list[tuple[str, str, int, int]]]:
    """(machine, rule) -> (event, alert id, opened at, time) of its alert events, in order."""
    events: dict[tuple[str, str], list[tuple[str, str, int, int]]] = {}
    for alert in parsed(outputs, "alerts"):
        entry = (alert["event"], alert["alert_id"], alert["opened_at"], alert["time"])
        events.setdefault((alert["machine"], alert["rule"]), []).append(entry)
    return events


@dataclass(frozen=True)
class Letter:
    """A dead letter, unpacked."""

    reason: str
    detail: str
    offset: int
    headers: Mapping[str, bytes | None]
    output: Output


def letters_of(outputs: Iterable[Output]) -> list[Letter]:
    """The dead letters, by input offset."""
    letters = []
    for output in outputs:
        if output.topic == "dead-letters":
            headers = dict(output.headers)
            text = {name: (value or b"").decode() for name, value in output.headers[:5]}
            letters.append(
                Letter(
                    text["wheeltapper-reason"],
                    text["wheeltapper-detail"],
                    int(text["wheeltapper-offset"]),
                    headers,
                    output,
                )
            )
    return sorted(letters, key=lambda letter: letter.offset)


def assert_same_scores(found: Iterable[Output], expected: Iterable[Output]) -> None:
    """The same windows, each scored as often, with values that differ by float32 rounding at most."""
    left, right = scores_of(found), scores_of(expected)
    assert left.keys() == right.keys()
    for key, scores in left.items():
        assert len(scores) == len(right[key]), key
    flat = [[list(score) for key in sorted(side) for score in side[key]] for side in (left, right)]
    if flat[0]:
        np.testing.assert_allclose(flat[0], flat[1], rtol=1e-5, atol=1e-6)


def assert_same_alerts(found: Iterable[Output], expected: Iterable[Output], *, same_messages: bool = True) -> None:
    """The same alert events and localizations of each machine and rule, in the same order.

    Args:
        same_messages: the rows came in the same messages, so that windows lie in the same ones too.
    """
    for topic in ("alerts", "localizations"):
        left, right = _by_machine(parsed(found, topic)), _by_machine(parsed(expected, topic))
        assert left.keys() == right.keys()
        for key, messages in left.items():
            assert len(messages) == len(right[key]), key
            for one, other in zip(messages, right[key], strict=True):
                if not same_messages and topic == "alerts":
                    assert (one.pop("input") is None) == (other.pop("input") is None), key
                _assert_close(one, other)


def _by_machine(messages: Iterable[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for message in messages:
        grouped.setdefault((message["machine"], message["rule"]), []).append(message)
    return grouped


def _assert_close(one: Any, other: Any, where: str = "") -> None:
    """Equal, but for float32 rounding. Equal shares may change places by it: channels are compared by name."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name, value in one.items():
            _assert_close(value, other[name], f"{where}/{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for left, right in zip(
            *(sorted(side, key=lambda share: share["channel"]) for side in (one, other)), strict=True
        ):
            _assert_close(left, right, f"{where}/{left['channel']}")
    elif isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-5, abs_tol=2e-6), (where, one, other)
    else:
        assert one == other, where
