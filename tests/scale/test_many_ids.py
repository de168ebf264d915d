"""Machines that come, say a little and are never heard again, by the hundred thousand: under a wildcard route anyone can make them up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.helpers.memory import resident
from tests.helpers.plant import START_US
from tests.helpers.plant import Message as KafkaMessage
from tests.integration.worker_tools import RECIPE, Rig, free_port, metrics, side_by_side, wait_until
from tests.scale.samples import Watch, ends
from tests.unit.stream.bundles import write_bundle
from tests.unit.stream.feeds import TOPIC, Message, batch_of
from wheeltapper.schemas.topics import STATE
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

pytestmark = [pytest.mark.nightly]

FULL = 200_000
PER_SECOND = 500
FORGET_S = 20
MOST_MB = 512


def passers_by(first: int, number: int, turn: int) -> Iterator[KafkaMessage]:
    """A row of each of so many machines."""
    for machine in range(first, first + number):
        row = {"machine": f"guest-{machine}", "ts": START_US + turn * 60_000_000, "values": dict.fromkeys("abcd", 0.5)}
        yield row["machine"].encode(), orjson.dumps(row), []  # type: ignore[attr-defined]


@pytest.mark.timeout(7_200)
def test_the_pipeline_alone_forgets_whom_it_no_longer_hears(tmp_path: Path, scale: float) -> None:
    # given a pipeline that forgets machines soon, by a clock of the test's own
    number = max(5_000, round(FULL * scale))
    settings = Settings.model_validate({"state": {"forget_machine_after_s": FORGET_S, "snapshot_interval_s": 5}})
    pipeline = Pipeline(load_routes([str(write_bundle(tmp_path, RECIPE))], settings), settings)
    offset = most_known = 0
    memory = []
    state: set[bytes | None] = set()
    # when new machines come without end, each with three rows
    for first in range(0, number + (FORGET_S + 10) * PER_SECOND, PER_SECOND):
        now = first / PER_SECOND
        outputs = []
        for turn in range(3 if first < number else 0):
            rows = [
                Message(value, key, headers, START_US // 1_000)
                for key, value, headers in passers_by(first, PER_SECOND, turn)
            ]
            outputs += pipeline.handle([batch_of(rows, first=offset)], now)
            offset += len(rows)
        partition = pipeline.partition(TOPIC, 0)
        outputs += partition.addressed(partition.snapshots(now, wall_us=START_US))
        outputs += pipeline.tick(now, lambda _: True)
        for output in outputs:
            if output.topic == STATE:
                state.discard(output.key) if output.value is None else state.add(output.key)
        most_known = max(most_known, partition.machines)
        memory.append(resident())
    # then at any time it knows those of the last seconds alone, and in the end none; nor does the state
    early, late = np.median(memory[len(memory) // 4 : len(memory) // 2]), np.median(memory[-len(memory) // 4 :])
    print(
        f"{number} machines, at most {most_known} known at a time; memory {memory[0]:.0f} at first, {early:.0f} -> {late:.0f} MB, "
        f"at most {max(memory):.0f}"
    )
    assert most_known <= (FORGET_S + 2) * PER_SECOND
    assert (partition.machines, state) == (0, set())
    assert late - early < 32


@pytest.mark.broker
@pytest.mark.kafka
@pytest.mark.timeout(7_200)
def test_memory_is_that_of_the_machines_that_are_still_heard(rigs: list[Rig], scale: float) -> None:
    number = max(5_000, round(FULL * scale))

    def scenario(rig: Rig) -> None:
        # given a worker that forgets machines soon
        port = free_port()
        forget = {
            "WHEELTAPPER_STATE__FORGET_MACHINE_AFTER_S": str(FORGET_S),
            "WHEELTAPPER_STATE__SNAPSHOT_INTERVAL_S": "5",
        }
        most_known = 0.0
        with rig.start(options=("--http-port", str(port)), environment=forget) as worker:
            worker.wait_for("partitions taken over", timeout_s=120)
            with Watch(worker.process.pid, 2.0, rig.folder / "samples.csv") as watch:
                # when new machines come without end, each with three rows
                started = time.monotonic()
                for first in range(0, number, PER_SECOND):
                    for turn in range(3):
                        rig.produce(passers_by(first, min(PER_SECOND, number - first), turn))
                    most_known = max(most_known, metrics(port).get("wheeltapper_machines", 0.0))
                    time.sleep(max(0.0, started + first / PER_SECOND - time.monotonic()))
                wait_until(lambda: rig.committed() == ends(rig), "it had read everything", worker, 1_200)
                # then it forgets every one of them
                wait_until(lambda: metrics(port).get("wheeltapper_machines") == 0, "all were forgotten", worker, 300)
            assert worker.terminate() == 0, worker.log()[-4000:]
        early, most = watch.medians(0.1, 0.3), max(sample.memory for sample in watch.samples)
        late = watch.medians(0.7, 0.9)
        print(
            f"{rig.runner}: {number} machines, at most {most_known:.0f} known at a time; memory {early.memory:.0f} -> {late.memory:.0f} MB, at most {most:.0f}"
        )
        assert most_known < max(number / 4, 5 * FORGET_S * PER_SECOND)
        assert most < MOST_MB
        assert late.memory - early.memory < 64
        # and what is left in the state is no machine
        latest = {record.key: record.value for record in rig.records("state") if record.key and b"\0" not in record.key}
        assert {key for key, value in latest.items() if value is not None} == set()

    side_by_side(rigs, scenario)
