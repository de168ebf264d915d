"""A machine's snapshot: one record of the compacted `state` topic, in the partition of its input.

Layout: b"WTS2", uint32 CRC-32 of all that follows, int64 input offset, uint32 length of a JSON header, the header, then the
body of the machine's memory, whose layout is its kind's; all little-endian. The header holds what each judge remembers slot by
slot, and which bundle it belongs to. Keys are GROUP/INPUT TOPIC/MACHINE, so that several groups share one topic and none takes
another's state for its own. Snapshots of layout WTS1 (wheeltapper 0.1.0 before deployments) are read too.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from wheeltapper.schemas.topics import STATE
from wheeltapper.stream.control.log import ControlLog
from wheeltapper.stream.core.alert_judge import ALERT, THRESHOLD, AlertSlot
from wheeltapper.stream.core.alert_life import AlertState
from wheeltapper.stream.core.saved import moment, optional, text, whole
from wheeltapper.stream.input_life import InputLife, packed, unpacked
from wheeltapper.stream.judges.labels import QUESTION
from wheeltapper.stream.kinds.contract import Layout, Route
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.records import Output

MAGIC = b"WTS2"
MAGIC_1 = b"WTS1"
CHECK = struct.Struct("<4sI")
HEAD = struct.Struct("<qI")
PROGRESS = b"\x00progress"
"""In place of a machine: up to which input offset the partition's output has been published, and up to which it may have been.
A zero byte starts it, as no machine's id can."""
CONTROL = b"\x00deployments"
"""In place of a machine: the partition's control log. Its key is that of versions that knew deployments alone."""


class SnapshotError(Exception):
    """A snapshot that cannot be used: damaged, or of another layout. The machine warms up again.

    Attributes:
        reason: by which it is counted.
    """

    def __init__(self, text: str, reason: str = "unreadable") -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(slots=True)
class SavedRule:
    """A rule's part of a snapshot.

    Attributes:
        slots: what each judge remembered, in JSON types.
    """

    bundle: str
    detector: str
    slots: dict[str, Any] = field(default_factory=dict)

    def alert(self) -> AlertState:
        """Its alert's life; a fresh one where that cannot be read."""
        try:
            return AlertSlot().load(self.slots[ALERT])
        except (AttributeError, LookupError, TypeError, ValueError):
            return AlertState()


@dataclass(slots=True)
class Snapshot:
    """A machine's snapshot, read but not yet applied.

    Attributes:
        heard_at: wall clock (us) when it was last heard; None where that is not known.
        memory: header of the memory's dump, and body: the bytes behind it.
        applied: number of the last change in the partition's control log that it has seen; None where that is not known.
        life: of the partition's input in which `offset` was counted.
    """

    machine: str
    offset: int
    heard_at: int | None
    silent_since: int | None
    rules: dict[str, SavedRule]
    memory: dict[str, Any]
    body: memoryview
    applied: int | None = None
    life: int = 0

    def restore(self, route: Route, layout: Layout) -> Machine:
        """The machine without its rules.

        Args:
            layout: of its input under the rules that serve it.

        Raises:
            SnapshotError: its memory cannot be read, or is of other channels.
        """
        if not isinstance(self.memory, dict):
            raise SnapshotError(f"machine '{self.machine}': its memory is no table")
        machine = Machine(self.machine, route, layout)
        machine.offset, machine.life = self.offset, self.life
        machine.silent_since = self.silent_since
        try:
            machine.memory.load(self.memory, self.body)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise SnapshotError(f"machine '{self.machine}': {type(error).__name__}: {error}") from error
        return machine


def machine_snapshot(machine: Machine, partition: int, heard_at: int | None = None) -> Output:
    """The machine's state as a record of the `state` topic, keyed by the machine alone: the shell adds group and topic.

    Args:
        heard_at: wall clock (us) when it was last heard.
    """
    memory, body = machine.memory.dump()
    header = {
        "machine": machine.name,
        "heard_at": heard_at,
        "silent_since": machine.silent_since,
        "applied": machine.applied,
        "memory": memory,
        "rules": {
            place: {
                "bundle": served.runtime.rule.manifest.bundle_id,
                "detector": served.runtime.rule.manifest.detector,
                "since": served.since,
                "slots": served.runtime.dump(served.memory),
            }
            for place, served in machine.rules.items()
        },
    }
    encoded = orjson.dumps(header)
    checked = b"".join((HEAD.pack(packed(machine.life, machine.offset), len(encoded)), encoded, body))
    value = CHECK.pack(MAGIC, zlib.crc32(checked)) + checked
    return Output(STATE, machine.name.encode(), value, partition=partition)


def progress_record(
    published: int,
    partition: int,
    reserved: int = 0,
    life: InputLife | None = None,
    committed: int | None = None,
    before: int | None = None,
) -> Output:
    """Says that the output of all input below offset `published` is out, and that none is of input from `reserved` on.

    Args:
        life: of the input that these offsets are counted in.
        committed: offset up to which snapshots hold everything, where that is known.
        before: the group's commit so far.
    """
    fields: dict[str, Any] = {"published": published, "reserved": reserved}
    if committed is not None:
        fields["committed"] = committed
    if before is not None:
        fields["before"] = before
    if life is not None:
        fields |= life.to_fields()
    value = orjson.dumps(fields)
    return Output(STATE, PROGRESS, value, partition=partition)


def read_progress(value: bytes) -> int:
    """The offset of a progress record; 0 where it cannot be read (then output may be published twice, never lost)."""
    try:
        return whole(orjson.loads(value)["published"])
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return 0


def read_reserved(value: bytes) -> int:
    """The second offset of a progress record; 0 where there is none: transactions leave no output that is not known of."""
    try:
        return whole(orjson.loads(value).get("reserved", 0))
    except (AttributeError, orjson.JSONDecodeError, TypeError, ValueError):
        return 0


def says_reserved(value: bytes) -> bool:
    """False of progress records of versions that did not say up to where output may be out."""
    try:
        return "reserved" in orjson.loads(value)
    except (orjson.JSONDecodeError, TypeError):
        return False


def control_record(control: ControlLog, partition: int) -> Output:
    """Says which changes hold from which input offsets on."""
    return Output(STATE, CONTROL, control.to_bytes(), partition=partition)


def snapshot_offset(value: bytes) -> int:
    """The input offset a snapshot was taken at, with the input's life before it; -1 for anything else.

    Of two snapshots of a machine the one with the larger number is the newer.
    """
    if value[:4] not in (MAGIC, MAGIC_1) or len(value) < CHECK.size + HEAD.size:
        return -1
    return int(HEAD.unpack_from(value, CHECK.size)[0])


def read_snapshot(value: bytes) -> Snapshot:
    """A snapshot of either layout.

    Raises:
        SnapshotError: not a snapshot, or damaged.
    """
    header, body, magic = _checked(value)
    try:
        first = magic == MAGIC_1
        life, offset = unpacked(snapshot_offset(value))
        return Snapshot(
            machine=text(header["machine"]),
            offset=whole(offset),
            heard_at=optional(moment, header.get("heard_at")),
            silent_since=optional(moment, header.get("silent_since")),
            rules=_rules_of_layout_1(header["rules"]) if first else _rules(header["rules"]),
            memory=header if first else header["memory"],
            body=body,
            applied=optional(whole, header.get("applied")),
            life=whole(life),
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise SnapshotError(f"{type(error).__name__}: {error}") from error


def _checked(value: bytes) -> tuple[dict[str, Any], memoryview, bytes]:
    try:
        magic, checksum = CHECK.unpack_from(value)
        if magic not in (MAGIC, MAGIC_1):
            raise ValueError(f"starts with {magic!r}, expected {MAGIC!r}")
        checked = memoryview(value)[CHECK.size :]
        if checksum != zlib.crc32(checked):
            raise ValueError("its checksum is wrong")
        _, length = HEAD.unpack_from(checked)
        body = checked[HEAD.size :]
        return orjson.loads(body[:length]), body[length:], magic
    except (ValueError, struct.error) as error:
        raise SnapshotError(str(error)) from error


def _rules(saved: dict[str, Any]) -> dict[str, SavedRule]:
    return {
        text(place): SavedRule(text(rule["bundle"]), text(rule["detector"]), dict(rule["slots"]))
        for place, rule in saved.items()
    }


def _rules_of_layout_1(saved: dict[str, Any]) -> dict[str, SavedRule]:
    """Layout WTS1 knew rules by bundle alone, and had one record of fields for all judges."""
    rules = {}
    for bundle, fields in saved.items():
        state = dict(fields)
        slots = {THRESHOLD: state.pop("spot", None), QUESTION: state.pop("question", None)}
        if state.get("opened_at") is not None:
            state["bundle"] = bundle
        rules[bundle] = SavedRule(text(bundle), "", {ALERT: state, **slots})
    return rules
