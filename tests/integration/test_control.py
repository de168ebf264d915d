"""Deployments and operators' commands by topic, while a worker runs: what it takes, what it refuses, and what it says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker, produce
from tests.integration.processes import WorkerProcess, run_command
from tests.integration.worker_tools import (
    PATIENCE_S,
    RECIPE,
    RUNNERS,
    Rig,
    await_rows,
    free_port,
    make_rig,
    metrics,
    wait_until,
)
from tests.unit.stream.bundles import Recipe, write_bundle

pytestmark = pytest.mark.broker

OTHER = Recipe(channels=("a", "b", "c", "d"), window=8, stride=2, weighting="mean")


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, embedded_broker: str, topics_prefix: str, tmp_path: Path) -> Rig:
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    rig = make_rig(broker, request.param, topics_prefix, tmp_path)
    rig.threshold = {}  # operators' commands move the level of the default threshold
    return rig


def say(rig: Rig, *words: str, code: int = 0) -> str:
    """A command against the rig's topics; what it prints."""
    done = run_command(*words, "--brokers", rig.broker.address, "--prefix", rig.prefix, timeout_s=PATIENCE_S)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def bundles_of(rig: Rig) -> dict[str, set[str]]:
    """Bundle -> machines that it has scored."""
    found: dict[str, set[str]] = {}
    for block in rig.messages("scores"):
        found.setdefault(block["bundle"], set()).add(block["machine"])
    return found


@pytest.mark.one_runner
def test_a_worker_follows_what_is_said_while_it_runs(rig: Rig, tmp_path: Path) -> None:
    # given a worker with rows that it has handled, among them a fault that lasts
    plant = make_plant(machines=4, rows=300)
    for block in plant.machines.values():
        block.values[90:] += 3
    first, second, third = plant.until(100), plant.until(200).since(100), plant.since(200)
    rig.produce(messages_of(first, largest_block=8))
    other = write_bundle(tmp_path, OTHER)
    port = free_port()
    with rig.start(options=("--http-port", str(port))) as worker:
        await_rows(worker, port, first.rows)
        wait_until(lambda: len(open_alerts(rig)) == 4, "every machine has an open alert", worker)
        before = open_alerts(rig)
        # when another bundle is put in service: then it scores the rows that come, without a restart
        said = say(rig, "models", "activate", str(other), "--rule", "distance", "--who", "ann")
        assert f"bundle {OTHER.bundle_id} serves rule distance on machines '*'" in said
        await_taken(worker, port, 1)
        rig.produce(messages_of(second, largest_block=8))
        await_rows(worker, port, first.rows + second.rows)
        wait_until(lambda: len(bundles_of(rig).get(OTHER.bundle_id, ())) == 4, "it scored all machines", worker)
        # and the open alerts go on under their ids
        assert open_alerts(rig) == before
        # when a bundle that was changed on disk is published by a program that does not look: then it is refused
        broken = tmp_path / "broken"
        shutil.copytree(other, broken)
        (broken / "golden.npz").write_bytes(b"changed")
        sha256 = orjson.loads(say(rig, "models", "list", "--json"))["sha256"]
        publish_model(rig, {"route": "*", "rule": "distance", "bundle": "x", "uri": str(broken), "sha256": sha256})
        wait_until(lambda: steps(rig) == ["deployed", "refused"], "the refusal is on the topic", worker)
        refused = rig.messages("adaptations")[-1]
        assert "golden.npz has sha256" in refused["reason"]
        # when an operator accepts one machine's state: then its alert ends, and the others go on
        machine = sorted(plant.machines)[0]
        assert f"machine '{machine}'" in say(rig, "alarm", "accept", machine, "--who", "ann")
        wait_until(lambda: len(open_alerts(rig)) == 3, "the alert has ended", worker)
        (ended,) = [alert for alert in rig.messages("alerts") if alert["event"] == "cleared"]
        assert (ended["machine"], ended["reason"], ended["alert_id"]) == (machine, "accepted", before[machine])
        # when the bundle is taken back: then there is none before it on the topic, which is said; another is deployed
        assert "knows no bundle that served" in say(rig, "models", "rollback", code=2)
        assert worker.terminate() == 0, worker.log()
    # and a worker that starts again handles the rest by the bundle in force, and tells nothing twice
    rig.produce(messages_of(third, largest_block=8))
    rig.run()
    assert steps(rig) == ["deployed", "refused"]
    rest = {
        block["bundle"]
        for block in rig.messages("scores")
        if block["time"][-1] >= min(int(rows.ts[8]) for rows in third.machines.values())
    }
    assert rest == {OTHER.bundle_id}
    assert len([alert for alert in rig.messages("alerts") if alert["reason"] == "accepted"]) == 1
    history = say(rig, "models", "history")
    assert "deployed" in history
    assert "refused" in history


def open_alerts(rig: Rig) -> dict[str, str]:
    """Machine -> id of its open alert."""
    found: dict[str, str] = {}
    for alert in rig.messages("alerts"):
        if alert["event"] == "cleared":
            found.pop(alert["machine"], None)
        else:
            found[alert["machine"]] = alert["alert_id"]
    return found


def steps(rig: Rig) -> list[str]:
    return [event["event"] for event in rig.messages("adaptations")]


def await_taken(worker: WorkerProcess, port: int, number: int) -> None:
    wait_until(
        lambda: metrics(port).get("wheeltapper_deployments_total", 0) >= number, f"{number} deployments came", worker
    )


def publish_model(rig: Rig, fields: dict[str, Any]) -> None:
    message = (b"*/distance", orjson.dumps(fields), [("content-type", b"application/json")])
    produce(rig.broker, f"{rig.prefix}models", [message])


def test_recipes_have_the_same_windows() -> None:
    assert (OTHER.window, OTHER.stride, OTHER.channels) == (RECIPE.window, RECIPE.stride, RECIPE.channels)
