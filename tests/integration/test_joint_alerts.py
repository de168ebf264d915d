"""A machine whose rows and sound agree raises one joint alert more, by each runner, and a restart does not repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.integration.kafka_tools import Broker, consume_all, create_topics, produce
from tests.integration.processes import run_worker
from tests.integration.sound_tools import VARIABLES, messages_of
from tests.integration.worker_tools import RUNNERS
from tests.unit.stream.bundles import Recipe, write_bundle
from tests.unit.stream.feeds import START, block_of, message_of
from tests.unit.stream.sounds import RATE, chunks_of, hum, write_sound_bundle

pytestmark = pytest.mark.broker
SECOND = 1_000_000


@pytest.mark.one_runner
@pytest.mark.parametrize("runner", RUNNERS)
def test_rows_and_sound_that_agree_raise_one_joint_alert(
    embedded_broker: str, runner: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given two fans with sensors and a microphone; rows and sound of the first go wrong at the same time, of the other only rows do
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    create_topics(broker, topics_prefix)
    rows = np.full((20, 3), 0.5)
    rows[10:14] = 6.0
    times = START + SECOND * np.arange(len(rows))
    messages = [
        message_of(block_of(machine, row[None], times=[time]))
        for row, time in zip(rows, times.tolist(), strict=True)
        for machine in ("fan-1", "fan-2")
    ]
    produce(broker, f"{topics_prefix}sensors", [(each.key, each.value, each.headers or ()) for each in messages])
    sound = [
        chunk
        for machine, loud in (("fan-1", (9.5, 13.0)), ("fan-2", (0.0, 0.0)))
        for chunk in chunks_of(hum(20, loud=loud), [RATE], machine=machine, microphone="left")
    ]
    produce(broker, f"{topics_prefix}audio", messages_of(sound))
    bundles = [write_bundle(tmp_path, Recipe(window=4, interval_s=1.0)), write_sound_bundle(tmp_path)]

    def run(number: int) -> list[dict[str, Any]]:
        """A worker until it is idle; then all joint events."""
        run_worker(
            broker,
            bundles,
            tmp_path / f"{number}.log",
            runner=runner,
            prefix=topics_prefix,
            options=["--group", f"{topics_prefix}group"],
            environment={**VARIABLES, "WHEELTAPPER_JOINT__ENABLED": "true", "WHEELTAPPER_JOINT__WITHIN_S": "5"},
        )
        events = [orjson.loads(record.value or b"") for record in consume_all(broker, f"{topics_prefix}alerts")]
        return [event for event in events if event["rule"] == "joint"]

    # when a worker runs until it is idle, and another after it
    events, again = run(1), run(2)
    # then the first fan has one joint alert, with channels of its rows and patches of its sound, and the other none
    assert [event["event"] for event in events if event["event"] != "updated"] == ["opened", "cleared"]
    assert {event["machine"] for event in events} == {"fan-1"}
    assert len({event["alert_id"] for event in events}) == 1
    opened = events[0]
    assert START + 9.5 * SECOND <= opened["time"] <= START + 14 * SECOND
    assert {"a", "b", "c"} & {share["channel"] for share in opened["channels"]}
    assert opened["patches"]
    # and the second worker had nothing to add
    assert again == events
