"""Machines that come, say a little and are never heard again, by the hundred thousand: under a wildcard route anyone can make them up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
import pytest

from tests.helpers.plant import START_US, Message
from tests.integration.worker_tools import Rig, free_port, metrics, side_by_side, wait_until
from tests.scale.samples import Watch, ends

pytestmark = [pytest.mark.broker, pytest.mark.kafka, pytest.mark.nightly]

FULL = 200_000
PER_SECOND = 500
FORGET_S = 20
MOST_MB = 512


def passers_by(first: int, number: int, turn: int) -> Iterator[Message]:
    """A row of each of so many machines."""
    for machine in range(first, first + number):
        row = {"machine": f"guest-{machine}", "ts": START_US + turn * 60_000_000, "values": dict.fromkeys("abcd", 0.5)}
        yield row["machine"].encode(), orjson.dumps(row), []  # type: ignore[attr-defined]


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
