"""Workers whose state is spoilt: of rows, of sound and of joint alerts; two machines each, and a fault that comes behind the restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tests.scale.spoilt_bundles import good_files
from tests.unit.stream.bundles import Recipe, manifest_of, write_bundle
from tests.unit.stream.feeds import MINUTE, START, TOPIC, batch_of, block_of, row_by_row
from tests.unit.stream.joint.test_agreement import alert
from tests.unit.stream.sounds import AUDIO_TOPIC, HOP, RATE, chunks_of, hum, sound_batch, write_sound_bundle
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.bundle import write_bundle_folder
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.kinds.joint.agreement import RULE
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

RECIPES = (Recipe(), Recipe(window=8, detector="other", weighting="mean", longest_run=4))
SECOND_US = 1_000_000
JOINT_TOPIC = "wheeltapper.alerts"

Records = dict[bytes, bytes]


@dataclass(frozen=True)
class Scene:
    """A worker with its state, and what it reads next.

    Attributes:
        records: of the state, as its first life left them.
        position: offset of the next message; now_us, later_us: wall clock before and behind `later`.
        rules: whose alerts tell of the fault in `later`.
        least_scored: windows of a machine in `later`, at least.
        is_open: whether a machine's alert is open already.
    """

    routes: Routes
    settings: Settings
    topic: str
    records: Records
    position: int
    later: PartitionBatch
    now_us: int
    later_us: int
    machines: frozenset[str]
    rules: frozenset[str]
    least_scored: int
    is_open: Callable[[Machine], bool]


def left_by(pipeline: Pipeline, topic: str, now_us: int, *, changes: bool = True) -> Records:
    """What a worker writes of its only partition."""
    partition = pipeline.partition(topic, 0)
    usual = {"who": "tests", "at": START}
    span = {"start": START - 90 * MINUTE, "until": START - 60 * MINUTE}
    commands = [
        AlarmCommand(command_id="1", machine="press-9", action="maintenance", **span, **usual),
        AlarmCommand(command_id="2", machine="press-8", action="reset", **usual),
    ]
    if changes:
        for change in (*commands, Deployment("nothing", "retired", machines="press-7")):
            partition.add_change(change)
        partition.apply_changes(0.0)
    records = [
        *partition.snapshots(now=0.0, wall_us=now_us, everything=True),
        partition.progress_record(),
        partition.control_record(),
    ]
    return {record.key or b"": record.value or b"" for record in records}


def has_open_alert(machine: Machine) -> bool:
    """By any of its rules."""
    return any(served.memory.slots[ALERT].opened_at is not None for served in machine.rules.values())


# -- rows ------------------------------------------------------------------------------------------------------------------

ROWS, LATER = 60, 160
PRESSES = ("press-1", "press-2")


def row_bundles(folder: Path) -> list[Path]:
    """Of two rules, with every table that a bundle may have."""
    files = {recipe: good_files(recipe) for recipe in RECIPES}
    return [
        write_bundle_folder(folder / recipe.detector, manifest_of(recipe, each), each).location
        for recipe, each in files.items()
    ]


def rows_scene(bundles: list[Path], method: str, *, fault_before: bool) -> Scene:
    """Two machines under two rules, whose thresholds are found by a method."""
    settings = Settings.model_validate({"threshold": {"method": method}})
    routes = load_routes([f"*={bundle}" for bundle in bundles], settings)
    now_us = START + (ROWS + 1) * MINUTE
    pipeline = Pipeline(routes, settings)
    before = _rows(0, ROWS, slice(52, 60) if fault_before else slice(0, 0))
    for first in range(0, len(before), 7):
        pipeline.handle([batch_of(before[first : first + 7], first=first)], now=0.0)
    return Scene(
        routes=routes,
        settings=settings,
        topic=TOPIC,
        records=left_by(pipeline, TOPIC, now_us),
        position=len(before),
        later=batch_of(_rows(ROWS, LATER, slice(100, 150)), first=len(before)),
        now_us=now_us,
        later_us=now_us + LATER * MINUTE,
        machines=frozenset(PRESSES),
        rules=frozenset(recipe.detector for recipe in RECIPES),
        least_scored=LATER + 1,
        is_open=has_open_alert,
    )


def _rows(first: int, count: int, fault: slice) -> list[Any]:
    """Messages of a row each, of both machines in turn."""
    values = 0.5 + 0.05 * np.random.default_rng(first).standard_normal((count, 3))
    values[fault] += 4
    times = START + MINUTE * np.arange(first, first + count)
    blocks = [row_by_row(block_of(name, values, times=times)) for name in PRESSES]
    return [message for pair in zip(*blocks, strict=True) for message in pair]


# -- sound -----------------------------------------------------------------------------------------------------------------

BEFORE_S, LATER_S, RESTART_S = 4, 16, 2.0
FANS = ("fan-1", "fan-2::left")


def sound_scene(folder: Path, method: str, *, fault_before: bool) -> Scene:
    """Two microphones, one of them at twice the bundle's rate."""
    settings = Settings.model_validate(
        {
            "threshold": {"method": method, "clear_duration_s": 0.5},
            "audio": {"clock_restart_s": RESTART_S, "dead_after_s": 1.0},
        }
    )
    routes = load_routes([f"fan-*={write_sound_bundle(folder / method)}"], settings)
    chunks = _chunks(fault_before)
    first = [chunk for chunk in chunks if chunk.start < START + BEFORE_S * SECOND_US]
    pipeline = Pipeline(routes, settings)
    for number, chunk in enumerate(first):
        pipeline.handle([sound_batch([chunk], first=number)], now=0.0)
    now_us = START + (BEFORE_S + 1) * SECOND_US
    return Scene(
        routes=routes,
        settings=settings,
        topic=AUDIO_TOPIC,
        records=left_by(pipeline, AUDIO_TOPIC, now_us),
        position=len(first),
        later=sound_batch(chunks[len(first) :], first=len(first)),
        now_us=now_us,
        later_us=now_us + LATER_S * SECOND_US,
        machines=frozenset(FANS),
        rules=frozenset(["energy"]),
        # But for what is dropped until a clock counts as restarted, and the window that fills up again.
        least_scored=round((LATER_S - RESTART_S - 1) * RATE / HOP),
        is_open=has_open_alert,
    )


def _chunks(fault_before: bool) -> list[AudioChunk]:
    """Of both microphones, in the order of their times."""
    found = []
    for rate, (machine, _, microphone) in zip((RATE, 2 * RATE), (name.partition("::") for name in FANS), strict=True):
        whole = hum(BEFORE_S + LATER_S, loud=(BEFORE_S + 9, BEFORE_S + 14), rate=rate)
        if fault_before:
            whole[round((BEFORE_S - 1.5) * rate) : BEFORE_S * rate] = hum(1.5, loud=(0, 1.5), rate=rate)
        how = {"machine": machine, "microphone": microphone, "rate": rate}
        found += chunks_of(whole, [rate // 2], **how)
    return sorted(found, key=lambda chunk: chunk.start)


# -- joint alerts ----------------------------------------------------------------------------------------------------------


def joint_scene(folder: Path, *, fault_before: bool) -> Scene:
    """Two machines of which alerts are known; a joint alert is open, or opens behind the restart."""
    settings = Settings.model_validate({"joint": {"enabled": True, "within_s": 30}})
    routes = load_routes([f"fan-*={write_bundle(folder, Recipe(window=3))}"], settings)
    before: list[AlertEvent] = []
    later: list[AlertEvent] = []
    for machine in ("fan-1", "fan-2"):
        how: dict[str, Any] = {"machine": machine}
        before += [
            alert("r0", **how), alert("s0", opened_s=20, sound=True, **how),
            alert("s0", "updated", opened_s=20, time_s=40, severity=90, sound=True, **how),
            alert("r1", opened_s=45, **how),
        ]  # fmt: skip
        if not fault_before:
            before.append(alert("s0", "cleared", opened_s=20, time_s=60, sound=True, **how))
            before.append(alert("r0", "cleared", time_s=70, **how))
        later += [
            alert("s2", opened_s=2_000, sound=True, **how), alert("r2", opened_s=2_010, **how),
            alert("s2", "cleared", opened_s=2_000, time_s=2_100, sound=True, **how),
        ]  # fmt: skip
    pipeline = Pipeline(routes, settings)
    pipeline.handle([_events(before, 0)], now=0.0)
    now_us = START + 100 * SECOND_US
    return Scene(
        routes=routes,
        settings=settings,
        topic=JOINT_TOPIC,
        records=left_by(pipeline, JOINT_TOPIC, now_us, changes=False),
        position=len(before),
        later=_events(later, len(before)),
        now_us=now_us,
        later_us=now_us + 2_100 * SECOND_US,
        machines=frozenset(["fan-1", "fan-2"]),
        rules=frozenset([RULE]),
        least_scored=0,
        is_open=lambda machine: orjson.loads(machine.memory.dump()[1])["joint"] is not None,
    )


def _events(alerts: list[AlertEvent], first: int) -> PartitionBatch:
    batch = PartitionBatch(JOINT_TOPIC, 0)
    for offset, each in enumerate(alerts, start=first):
        batch.offsets.append(offset)
        batch.keys.append(each.machine.encode())
        batch.values.append(each.model_dump_json().encode())
        batch.headers.append([("content-type", b"application/json")])
        batch.timestamps_ms.append(0)
    return batch
