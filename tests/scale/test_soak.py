"""A worker that runs for long, with faults, bad messages and a second worker that comes and goes: it takes no more in the end."""

from __future__ import annotations

import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.plant import Expected, Plant, expect, make_plant, messages_of, mixed_in, poison
from tests.integration.worker_tools import RECIPE, Feed, Rig, assert_alerts, side_by_side, wait_until
from tests.scale.samples import Watch, ends

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.kafka, pytest.mark.nightly]

FULL_S = 3_600.0
ROWS_PER_SECOND = 250
MACHINES = 20
TURNS = 6
"""How often the second worker comes."""
MOST_MORE_MB = 24.0
"""By which the last fifth of the time may lie above the second fifth."""


def expected_alerts(plant: Plant, bundle: Path) -> Expected:
    """What must come of the plant, but for its scores, which are many."""
    whole = expect(plant, RECIPE, bundle)
    return Expected(whole.alerts, whole.localizations, {})


@pytest.mark.timeout(10_800)
def test_memory_threads_and_descriptors_stay_and_no_alert_is_missing(rigs: list[Rig], scale: float) -> None:
    seconds = max(120.0, FULL_S * scale)
    plant = make_plant(machines=MACHINES, rows=round(seconds * ROWS_PER_SECOND / MACHINES))

    def scenario(rig: Rig, expected: Future[Expected]) -> None:
        # given a worker, and rows with faults and a few bad messages that come evenly
        block = plant.machines["press-00"]
        bad = [message for message in poison(block) if len(message[1] or b"") < 1_000_000]
        messages = mixed_in(messages_of(plant, largest_block=16), bad * max(1, round(seconds / 60)))
        with rig.start() as worker:
            worker.wait_for("partitions taken over", timeout_s=120)
            with (
                Watch(worker.process.pid, min(10.0, seconds / 60), rig.folder / "samples.csv") as watch,
                Feed(rig, messages, seconds) as feed,
            ):
                # when a second worker takes a part of the partitions now and then, and leaves again
                while feed.running:
                    time.sleep(seconds / TURNS / 2)
                    with rig.start() as second:
                        second.wait_for("partitions taken over", timeout_s=600)
                        time.sleep(seconds / TURNS / 2)
                        assert second.terminate() == 0, second.log()[-4000:]
                feed.wait()
                wait_until(lambda: rig.committed() == ends(rig), "it had read everything", worker, 600)
            assert worker.terminate() == 0, worker.log()[-4000:]
        # then it takes as much as it did early on, within a bound
        early, late = watch.medians(0.2, 0.4), watch.medians(0.8, 1.0)
        most = max(sample.memory for sample in watch.samples)
        print(
            f"{rig.runner}: {seconds:.0f} s, {plant.rows} rows, {len(messages)} messages; memory {early.memory:.0f} -> {late.memory:.0f} MB (at most {most:.0f}), "
            f"threads {early.threads} -> {late.threads}, descriptors {early.descriptors} -> {late.descriptors}"
        )
        assert late.memory - early.memory < MOST_MORE_MB
        assert abs(late.threads - early.threads) <= 2
        assert abs(late.descriptors - early.descriptors) <= 4
        # and the alerts are those of an undisturbed run
        assert_alerts(rig, expected.result(), exactly_once=rig.transactional)

    # What is expected takes a third of the time that the worker has: it is computed meanwhile, once for both.
    with ProcessPoolExecutor(1) as other:
        expected = other.submit(expected_alerts, plant, rigs[0].bundle)
        side_by_side(rigs, lambda rig: scenario(rig, expected))
