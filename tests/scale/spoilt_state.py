"""Records of the `state` topic with something spoilt in them, and what a worker that finds them does."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.scale.mutations import bent, odd_json, shown
from tests.unit.stream.feeds import MINUTE, START, TOPIC, batch_of, block_of, feed, parsed, row_by_row
from tests.unit.stream.test_state import header_of
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.stream.control.log import writes_of
from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import (
    CHECK,
    CONTROL,
    HEAD,
    MAGIC,
    PROGRESS,
    read_progress,
    says_reserved,
    snapshot_offset,
)
from wheeltapper.stream.state_parts import PartReader, PartWriter

ROWS = 60
LATER = 160
FAULT = slice(100, 150)
NOW = START + (ROWS + 1) * MINUTE
MACHINES = ("press-1", "press-2")

Records = dict[bytes, bytes]


@dataclass(frozen=True)
class Outcome:
    """What a worker made of spoilt records.

    Attributes:
        refused: reason -> how many.
        alerted: machines whose fault was told, or whose alert was open before and is.
        scored: windows of the rows behind the restore, by machine.
    """

    refused: dict[str, int]
    alerted: set[str]
    scored: dict[str, int]


def rows_of(first: int, count: int, fault: slice) -> list[Any]:
    """Messages of a row each, of both machines in turn."""
    values = 0.5 + 0.05 * np.random.default_rng(first).standard_normal((count, 3))
    values[fault] += 4
    times = START + MINUTE * np.arange(first, first + count)
    blocks = [row_by_row(block_of(name, values, times=times)) for name in MACHINES]
    return [message for pair in zip(*blocks, strict=True) for message in pair]


def good_records(routes: Routes, settings: Settings, fault: slice) -> Records:
    """What a worker leaves after the first rows."""
    pipeline = Pipeline(routes, settings)
    feed(pipeline, rows_of(0, ROWS, fault), batch_sizes=[7])
    partition = pipeline.partition(TOPIC, 0)
    usual = {"who": "tests", "at": START}
    span = {"start": START - 90 * MINUTE, "until": START - 60 * MINUTE}
    commands = [
        AlarmCommand(command_id="1", machine="press-9", action="maintenance", **span, **usual),
        AlarmCommand(command_id="2", machine="press-8", action="reset", **usual),
    ]
    for change in (*commands, Deployment("nothing", "retired", machines="press-7")):
        partition.add_change(change)
    partition.apply_changes(0.0)
    records = [
        *partition.snapshots(now=0.0, wall_us=NOW, everything=True),
        partition.progress_record(),
        partition.control_record(),
    ]
    return {record.key or b"": record.value or b"" for record in records}


def spoilt(records: Records, rng: np.random.Generator) -> tuple[str, Records]:
    """What was done to which, and all of them."""
    records = dict(records)
    key = sorted(records)[int(rng.integers(len(records)))]
    value = records[key]
    others = tuple(records.values())
    what = str(rng.choice(["header", "header", "header", "slot", "slot", "body", "bytes", "parts", "swap"]))
    if key in (PROGRESS, CONTROL):
        records[key] = (
            shown(odd_json(json.loads(value), rng)) if what in ("header", "slot") else bent(value, rng, others)
        )
        return f"{what} {key!r}", records
    header, body = header_of(value)
    offset = snapshot_offset(value)
    if what == "header":
        records[key] = _crafted(odd_json(header, rng), body, offset)
    elif what == "slot":
        rule = header["rules"][str(rng.choice(sorted(header["rules"])))]
        slot = str(rng.choice(sorted(rule["slots"])))
        rule["slots"][slot] = odd_json(rule["slots"][slot], rng)
        records[key] = _crafted(header, body, offset)
    elif what == "body":
        offset = int(rng.choice([offset, 0, -1, -(2**63), 2**62])) if rng.random() < 0.2 else offset
        records[key] = _crafted(header, bent(body, rng, others), offset)
    elif what == "bytes":
        records[key] = bent(value, rng, others)
    elif what == "swap":
        records[key] = others[int(rng.integers(len(others)))]
    else:
        whole = _through_parts(key, value, rng)
        records.pop(key)
        records |= whole
    return f"{what} {key!r}", records


def _crafted(header: Any, body: bytes, offset: int) -> bytes:
    """With a right checksum, also around what JSON has no words for."""
    text = shown(header)
    checked = HEAD.pack(offset, len(text)) + text + body
    return CHECK.pack(MAGIC, zlib.crc32(checked)) + checked


def _through_parts(key: bytes, value: bytes, rng: np.random.Generator) -> Records:
    """The record in parts, one of which is spoilt, read as the state is read."""
    writer, reader = PartWriter(), PartReader()
    parts: Sequence[Output] = list(writer.write(Output("state", key, value), int(rng.choice([300, 700]))))
    place = int(rng.integers(len(parts)))
    found: Records = {}
    for number, part in enumerate(parts):
        each, data = part.key or b"", part.value or b""
        if number == place:
            each, data = (bent(each, rng), data) if rng.random() < 0.3 else (each, bent(data, rng))
        try:
            whole = reader.take(each, data)
        except ValueError:
            continue
        if whole is not None and whole[1] is not None:
            found[whole[0]] = whole[1]
    return found


def outcome(routes: Routes, settings: Settings, records: Records) -> Outcome:
    """A worker takes them over, and reads on."""
    pipeline = Pipeline(routes, settings)
    partition = pipeline.partition(TOPIC, 0)
    position = ROWS * len(MACHINES)
    partition.position = partition.input_end = position
    for key, value in records.items():  # what the reader of the topic asks of every record
        writes_of(value) if key == CONTROL else snapshot_offset(value)
        if key == PROGRESS:
            read_progress(value)
            says_reserved(value)
    partition.restore(records, 0.0, NOW)
    was_open = {
        machine.name
        for machine in partition.all_machines
        if any(_is_open(each.memory) for each in machine.rules.values())
    }
    # Offsets that a forged reservation holds back are behind the first rows: those with the fault come later.
    outputs = pipeline.handle([batch_of(rows_of(ROWS, LATER, FAULT), first=position)], now=1.0)
    partition = pipeline.partition(TOPIC, 0)
    again = {record.key or b"": record.value or b"" for record in partition.snapshots(2.0, NOW, everything=True)}
    again |= {CONTROL: partition.control_record().value or b"", PROGRESS: partition.progress_record().value or b""}
    # what it writes itself can be read by the next one
    following = Pipeline(routes, settings)
    after = following.partition(TOPIC, 0)
    after.position = after.input_end = position + LATER * len(MACHINES)
    after.restore(again, 2.0, NOW + LATER * MINUTE)
    if following.counters.state_refused:
        raise AssertionError(f"refuses what it wrote itself: {following.counters.state_refused}")
    opened = {event["machine"] for event in parsed(outputs, "alerts") if event["event"] == "opened"}
    scored: dict[str, int] = {}
    for block in parsed(outputs, "scores"):
        scored[block["machine"]] = scored.get(block["machine"], 0) + len(block["time"])
    return Outcome(dict(pipeline.counters.state_refused), opened | was_open, scored)


def _is_open(memory: Any) -> bool:
    return memory.slots[ALERT].opened_at is not None
