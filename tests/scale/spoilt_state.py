"""Records of the `state` topic with something spoilt in them, and what a worker that finds them does."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tests.scale.mutations import bent, odd_json, shown
from tests.scale.spoilt_scenes import Scene
from tests.unit.stream.feeds import parsed
from tests.unit.stream.test_state import header_of
from wheeltapper.stream.control.log import writes_of
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings, StateSettings
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
from wheeltapper.stream.state_reader import StateReader, keep_newest

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


def spoilt(records: Records, rng: np.random.Generator) -> tuple[str, Records]:
    """What was done to which, and all of them."""
    records = dict(records)
    key = sorted(records)[int(rng.integers(len(records)))]
    value = records[key]
    others = tuple(records.values())
    what = str(rng.choice(["header", "header", "memory", "memory", "slot", "slot", "body", "bytes", "parts", "swap"]))
    if key in (PROGRESS, CONTROL):
        is_json = what in ("header", "memory", "slot")
        records[key] = shown(odd_json(json.loads(value), rng)) if is_json else bent(value, rng, others)
        return f"{what} {key!r}", records
    header, body = header_of(value)
    offset = snapshot_offset(value)
    if what == "header":
        records[key] = _crafted(odd_json(header, rng), body, offset)
    elif what == "slot" and header["rules"]:
        rule = header["rules"][str(rng.choice(sorted(header["rules"])))]
        slot = str(rng.choice(sorted(rule["slots"])))
        rule["slots"][slot] = odd_json(rule["slots"][slot], rng)
        records[key] = _crafted(header, body, offset)
    elif what in ("memory", "slot"):
        if body.startswith(b"{"):
            body = shown(odd_json(json.loads(body), rng))
        else:
            header["memory"] = odd_json(header["memory"], rng)
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


def spoilt_under_seal(scene: Scene, records: Records, rng: np.random.Generator) -> tuple[str, Records, int]:
    """Sealed records among which somebody without the key has written: what was done, what is read of them, how many were refused."""
    sealed = Settings(state=StateSettings(seal_key="a key of tests of some length"))
    partition = Pipeline(scene.routes, sealed).partition(scene.topic, 0)
    partition.largest_record = int(rng.choice([0, 900]))
    good = partition.addressed([Output("state", key, value, partition=0) for key, value in records.items()])
    log = [(each.key or b"", each.value or b"") for each in good]
    values = tuple(value for _, value in log)
    place = int(rng.integers(len(log)))
    key, value = log[place]
    what = str(rng.choice(["bytes", "bytes", "moved", "unsealed", "resealed", "key", "old"]))
    if what == "bytes":
        forged = (key, bent(value, rng, values))
    elif what == "moved":
        forged = (key, values[int(rng.integers(len(values)))])
    elif what == "unsealed":
        name, each = _one_spoilt(records, rng)
        forged = (partition.state_prefix + name, each)
    elif what == "resealed":
        others = Settings(state=StateSettings(seal_key="another key that nobody has here"))
        other = Pipeline(scene.routes, others).partition(scene.topic, 0)
        name, each = _one_spoilt(records, rng)
        (written,) = other.addressed([Output("state", name, each, partition=0)])
        forged = (written.key or b"", written.value or b"")
    elif what == "key":
        forged = (bent(key, rng), value)
    else:
        forged = (key, value)  # a record that is written again
    log.insert(int(rng.integers(place + 1, len(log) + 1)), forged)
    reader, parts = StateReader(sealed), PartReader()
    found: Records = {}
    for each, data in log:
        if each.startswith(partition.state_prefix):
            whole = reader.whole(parts, each, each[len(partition.state_prefix) :], data, 0)
            if whole is not None:
                keep_newest(found, *whole)
    return what, found, sum(reader.refused.values())


def _one_spoilt(records: Records, rng: np.random.Generator) -> tuple[bytes, bytes]:
    changed = spoilt(records, rng)[1]
    return next(iter(sorted(changed.items() - records.items()) or sorted(changed.items())))


def outcome(scene: Scene, records: Records) -> Outcome:
    """A worker takes them over, and reads on."""
    pipeline = Pipeline(scene.routes, scene.settings)
    partition = pipeline.partition(scene.topic, 0)
    partition.position = partition.input_end = scene.position
    for key, value in records.items():  # what the reader of the topic asks of every record
        writes_of(value) if key == CONTROL else snapshot_offset(value)
        if key == PROGRESS:
            read_progress(value)
            says_reserved(value)
    partition.restore(records, 0.0, scene.now_us)
    was_open = {machine.name for machine in partition.all_machines if scene.is_open(machine)}
    # Offsets that a forged reservation holds back are behind the first rows: those with the fault come later.
    outputs = pipeline.handle([scene.later], now=1.0)
    partition = pipeline.partition(scene.topic, 0)
    again = {
        record.key or b"": record.value or b"" for record in partition.snapshots(2.0, scene.now_us, everything=True)
    }
    again |= {CONTROL: partition.control_record().value or b"", PROGRESS: partition.progress_record().value or b""}
    # what it writes itself can be read by the next one
    following = Pipeline(scene.routes, scene.settings)
    after = following.partition(scene.topic, 0)
    after.position = after.input_end = scene.position + len(scene.later)
    after.restore(again, 2.0, scene.later_us)
    if following.counters.state_refused:
        raise AssertionError(f"refuses what it wrote itself: {following.counters.state_refused}")
    opened = {
        event["machine"]
        for event in parsed(outputs, "alerts")
        if event["event"] == "opened" and event["rule"] in scene.rules
    }
    scored: dict[str, int] = {}
    for output in outputs:
        if output.topic == "scores":
            block = orjson.loads(output.value or b"")
            scored[block["machine"]] = scored.get(block["machine"], 0) + len(block["time"])
    return Outcome(dict(pipeline.counters.state_refused), opened | was_open, scored)
