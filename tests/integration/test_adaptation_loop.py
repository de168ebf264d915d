"""The whole loop by real processes: a worker, an adaptation worker, an operator; from a service to a take-over and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.integration.adaptation_tools import (
    PUMP,
    SERVICED,
    Pumps,
    adapt_words,
    said,
    send_message,
    steps_of,
    train_parent,
    wait_for,
)
from tests.integration.kafka_tools import Broker, create_topics
from tests.integration.processes import WorkerProcess, run_command, worker_command
from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, DriftEvent
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.stream.deployment import Deployment
from wheeltapper.training.datasets.simulated import CHANNELS, DAY

pytestmark = [pytest.mark.broker, pytest.mark.slow]

HOUR = 60
MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train_parent(tmp_path_factory.mktemp("bundles") / "pca", days=14)


@pytest.fixture
def broker(embedded_broker: str) -> Broker:
    return Broker(embedded_broker, "tansu", supports_transactions=False)


def settings(**values: object) -> dict[str, str]:
    """Variables of all processes: event time passes quickly, and so do commits."""
    chosen = {
        "WORKER__COMMIT_INTERVAL_MS": 200,
        "ADAPTATION__MIN_RECENT_S": 86_400,
        "ADAPTATION__SHADOW_S": 21_600,
        "ADAPTATION__CANARY_S": 21_600,
        "ADAPTATION__WATCH_S": 86_400,
        **values,
    }
    return {f"WHEELTAPPER_{name}": str(value) for name, value in chosen.items()}


class Plant:
    """Workers and an adaptation worker on topics of their own, and what they said."""

    def __init__(self, broker: Broker, prefix: str, parent: Bundle, folder: Path, environment: dict[str, str]) -> None:
        self.broker, self.prefix, self.parent, self.folder = broker, prefix, parent, folder
        self.environment = environment
        self.processes: list[WorkerProcess] = []
        self.adapt_worker: WorkerProcess | None = None

    def start_worker(self, runner: str) -> WorkerProcess:
        command = worker_command(
            self.broker,
            [f"pump-*={self.parent.location}"],
            runner=runner,
            prefix=self.prefix,
            options=["--group", f"{self.prefix}group"],
        )
        return self._start(command)

    def start_adapt_worker(self) -> WorkerProcess:
        words = adapt_words(self.broker, self.prefix, self.parent, self.folder / "out")
        self.adapt_worker = self._start(words)
        return self.adapt_worker

    def _start(self, command: list[str]) -> WorkerProcess:
        log = self.folder / f"{len(self.processes)}.log"
        self.processes.append(WorkerProcess(command, log, self.environment))
        return self.processes[-1]

    def close(self) -> None:
        for process in self.processes:
            process.kill()

    def say(self, *words: str) -> str:
        """A command of the operator."""
        done = run_command(*words, "--brokers", self.broker.address, "--prefix", self.prefix)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def steps(self) -> list[str]:
        return steps_of(self.broker, self.prefix)

    def await_step(self, step: str) -> None:
        wait_for(f"step {step}", self.processes, lambda: step in self.steps())

    def await_taken(self, deployments: int) -> None:
        """Until every worker has so many deployments ready: rows that come then are scored by them."""
        workers = [process for process in self.processes if process is not self.adapt_worker]
        wait_for(
            f"{deployments} deployments",
            self.processes,
            lambda: all(worker.log().count("deployment is ready") >= deployments for worker in workers),
        )

    def scored_by(self) -> dict[tuple[str, int], set[str]]:
        """(machine, time) -> bundles that scored it, a shadow among them."""
        found: dict[tuple[str, int], set[str]] = defaultdict(set)
        for block in said(self.broker, self.prefix, ScoreBlock):
            for time in block.time:
                found[block.machine, time].add(block.bundle)
        return found

    def await_scored(self, machines: Sequence[str], time: int, bundle: str) -> None:
        """Until the bundle has scored a row of each of the machines."""

        def is_scored() -> bool:
            scored = self.scored_by()
            return all(bundle in scored.get((name, time), ()) for name in machines)

        wait_for(f"{bundle} scored {machines}", self.processes, is_scored)


def test_a_serviced_machine_is_adapted_and_a_child_that_does_worse_goes_back(
    broker: Broker, topics_prefix: str, parent: Bundle, tmp_path: Path
) -> None:
    # given a pump that is serviced after two days, with two hours of maintenance that a calendar knows
    create_topics(broker, topics_prefix, partitions=1)
    pump = Pumps(broker, topics_prefix)
    maintenance = (int(pump.times[SERVICED + DAY]), int(pump.times[SERVICED + DAY + 2 * HOUR]))
    calendar = tmp_path / "maintenance.ics"
    start, end = (iso_from_micros(moment)[:19].replace("-", "").replace(":", "") + "Z" for moment in maintenance)
    calendar.write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//plant//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        f"DTSTART:{start}\r\nDTEND:{end}\r\nLOCATION:pump-*\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    plant = Plant(broker, topics_prefix, parent, tmp_path, settings(MAINTENANCE__CALENDAR=calendar))
    try:
        plant.start_worker("direct")
        plant.start_adapt_worker()
        # when it runs on: then the worker notices the drift within days, and an adaptation is asked for
        pump.send(4 * DAY)
        for _ in range(8):
            pump.send(DAY)
            plant.await_scored([PUMP], int(pump.times[pump.sent - 1]), parent.manifest.bundle_id)
            if said(broker, topics_prefix, DriftEvent):
                break
        plant.await_step("requested")
        (drift, *_) = said(broker, topics_prefix, DriftEvent)
        assert (drift.machine, drift.bundle) == (PUMP, parent.manifest.bundle_id)
        # when the operator accepts what it does now: then a child passes the gate, and is scored beside its parent
        plant.say("alarm", "accept", PUMP, "--who", "ann", "--comment", "serviced")
        plant.await_step("shadow")
        (shadow,) = said(broker, topics_prefix, ActiveModel)
        assert shadow.mode == "shadow"
        # and nothing was learned of the time in maintenance
        (rows,) = (tmp_path / "out" / ".jobs").glob("*/rows.npz")
        with np.load(rows) as arrays:
            times = arrays["times"]
        assert len(times) > DAY
        assert not ((times >= maintenance[0]) & (times < maintenance[1])).any()
        # when six hours pass: then it serves
        plant.await_taken(1)
        pump.send(8 * HOUR)
        plant.await_step("activated")
        plant.await_taken(2)
        # when it then opens one alarm after the other: then the parent serves again, by itself
        for burst in range(5):
            first = pump.sent + (3 + 2 * burst) * HOUR
            pump.values[first : first + 10, CHANNELS.index("bearing_temperature_drive_end")] += 500.0
        pump.send(14 * HOUR)
        plant.await_step("rolled-back")
        (back,) = (event for event in said(broker, topics_prefix, AdaptationEvent) if event.event == "rolled-back")
        assert "alerts that nobody confirmed" in back.reason
        assert shadow.bundle in {alert.bundle for alert in said(broker, topics_prefix, AlertEvent)}
        plant.await_taken(3)
        pump.send(HOUR)
        plant.await_scored([PUMP], int(pump.times[pump.sent - 1]), parent.manifest.bundle_id)
    finally:
        plant.close()
    # then every step was said, in order, and each deployment is on the topic
    steps = plant.steps()
    assert [step for step in steps if step != "waiting"] == [
        "requested", "started", "accepted", "shadow", "activated",
        "requested",  # a better child, with more rows
        "rolled-back", "rejected",
    ]  # fmt: skip
    deployed = [(model.mode, model.bundle) for model in said(broker, topics_prefix, ActiveModel)]
    assert deployed == [
        ("shadow", shadow.bundle), ("active", shadow.bundle), ("active", parent.manifest.bundle_id),
    ]  # fmt: skip
    # and no window was left out
    scored = plant.scored_by()
    window, stride = parent.manifest.window, parent.manifest.stride
    due = {(PUMP, int(time)) for time in pump.times[window - 1 : pump.sent : stride]}
    assert due - scored.keys() == set()


@pytest.mark.nightly
def test_a_child_for_many_machines_is_a_canary_first(
    broker: Broker, topics_prefix: str, parent: Bundle, tmp_path: Path
) -> None:
    # given six pumps of one bundle that have been serviced, two workers that share them, and drifts of two pumps
    machines = [f"pump-{number}" for number in range(1, 7)]
    create_topics(broker, topics_prefix, partitions=4)
    pumps = Pumps(broker, topics_prefix, machines, first=SERVICED)
    share = 0.5
    chosen = settings(
        ADAPTATION__WHOLE_ROUTE=True, ADAPTATION__CANARY_SHARE=share, ADAPTATION__MIN_RECENT_S=43_200,
        ADAPTATION__SHADOW_S=7_200, ADAPTATION__CANARY_S=21_600, THRESHOLD__METHOD="fixed", THRESHOLD__RAISE_LEVEL=1e6,
        DRIFT__ENABLED=False,
    )  # fmt: skip
    plant = Plant(broker, topics_prefix, parent, tmp_path, chosen)
    old = parent.manifest.bundle_id
    try:
        plant.start_worker("direct")
        plant.start_worker("direct")
        plant.start_adapt_worker()
        pumps.send(3 * DAY)  # with less the gate cannot tell what a pump's slow swings are
        for name in (PUMP, "pump-2"):
            drift = DriftEvent(
                drift_id=f"drift-{name}", machine=name, rule="pca", bundle=old, event="started",
                time=int(pumps.times[3 * DAY - 1]), since=int(pumps.times[0]), tests=("inputs",), score_before=0.1, score_after=0.5,
            )  # fmt: skip
            send_message(broker, topics_prefix, name, drift)
        # when the child has been quiet in shadow, on all machines
        plant.await_step("shadow")
        child = said(broker, topics_prefix, ActiveModel)[0].bundle
        plant.await_taken(1)
        pumps.send(3 * HOUR)
        plant.await_step("canary")
        plant.await_taken(2)
        # then it serves the share of them that the hash names, and on the others it stays beside the parent
        pumps.send(2 * HOUR)
        probe = int(pumps.times[pumps.sent - 1])
        canary = said(broker, topics_prefix, ActiveModel)[-1]
        place = Deployment("pca", "canary", canary.route, bundle=canary.uri, sha256=canary.sha256, share=share)
        chosen_ones = {name for name in machines if place.covers(name)}
        assert 0 < len(chosen_ones) < len(machines)
        plant.await_scored(machines, probe, child)
        scored = plant.scored_by()
        assert {name for name in machines if old not in scored[name, probe]} == chosen_ones
        # when it has done well there: then it serves all of them
        pumps.send(8 * HOUR)
        plant.await_step("activated")
        plant.await_taken(3)
        pumps.send(HOUR)
        probe = int(pumps.times[pumps.sent - 1])
        plant.await_scored(machines, probe, child)
        # when a person takes it back: then the parent serves all of them, and the adaptation ends
        plant.say("models", "rollback", "pump-*", "--rule", "pca", "--who", "ann")
        plant.await_step("rolled-back")
        plant.await_taken(4)
        pumps.send(HOUR)
        probe = int(pumps.times[pumps.sent - 1])
        plant.await_scored(machines, probe, old)
    finally:
        plant.close()
    # then one child was made for all of them, and the other request was told so
    (rejected,) = [event for event in said(broker, topics_prefix, AdaptationEvent) if event.event == "rejected"]
    assert "of pump-* and the same rule is under way" in rejected.reason
    assert [model.mode for model in said(broker, topics_prefix, ActiveModel)] == [
        "shadow", "canary", "active", "active",
    ]  # fmt: skip
    # and every window of every machine was scored
    window, stride = parent.manifest.window, parent.manifest.stride
    due = {(name, int(time)) for name in machines for time in pumps.times[window - 1 : pumps.sent : stride]}
    assert due - plant.scored_by().keys() == set()
