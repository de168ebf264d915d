"""Workers that share the machines: one more, one less, one killed, one that was away without noticing."""

from __future__ import annotations

import signal
import time

import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.worker_tools import (
    PATIENCE_S,
    Feed,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    side_by_side,
    wait_until,
)

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]
TAKEN_OVER = "partitions taken over"


@pytest.mark.real_broker
@pytest.mark.parametrize("rows", [1_200, pytest.param(3_000, marks=pytest.mark.nightly)])
def test_starting_stopping_and_killing_one_changes_nothing(rigs: list[Rig], rows: int) -> None:
    side_by_side(rigs, lambda rig: start_stop_and_kill(rig, rows))


def start_stop_and_kill(rig: Rig, rows: int) -> None:
    # given a worker under load
    plant = make_plant(machines=8, rows=rows)
    waiting = rows // 3
    feed = Feed(rig, messages_of(plant.since(waiting), seed=5, largest_block=8), seconds=rows / 75)
    rig.produce(messages_of(plant.until(waiting), largest_block=8))
    with feed, rig.start() as first:
        first.wait_for(TAKEN_OVER, PATIENCE_S)
        # when a second joins, the first is stopped, a third joins and the second is killed
        with rig.start() as second:
            second.wait_for(TAKEN_OVER, PATIENCE_S)
            assert first.terminate() == 0, first.log()[-4000:]
            with rig.start() as third:
                third.wait_for(TAKEN_OVER, PATIENCE_S)
                second.kill()
                time.sleep(1)
                third.kill()
    rig.run()
    # then nobody can tell from what came out
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=rig.transactional)
    assert_scores(rig, expected, exactly_once=rig.transactional)
    assert_committed_to_the_end(rig)


@pytest.mark.kafka
@pytest.mark.parametrize("rows", [1_200, pytest.param(3_000, marks=pytest.mark.nightly)])
def test_one_that_was_away_without_noticing_does_no_harm(kafka_rigs: list[Rig], rows: int) -> None:
    side_by_side(kafka_rigs, lambda rig: stand_still(rig, rows))


def stand_still(rig: Rig, rows: int) -> None:
    # given a worker that snapshots seldom, so that most of its commits do not move its offsets, and has many rows to do
    config = rig.folder / "seldom.toml"
    config.write_text("[state]\nsnapshot_windows = 1_000_000\nsnapshot_interval_s = 3600.0\n")
    plant = make_plant(machines=8, rows=rows)
    rig.produce(messages_of(plant, largest_block=1))
    with rig.start(config=config) as first:
        first.wait_for(TAKEN_OVER, PATIENCE_S)
        # when it stands still for longer than its session, another takes over, and it wakes up with rows in its hands
        first.process.send_signal(signal.SIGSTOP)
        with rig.start() as second:
            second.wait_for(TAKEN_OVER, PATIENCE_S)
            first.process.send_signal(signal.SIGCONT)
            time.sleep(3)
            assert second.terminate() == 0, second.log()[-4000:]
        assert first.terminate() == 0, first.log()[-4000:]
    rig.run()
    # then nothing was lost, and with transactions nothing came twice
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=rig.transactional)
    assert_scores(rig, expected, exactly_once=rig.transactional)
    assert_committed_to_the_end(rig)


@pytest.mark.kafka
def test_two_that_cannot_see_each_others_transactional_ids_find_their_own(kafka_rigs: list[Rig]) -> None:
    # given two workers of one host name without a folder in common, as in containers on the host's network
    rig = next(rig for rig in kafka_rigs if rig.transactional)
    plant = make_plant(machines=8, rows=1000)
    rig.produce(messages_of(plant.until(300), largest_block=8))
    homes = [rig.folder / "one", rig.folder / "other"]
    for home in homes:
        home.mkdir(mode=0o700)
    with (
        Feed(rig, messages_of(plant.since(300), seed=5, largest_block=8), seconds=15) as feed,
        rig.start(environment={"XDG_RUNTIME_DIR": str(homes[0])}) as one,
    ):
        one.wait_for(TAKEN_OVER, PATIENCE_S)
        # when the second takes the first one's id
        with rig.start(environment={"XDG_RUNTIME_DIR": str(homes[1])}) as other:
            wait_until(
                lambda: "another worker took the transactional id" in one.log() + other.log(),
                "one of them took another id",
                one,
            )
            # then both work to the end, each under an id of its own
            feed.wait()
            ends = rig.ends()
            wait_until(lambda: rig.committed() == ends, "everything was committed", one)
            assert other.terminate() == 0, other.log()[-4000:]
        assert one.terminate() == 0, one.log()[-4000:]
    assert (one.log() + other.log()).count("goes_on_as") <= 2
    assert_alerts(rig, rig.expect(plant), exactly_once=True)
    assert_scores(rig, rig.expect(plant), exactly_once=True)
