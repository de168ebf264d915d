"""Alerts that time or a change of bundles opens and ends, by each runner on a broker of its own kind."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.kafka_tools import Broker
from tests.integration.processes import WorkerProcess, run_worker
from tests.integration.worker_tools import PATIENCE_S, RECIPE, Rig, make_rig
from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.schemas.codec import encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock

pytestmark = pytest.mark.broker

START = 1_700_000_000_000_000
SECOND = 1_000_000
QUICK = dataclasses.replace(RECIPE, interval_s=1.0)
SOON = {"WHEELTAPPER_NO_DATA__AFTER_INTERVALS": "4", "WHEELTAPPER_NO_DATA__AT_LEAST_S": "4"}


@pytest.fixture(params=["faust on tansu", pytest.param("direct on kafka", marks=pytest.mark.kafka)])
def rig(request: pytest.FixtureRequest, topics_prefix: str, tmp_path: Path) -> Rig:
    """Both runners share what is tested here, so each has one broker, and each broker one runner."""
    if request.param.startswith("faust"):
        broker = Broker(request.getfixturevalue("embedded_broker"), "tansu", supports_transactions=False)
    else:
        broker = Broker(request.getfixturevalue("real_kafka"), "kafka", supports_transactions=True)
    rig = make_rig(broker, request.param.partition(" ")[0], topics_prefix, tmp_path, partitions=2)
    rig.bundle, rig.threshold = write_bundle(tmp_path / "quick", QUICK), {}
    return rig


def rows(machine: str, first: int, count: int, value: float = 0.5) -> tuple[bytes, bytes, tuple[()]]:
    """`count` rows from second `first` on, as one message."""
    times = START + SECOND * np.arange(first, first + count, dtype=np.int64)
    block = SensorBlock(machine, times, QUICK.channels, np.full((count, len(QUICK.channels)), value, np.float32))
    return machine.encode(), encode_sensor_block(block, "json"), ()


def alerts(rig: Rig, **wanted: Any) -> list[dict[str, Any]]:
    """Alert events with these fields, in order."""
    return [alert for alert in rig.messages("alerts") if all(alert[field] == value for field, value in wanted.items())]


def until(condition: Callable[[], bool], what: str, worker: WorkerProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert worker.process.poll() is None, f"worker ended before {what}:\n{worker.log()[-4000:]}"
        assert time.monotonic() < deadline, f"not in time: {what}\n{worker.log()[-4000:]}"
        time.sleep(0.5)


def test_a_machine_that_falls_silent_is_told_of_also_after_a_kill(rig: Rig) -> None:
    # given two machines
    rig.produce([rows("press-0", 0, 20), rows("press-1", 0, 20)])
    with rig.start(environment=SOON) as worker:
        # when one goes on and the other does not
        seconds = 20
        while not alerts(rig, rule="no-data", machine="press-0"):
            assert seconds < 20 + PATIENCE_S, worker.log()[-4000:]
            rig.produce([rows("press-1", seconds, 1)])
            seconds += 1
            time.sleep(1.0)
        # then an alert says so of that one alone
        (opened,) = alerts(rig, rule="no-data")
        assert (opened["machine"], opened["event"], opened["opened_at"]) == ("press-0", "opened", START + 19 * SECOND)
        worker.kill()
    # when the worker was killed, and the machine speaks again under the next one
    rig.produce([rows("press-0", 40, 2), rows("press-1", seconds, 2)])
    with rig.start(environment=SOON) as worker:
        until(lambda: bool(alerts(rig, rule="no-data", event="cleared")), "silence ended", worker)
    # then the alert is cleared under the id that it had, however often it was told
    assert {alert["alert_id"] for alert in alerts(rig, rule="no-data", machine="press-0", event="opened")} >= {
        opened["alert_id"]
    }
    (cleared,) = {
        (alert["alert_id"], alert["reason"], alert["time"])
        for alert in alerts(rig, rule="no-data", machine="press-0", event="cleared")
    }
    assert cleared == (opened["alert_id"], "recovered", START + 40 * SECOND)


OTHER_RULE = (dataclasses.replace(QUICK, detector="other"), "cleared", "superseded")
SAME_RULE = (dataclasses.replace(QUICK, weighting="mean"), "cleared", "recovered")


@pytest.mark.parametrize(
    ("rig", "successor", "event", "reason"),
    [
        pytest.param("faust on tansu", *SAME_RULE, id="of the same rule, faust on tansu"),
        pytest.param("direct on kafka", *OTHER_RULE, id="by another rule, direct on kafka", marks=pytest.mark.kafka),
        pytest.param("faust on tansu", *OTHER_RULE, id="by another rule, faust on tansu", marks=pytest.mark.nightly),
        pytest.param(
            "direct on kafka", *SAME_RULE, id="of the same rule, direct on kafka",
            marks=[pytest.mark.kafka, pytest.mark.nightly],
        ),
    ],
    indirect=["rig"],
)  # fmt: skip
def test_an_alert_that_is_open_while_its_bundle_is_replaced_ends_under_its_id(
    rig: Rig, successor: Recipe, event: str, reason: str
) -> None:
    # given a machine whose alert is open when its worker stops
    rig.produce([rows("press-0", 0, 20), rows("press-0", 20, 10, value=3.0)])
    rig.run()
    (opened,) = alerts(rig, event="opened")
    assert alerts(rig, event="cleared") == []
    # when a worker with another bundle takes over, and the machine goes on as usual
    bundle = write_bundle(rig.folder / "successor", successor)
    rig.produce([rows("press-0", 30, 80)])
    run_worker(rig.broker, [bundle], rig.folder / "successor.log", **rig.usual({}))
    # then subscribers hear that it has ended, once, and why
    ended = [(alert["event"], alert["reason"]) for alert in alerts(rig, alert_id=opened["alert_id"])[1:]]
    assert ended[-1] == (event, reason)
    assert [kind for kind, _ in ended].count("cleared") == 1
    # and a third start says nothing more
    before = len(rig.messages("alerts"))
    run_worker(rig.broker, [bundle], rig.folder / "third.log", **rig.usual({}))
    assert len(rig.messages("alerts")) == before
