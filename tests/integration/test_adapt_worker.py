"""`wheeltapper adapt-worker` on a broker: a request becomes a child in shadow; kills, restarts, and what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.integration.adaptation_tools import (
    PUMP,
    ROWS_A_MESSAGE,
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
from tests.integration.processes import WorkerProcess, run_command
from wheeltapper.demo_drift import live_rows
from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep, DriftEvent
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.training.datasets.simulated import DAY

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROWS = 5 * DAY


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the pump before it was serviced."""
    return train_parent(tmp_path_factory.mktemp("bundles") / "pca")


def send_rows(broker: Broker, prefix: str) -> np.ndarray:
    """Five days, the pump being serviced after two; their times."""
    pump = Pumps(broker, prefix)
    pump.send(ROWS)
    return pump.times[:ROWS]


def send_drift(broker: Broker, prefix: str, times: np.ndarray, bundle: str) -> None:
    event = DriftEvent(
        drift_id="drift-1", machine=PUMP, rule="pca", bundle=bundle, event="started", time=int(times[-1]),
        since=int(times[SERVICED]), tests=("inputs",), score_before=0.1, score_after=0.5, topic=f"{prefix}sensors",
        partition=0, first_offset=SERVICED // ROWS_A_MESSAGE, last_offset=ROWS // ROWS_A_MESSAGE - 1,
    )  # fmt: skip
    send_message(broker, prefix, PUMP, event)


def events(broker: Broker, prefix: str) -> list[AdaptationEvent]:
    return said(broker, prefix, AdaptationEvent)


def models(broker: Broker, prefix: str) -> list[ActiveModel]:
    return said(broker, prefix, ActiveModel)


@pytest.mark.one_broker
@pytest.mark.nightly
def test_a_killed_adapt_worker_leaves_nothing_half_and_its_successor_goes_on(
    broker: Broker, topics_prefix: str, parent: Bundle, tmp_path: Path
) -> None:
    # given a pump that was serviced, and a drift of it
    create_topics(broker, topics_prefix, partitions=1)
    times = send_rows(broker, topics_prefix)
    send_drift(broker, topics_prefix, times, parent.manifest.bundle_id)
    command = adapt_words(broker, topics_prefix, parent, tmp_path / "out")
    # when the adapt-worker is killed in the middle of the job
    worker = WorkerProcess(command, tmp_path / "first.log")
    wait_for("a job", [worker], lambda: "job starts" in worker.log())
    worker.kill()
    # then nothing is in service, and no bundle is where workers look
    assert models(broker, topics_prefix) == []
    assert [path for path in (tmp_path / "out").iterdir() if path.name != ".jobs"] == []
    # when another is started
    worker = WorkerProcess(command, tmp_path / "second.log")
    try:
        wait_for("a child in shadow", [worker], lambda: "shadow" in steps_of(broker, topics_prefix))
        # and the child is quiet beside its parent for six hours of event time
        (shadow,) = models(broker, topics_prefix)
        minutes = range(0, 361, 5)
        quiet = ScoreBlock(
            machine=PUMP, rule="pca", bundle=shadow.bundle,
            time=tuple(int(times[-1]) + minute * 60_000_000 for minute in minutes),
            raw=tuple(0.1 for _ in minutes), score=tuple(0.1 for _ in minutes),
            threshold=tuple(1.0 for _ in minutes), quality=tuple(1.0 for _ in minutes),
        )  # fmt: skip
        send_message(broker, topics_prefix, PUMP, quiet)
        wait_for("take-over", [worker], lambda: "activated" in steps_of(broker, topics_prefix))
    finally:
        worker.kill()
    # then each step was said once, and the child that is named is whole
    assert steps_of(broker, topics_prefix) == ["requested", "started", "accepted", "shadow", "activated"]
    assert [model.mode for model in models(broker, topics_prefix)] == ["shadow", "active"]
    child = open_bundle(shadow.uri)
    assert (child.manifest_sha256, child.manifest.parent) == (shadow.sha256, parent.manifest.bundle_id)
    accepted = next(event for event in events(broker, topics_prefix) if event.event is AdaptationStep.ACCEPTED)
    # and it is shown
    common = ["--brokers", broker.address, "--prefix", topics_prefix]
    listed = run_command("adaptations", "list", *common)
    assert (listed.returncode, "activated" in listed.stdout) == (0, True), listed.stderr
    shown = run_command("adaptations", "show", accepted.adaptation_id[:8], *common)
    assert (shown.returncode, "evidence of 'accepted'" in shown.stdout) == (0, True), shown.stderr
    as_json = run_command("adaptations", "show", accepted.adaptation_id, "--json", *common)
    assert len(as_json.stdout.splitlines()) == 5
    assert Path(accepted.report).is_file()
    # when a third reads everything again, then it does nothing twice
    done = run_command(*adapt_words(broker, topics_prefix, parent, tmp_path / "out", "--once"))
    assert done.returncode == 0, done.stderr
    assert len(steps_of(broker, topics_prefix)) == 5


@pytest.mark.one_broker
def test_a_bundle_that_has_vanished_is_a_failure_with_its_reason(
    broker: Broker, topics_prefix: str, parent: Bundle, tmp_path: Path
) -> None:
    # given a drift of a bundle that the topic models names at a place where nothing is any more
    create_topics(broker, topics_prefix, partitions=1)
    gone = ActiveModel(route="pump-*", rule="pca", bundle="gone", uri=str(tmp_path / "gone"), sha256="a" * 64)
    send_message(broker, topics_prefix, gone.key, gone)
    send_drift(broker, topics_prefix, live_rows()[0][:ROWS], "gone")
    # when the adapt-worker works
    done = run_command(*adapt_words(broker, topics_prefix, parent, tmp_path / "out", "--once"))
    # then the reason is on the topic, and nothing else has happened
    assert done.returncode == 0, done.stderr
    last = events(broker, topics_prefix)[-1]
    assert (last.event, "no such bundle" in last.reason) == (AdaptationStep.FAILED, True)
    assert len(models(broker, topics_prefix)) == 1


def test_settings_with_which_children_could_not_be_judged_are_refused(tmp_path: Path) -> None:
    done = run_command(
        "adapt-worker", "--out", str(tmp_path), environment={"WHEELTAPPER_SCORING__PUBLISH_SCORES": "false"}
    )
    assert (done.returncode, "scoring.publish_scores" in done.stderr) == (2, True)
