"""A machine's snapshot: one record of the compacted `state` topic, in the partition of its input.

Layout: b"WTS1", uint32 CRC-32 of all that follows, int64 input offset, uint32 length of a JSON header, the header, then
the rows that the next windows need: times int64 [n], values float32 [n, C], and which values were imputed, a bit each,
uint8 [n, ceil(C / 8)]; all little-endian. Keys are GROUP/INPUT TOPIC/MACHINE, so that several groups share one topic and
none takes another's state for its own.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import Any

import numpy as np
import orjson

from wheeltapper.stream.core.alert_life import Question, RuleState
from wheeltapper.stream.core.thresholds.spot import SpotState
from wheeltapper.stream.core.windows import Machine
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import Route

MAGIC = b"WTS1"
CHECK = struct.Struct("<4sI")
HEAD = struct.Struct("<qI")
PROGRESS = b"\x00progress"
"""In place of a machine: up to which input offset the partition's output has been published. A zero byte starts it, as
no machine's id can."""


class SnapshotError(Exception):
    """A snapshot that cannot be used: damaged, or of another layout. The machine warms up again."""


def machine_snapshot(machine: Machine, partition: int) -> Output:
    """The machine's state as a record of the `state` topic, keyed by the machine alone: `StateKeys` adds the rest."""
    times, values, absent = machine.tail.snapshot()
    header = {
        "machine": machine.name,
        "last_time": machine.last_time,
        "late_run": machine.late_run,
        "seen": machine.tail.seen,
        "channels": machine.route.channels,
        "rules": {
            rule.manifest.bundle_id: dataclasses.asdict(state)
            for rule, state in zip(machine.route.rules, machine.rules, strict=True)
        },
    }
    text = orjson.dumps(header)
    checked = b"".join(
        (
            HEAD.pack(machine.offset, len(text)),
            text,
            times.astype("<i8").tobytes(),
            values.astype("<f4").tobytes(),
            np.packbits(absent, axis=1).tobytes(),
        )
    )
    value = CHECK.pack(MAGIC, zlib.crc32(checked)) + checked
    return Output("state", machine.name.encode(), value, partition=partition)


def progress_record(published: int, partition: int) -> Output:
    """Says that the output of all input below offset `published` is out."""
    return Output("state", PROGRESS, orjson.dumps({"published": published}), partition=partition)


def read_progress(value: bytes) -> int:
    """The offset of a progress record; 0 where it cannot be read (then output may be published twice, never lost)."""
    try:
        return int(orjson.loads(value)["published"])
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return 0


def snapshot_offset(value: bytes) -> int:
    """The input offset a snapshot was taken at; -1 for anything else."""
    if value[:4] != MAGIC or len(value) < CHECK.size + HEAD.size:
        return -1
    return int(HEAD.unpack_from(value, CHECK.size)[0])


def snapshot_header(value: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and the bytes behind it.

    Raises:
        SnapshotError: not a snapshot of this layout, or damaged.
    """
    try:
        magic, checksum = CHECK.unpack_from(value)
        if magic != MAGIC:
            raise ValueError(f"starts with {magic!r}, expected {MAGIC!r}")
        checked = memoryview(value)[CHECK.size :]
        if checksum != zlib.crc32(checked):
            raise ValueError("its checksum is wrong")
        _, length = HEAD.unpack_from(checked)
        body = checked[HEAD.size :]
        return orjson.loads(body[:length]), body[length:]
    except (ValueError, struct.error) as error:
        raise SnapshotError(str(error)) from error


def restore_machine(value: bytes, route: Route) -> tuple[Machine, dict[str, RuleState]]:
    """A machine from its snapshot.

    Rows are taken over where the channels are still the same; a rule's memory where its bundle still serves.

    Returns:
        the machine, and the states of bundles that no longer serve it, by bundle id.

    Raises:
        SnapshotError: damaged, or of other channels.
    """
    header, body = snapshot_header(value)
    try:
        machine = Machine(header["machine"], route)
        if tuple(header["channels"]) != route.channels:
            raise SnapshotError(f"machine '{machine.name}': its bundle's channels have changed")
        machine.offset = snapshot_offset(value)
        machine.last_time = None if header["last_time"] is None else int(header["last_time"])
        machine.late_run = int(header["late_run"])
        width = len(route.channels)
        bits = -(-width // 8)
        rows, rest = divmod(len(body), 8 + 4 * width + bits)
        if rest:
            raise SnapshotError(f"machine '{machine.name}': {len(body)} bytes are no whole number of rows")
        times = np.frombuffer(body, dtype="<i8", count=rows)
        values = np.frombuffer(body, dtype="<f4", count=rows * width, offset=8 * rows).reshape(rows, width)
        packed = np.frombuffer(body, dtype=np.uint8, offset=(8 + 4 * width) * rows).reshape(rows, bits)
        absent = np.unpackbits(packed, axis=1, count=width).astype(np.bool_)
        # A longer window than the snapshot's tail fills up first, as after a start.
        seen = int(header["seen"]) if rows >= route.window - 1 else rows
        machine.tail.restore(times, values, absent, seen)
        states = {bundle: _rule_state(state) for bundle, state in header["rules"].items()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise SnapshotError(f"{type(error).__name__}: {error}") from error
    serving = [rule.manifest.bundle_id for rule in route.rules]
    machine.rules = [states.pop(bundle) if bundle in states else RuleState() for bundle in serving]
    return machine, states


def _rule_state(fields: dict[str, Any]) -> RuleState:
    spot = fields.pop("spot")
    question = fields.pop("question", None)  # older snapshots have none
    return RuleState(
        **fields,
        spot=None if spot is None else SpotState(**spot),
        question=None if question is None else Question(**question),
    )
